"""The page's sections about what was measured: on live requests, on known cases, in time."""

from collections.abc import Iterator
from fractions import Fraction

from governance.bundle.drawing import Interval, bars, distributions, intervals
from governance.bundle.errors import BundleError
from governance.bundle.folder import Bundle
from governance.bundle.groups import Evaluated, Metric, Shadowed
from governance.bundle.harm import harm
from governance.bundle.markup import (
    NONE,
    Html,
    day,
    element,
    figure,
    items,
    join,
    micros,
    number,
    percent,
    section,
    table,
)
from governance.bundle.measured import Run, Serving
from governance.bundle.signatures import Outcome
from governance.shadow.evalue import confidence_sequence
from governance.shadow.gates import parse_policy
from governance.shadow_report import ShadowReport

VERDICTS = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "wait"}
_MEANS = {
    "PASS": "On live requests the candidate was shown to stay within every limit.",
    "FAIL": "On live requests the candidate was shown to break a limit. It cannot be promoted.",
    "INCONCLUSIVE": "Not shown either way. Nothing is promoted on that.",
}


def shadow(bundle: Bundle, outcome: Outcome) -> Html:
    """The comparison on live requests."""
    if outcome.report is None:
        return section(
            "On live requests",
            element("p", "It was not compared with the live model yet.", "muted"),
        )
    said, remarks = outcome.report.predicate, bundle.group(Shadowed)
    upper = [
        ("to the upper label", said.flips.up, "first"),
        ("to the lower label", said.flips.down, "second"),
    ]
    return section(
        "On live requests",
        element(
            "p",
            join(
                [
                    element("strong", said.verdict, VERDICTS[said.verdict]),
                    f". {_MEANS[said.verdict]} The live model answered all the time; the candidate "
                    f"saw the same requests from {day(said.started)} to {day(said.ended)}. "
                    f"This was attempt {said.attempt} against this model; every further one has to "
                    "show more.",
                ]
            ),
        ),
        items(reason.partition(": ")[2] or reason for reason in said.reasons),
        Html('<div class="charts">'),
        figure("Rates with their intervals; dashed: the limit", _rates(said)),
        figure("Decisions that turned", bars(upper)),
        Html("</div>"),
        _gates(said),
        element("h3", "Segments") if said.segments else "",
        _segments(said) if said.segments else "",
        element("h3", "How pairs ended"),
        table(
            ("complete", "candidate failed", "candidate too late", "shed", "live model failed"),
            [
                (
                    f"{said.ends.complete:,}",
                    f"{said.ends.candidate_error:,}",
                    f"{said.ends.candidate_timeout:,}",
                    f"{said.ends.shed:,}",
                    f"{said.ends.incumbent_error:,}",
                )
            ],
            words=0,
        ),
        element("p", remarks.sampling, "muted") if remarks.sampling else "",
        _labels(said),
        _shift(said),
        items(remarks.remarks) if remarks.remarks else "",
    )


def _labels(said: ShadowReport) -> Html | str:
    """What outcomes say that came while it was compared."""
    labels = said.labels
    if labels is None or not labels.labelled:
        return ""
    return join(
        [
            element("h3", "Which was right"),
            table(
                (
                    "outcomes that came",
                    "candidate alone wrong",
                    "live model alone wrong",
                    "log10 e",
                ),
                [
                    (
                        f"{labels.labelled:,}",
                        f"{labels.only_candidate_wrong:,}",
                        f"{labels.only_incumbent_wrong:,}",
                        labels.log10_e,
                    )
                ],
                words=0,
            ),
        ]
    )


def _shift(said: ShadowReport) -> Html | str:
    """How the scores of both models lie."""
    lie = said.shift
    if lie is None:
        return ""
    text = (
        f"PSI {lie.psi}, KS {lie.ks}, on bins that hold a tenth of the live model's scores each. "
        "To look at: nothing is decided by them, and decisions may turn where neither shows it."
    )
    bins = [f"up to {edge}" for edge in lie.edges] + [f"above {lie.edges[-1]}"]
    counts = zip(bins, lie.incumbent, lie.candidate, strict=True)
    return join(
        [
            element("h3", "How scores lie"),
            element("p", text, "muted"),
            table(
                ("score", "live model", "candidate"),
                [(name, f"{one:,}", f"{other:,}") for name, one, other in counts],
            ),
        ]
    )


def interval(said: ShadowReport, n: int, d: int) -> tuple[float, float]:
    """The confidence sequence of a rate, at the attempt's alpha: it holds whenever one looks."""
    return confidence_sequence(n, d, parse_policy(said.shadow_policy).alpha_of(said.attempt))


def _rates(said: ShadowReport) -> Html:
    rows = []
    for gate in said.gates:
        if gate.kind == "rate" and gate.n:
            low, high = interval(said, gate.n, gate.d)
            label = gate.name.removeprefix("segment_").replace("_", " ")
            css = "second" if gate.state == "FAIL" else "first"
            rows.append(Interval(label, low, gate.d / gate.n, high, float(gate.limit), css))
    return intervals(rows, percent, zero=True)


_LIMITS = {"sign": "{} times, half of all", "mcnemar": "half of them"}
_COUNTED = {"rate": "", "sign": " (windows not good)", "mcnemar": " (one wrong: the candidate)"}


def _gates(said: ShadowReport) -> Html:
    def rows() -> Iterator[tuple[object, ...]]:
        for gate in said.gates:
            rate = gate.kind == "rate"
            seen = percent(gate.d / gate.n) if gate.n else NONE
            limit = percent(float(gate.limit)) if rate else _LIMITS[gate.kind].format(gate.limit)
            what = gate.name.replace("_", " ") + _COUNTED[gate.kind]
            state = element("span", gate.state, VERDICTS[gate.state])
            yield what, state, f"{gate.d:,} of {gate.n:,}", seen, limit, gate.log10_e

    return table(("question", "answer", "against", "rate", "limit", "log10 e"), rows(), words=2)


def _segments(said: ShadowReport) -> Html:
    def rows() -> Iterator[tuple[object, ...]]:
        for part in said.segments:
            low, high = interval(said, part.n, part.d) if part.n else (0.0, 1.0)
            rate = percent(part.d / part.n) if part.n else NONE
            yield (
                part.name,
                f"{part.n:,}",
                f"{part.d:,}",
                rate,
                f"{percent(low)} to {percent(high)}",
            )

    return table(("segment", "pairs", "differ", "rate", "interval"), rows())


def evaluation(bundle: Bundle) -> Html:
    """How it did on cases with known answers."""
    table_of = bundle.group(Evaluated)
    if table_of.metrics is None:
        return section("On known cases", element("p", "There is no evaluation yet.", "muted"))
    lost = table_of.regressions
    drawn = [
        Interval(
            m.name,
            float(m.low),
            float(m.value),
            float(m.high),
            float(m.threshold) if m.threshold is not None else None,
            "first" if _reached(m) else "second",
        )
        for m in table_of.metrics
        if m.better == "more"
    ]
    return section(
        "On known cases",
        Html('<div class="charts">'),
        figure(
            "Figures with their intervals; dashed: the threshold",
            intervals(drawn, lambda value: f"{value:.3g}", zero=False),
        ),
        figure("Cases by what they test", _balance(table_of)),
        Html("</div>"),
        table(
            ("figure", "answer", "value", "interval", "threshold", "cases"),
            (_metric(m) for m in table_of.metrics),
            words=2,
        ),
        element("h3", "Segments") if table_of.segments else "",
        table(
            ("segment", "figure", "value", "interval", "cases"),
            (
                (s.segment, s.metric, s.value, f"{s.low} to {s.high}", f"{s.n:,}")
                for s in table_of.segments
            ),
            words=2,
        )
        if table_of.segments
        else "",
        element("h3", "What others reach") if table_of.baselines else "",
        table(
            ("who", "figure", "value", "cases"),
            ((b.name, b.metric, b.value, f"{b.n:,}") for b in table_of.baselines),
            words=2,
        )
        if table_of.baselines
        else "",
        element(
            "p",
            f"{lost.regressed} of {lost.cases:,} cases that the model before had right are wrong "
            f"now, {lost.allowed} were allowed"
            + (f": {', '.join(lost.names[:20])}." if lost.names else "."),
        )
        if lost is not None
        else "",
        element("p", f"The sealed set was looked at {table_of.held_out_looks} times.", "muted")
        if table_of.held_out_looks
        else "",
        element("h3", "Known limits") if table_of.known_limits else "",
        items(table_of.known_limits) if table_of.known_limits else "",
    )


def _reached(metric: Metric) -> bool:
    if metric.threshold is None:
        return True
    if metric.better == "more":
        return Fraction(metric.low) >= Fraction(metric.threshold)
    return Fraction(metric.high) <= Fraction(metric.threshold)


def _metric(metric: Metric) -> tuple[object, ...]:
    sign = "at least" if metric.better == "more" else "at most"
    told: object = "told only"
    if metric.threshold is not None:
        holds = _reached(metric)
        told = element("span", "holds" if holds else "missed", "good" if holds else "bad")
    threshold = f"{sign} {metric.threshold}" if metric.threshold is not None else NONE
    return (
        metric.name,
        told,
        metric.value,
        f"{metric.low} to {metric.high}",
        threshold,
        f"{metric.n:,}",
    )


def _balance(table_of: Evaluated) -> Html:
    cases = table_of.balance
    if cases is None:
        return element("p", "Not told.", "muted")
    return bars(
        (
            ("has to be found", cases.true_positive, "first"),
            ("has to be let through", cases.true_negative, "first"),
            ("looks bad, is good", cases.false_positive_guard, "second"),
            ("looks good, is bad", cases.false_negative_guard, "second"),
        )
    )


def speed(bundle: Bundle) -> Html:
    """Latency before and after, and what it costs."""
    said = bundle.group(Serving)
    if said.candidate is None:
        return section("Speed and cost", element("p", "It was not measured yet.", "muted"))
    runs = [("before", said.incumbent, "second"), ("after", said.candidate, "first")]
    known: list[tuple[str, Run, str]] = [(n, run, css) for n, run, css in runs if run is not None]
    load = said.candidate
    rate = f"{load.rate} requests a second" if load.rate else "as many as possible"
    cores = [number(n or NONE, "core") for n in (said.server_cores, said.generator_cores)]
    return section(
        "Speed and cost",
        element(
            "p",
            f"Measured through the gateway at {rate}, {number(load.rows, 'row')} each, for "
            f"{load.seconds} s, from when a request was due to be sent. {said.machine or ''}: "
            f"{cores[0]} for the server, {cores[1]} for the load generator.",
        ),
        Html('<div class="charts">'),
        figure(
            "Latency before and after",
            distributions(
                [
                    (
                        f"{when} ({run.model[7:15]}…)",
                        [(float(each.up_to), each.answers) for each in run.histogram],
                        css,
                    )
                    for when, run, css in known
                ]
            ),
        ),
        figure("Quantiles", table(("", "before", "after", "change"), _quantiles(said, load))),
        Html("</div>"),
        _harm(said),
        _cost(said),
    )


def _harm(said: Serving) -> Html | str:
    """What the comparison cost the live model."""
    if not said.with_shadow:
        return ""
    try:
        told = f"{float(harm(said)):.3f} times"
    except BundleError as error:
        return element("p", f"What the shadow cost the live model is not shown: {error}", "muted")
    text = f"While it was compared the live model's p99 was {told} that without, the median of "
    return element("p", f"{text}{len(said.with_shadow)} pairs of windows in turns.")


def _quantiles(said: Serving, after: Run) -> Iterator[tuple[object, ...]]:
    before = said.incumbent
    for label, name in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999")):
        new = getattr(after.latency_us, name)
        old = getattr(before.latency_us, name) if before is not None else None
        ratio = f"{float(new) / float(old):.2f} times" if new and old and float(old) else NONE
        yield label, micros(old), micros(new), ratio
    for label, name in (("requests answered", "ok"), ("of them late", "late")):
        old = f"{getattr(before, name):,}" if before is not None else NONE
        yield label, old, f"{getattr(after, name):,}", ""


def _cost(said: Serving) -> Html:
    if said.cost is None or said.capacity is None:
        return Html("")
    told = said.cost
    return join(
        [
            element(
                "p",
                join(
                    [
                        "A million decisions cost ",
                        element("strong", f"{told.per_million} {told.currency}"),
                        f": {told.price_per_core_hour} {told.currency} for a core and hour, "
                        f"{number(told.server_cores, 'core')}, "
                        f"{float(said.capacity.decisions_per_second):,.0f} decisions a second.",
                    ]
                ),
            ),
            element("p", told.formula, "muted"),
        ]
    )
