"""The page's sections about the decision itself: what changes, what is open, who signs."""

from collections.abc import Iterator

from governance.bundle.folder import Bundle
from governance.bundle.groups import (
    Change,
    Explanation,
    Identity,
    Lineage,
    Post,
    Purpose,
    Risk,
    Rollback,
)
from governance.bundle.markup import (
    NONE,
    Html,
    day,
    element,
    facts,
    items,
    join,
    micros,
    percent,
    section,
    short,
    table,
    tiles,
)
from governance.bundle.measured import Serving
from governance.bundle.requirements import missing
from governance.bundle.results import VERDICTS, interval
from governance.bundle.signatures import Outcome
from governance.bundle.verify import Verification
from governance.errors import GovernanceError
from governance.policy import Policy
from governance.vocabulary import Action


def version_of(bundle: Bundle) -> str:
    """Which version of the model it is."""
    version = bundle.group(Identity).version
    return f"Version {version}" if version is not None else "A version without a number yet"


def decision(bundle: Bundle, found: Verification) -> Html:
    """The figures that a decision hangs on, before all detail."""
    said = found.outcome.report.predicate if found.outcome.report else None
    serving, risk = bundle.group(Serving), bundle.group(Risk)
    told: list[tuple[str, object, str]] = []
    if said is not None:
        low, high = interval(said, said.n, said.d)
        told += [
            ("shadow verdict", said.verdict, VERDICTS[said.verdict]),
            ("pairs compared (n)", f"{said.n:,}", ""),
            ("decisions that differ (d)", f"{said.d:,}", ""),
            (
                f"rate, interval {percent(low)} to {percent(high)}",
                percent(said.d / said.n) if said.n else NONE,
                "",
            ),
        ]
    else:
        told.append(("shadow verdict", "none yet", "wait"))
    if serving.candidate is not None:
        before = serving.incumbent.latency_us.p99 if serving.incumbent else None
        told.append(("p99 before", micros(before), ""))
        told.append(("p99 after", micros(serving.candidate.latency_us.p99), ""))
    clusters = risk.failure_clusters
    told.append(("open failure clusters", NONE if clusters is None else len(clusters), ""))
    lacking = missing(bundle, "promote")
    told.append(
        ("fields still missing", len(lacking) or "none", "wait" if lacking else "good"),
    )
    return tiles(told)


def change(bundle: Bundle) -> Html:
    """What changes, in plain words."""
    said, purpose = bundle.group(Change), bundle.group(Purpose)
    planned = {True: "within the plan that was agreed", False: "outside the agreed plan"}
    return section(
        "What changes",
        element("p", said.reason) if said.reason else "",
        items(said.changes) if said.changes else "",
        facts(
            (name, value)
            for name, value in (
                (
                    "kind of change",
                    planned.get(said.predetermined) if said.predetermined is not None else None,
                ),
                ("ticket", said.ticket),
                ("window", f"{day(said.window_begins)} to {day(said.window_ends)}"),
                ("not for", purpose.prohibited_use),
                ("how much hangs on it", purpose.materiality),
                ("where", ", ".join(purpose.jurisdictions or ()) or None),
                ("owner", purpose.owner),
                ("validator", purpose.validator),
            )
        ),
    )


def still_open(bundle: Bundle) -> Html:
    """What may still go wrong, and what is not there yet."""
    risk, lacking = bundle.group(Risk), missing(bundle, "promote")
    clusters, remaining = risk.failure_clusters, risk.remaining
    return section(
        "What is still open",
        element("p", "No failure clusters are known.") if clusters == () else "",
        table(
            ("failure cluster", "what the cases have in common", "how bad", "failing"),
            ((c.name, c.pattern, c.severity, f"{c.failing:,} of {c.cases:,}") for c in clusters),
            words=3,
        )
        if clusters
        else "",
        table(
            ("remaining risk", "what is done about it", "how bad", "accepted by"),
            ((r.what, r.mitigation, r.severity, r.accepted_by) for r in remaining),
            words=4,
        )
        if remaining
        else "",
        element("p", "Not there yet, and needed before it may go live:") if lacking else "",
        items(lacking) if lacking else "",
    )


def way_back(bundle: Bundle) -> Html:
    """How to go back, and whether it was tried."""
    said, post = bundle.group(Rollback), bundle.group(Post)
    drill = said.drill
    tried = (
        f"{day(drill.at)} by {drill.by}: {drill.milliseconds:,} ms, {drill.failed_requests:,} "
        "requests failed"
        if drill
        else "not tried"
    )
    kept = {True: "resident: nothing has to be loaded", False: "has to be loaded first"}
    return section(
        "The way back",
        element("p", said.recovery) if said.recovery else "",
        items(f"Go back if {t.signal} is {t.limit} for {t.over_seconds} s." for t in said.triggers)
        if said.triggers
        else "",
        facts(
            [
                ("back to", short(said.previous)),
                ("that model is", kept.get(said.resident) if said.resident is not None else NONE),
                ("who decides", said.owner),
                ("last drill", tried),
                ("afterwards", post.monitoring),
                ("looked at again", day(post.review_date)),
            ]
        ),
    )


def signatures(bundle: Bundle, found: Verification) -> Html:
    """Who has signed, and who still has to."""
    policy = found.history.newest if found.history is not None else None
    who = found.outcome.signatories
    return section(
        "Who signs",
        table(
            ("step", "needs", "state"),
            (
                _rule(bundle, policy, action, found.outcome)
                for action in ("shadow", "promote", "validate")
            ),
            words=3,
        )
        if policy is not None
        else "",
        table(
            ("who", "as", "said", "when", "in their words"),
            (
                (s.person, ", ".join(s.roles), f"{s.decision} to {s.action}", day(s.at), s.comment)
                for s in who
            ),
            words=5,
        )
        if who
        else element("p", "Nobody has signed yet.", "muted"),
    )


def _rule(
    bundle: Bundle, policy: Policy, action: Action, outcome: Outcome
) -> tuple[object, object, object]:
    try:
        rule = policy.risk_class(bundle.model).rules[action]
    except GovernanceError as error:
        return action, error.failed, ""
    roles = " and ".join(role.replace("_", " ") for role in rule.roles)
    needs = f"{roles}, {rule.persons} {'person' if rule.persons == 1 else 'people'}"
    persons = outcome.approved.get(action)
    no = [s.person for s in outcome.signatories if (s.action, s.decision) == (action, "refuse")]
    if persons is None and no:
        return action, needs, element("span", "refused by " + ", ".join(no), "bad")
    if persons is None:
        return action, needs, element("span", "waits for signatures", "wait")
    return action, needs, element("span", "approved by " + ", ".join(persons), "good")


def explanation(bundle: Bundle) -> Html:
    """How single decisions are explained."""
    said = bundle.group(Explanation)
    if said.method is None:
        return Html("")

    def told() -> Iterator[tuple[str, object]]:
        yield "method", f"{said.method} {said.method_version or ''}"
        yield "reason codes", short(said.reason_codes)
        yield "same first reason as the live model", said.agreement
        yield f"first {said.top or ''} reasons that stay under small changes", said.stability
        yield "cases", said.cases

    return section("How decisions are explained", facts(told()))


def origin(bundle: Bundle) -> Html:
    """From what it was made."""
    said, identity = bundle.group(Lineage), bundle.group(Identity)
    data = said.data_sets or ()
    code = join([said.code.name, " ", short(said.code.digest)]) if said.code else NONE
    clean = {True: "all of it committed", False: "with changes that were not committed"}
    return section(
        "Where it is from",
        table(
            ("data", "used for", "on what basis", "personal data", "rows", "from", "to"),
            (
                (
                    d.name,
                    d.used_for.replace("_", " "),
                    d.consent_basis,
                    d.personal_data,
                    f"{d.rows:,}",
                    day(d.begins)[:10],
                    day(d.ends)[:10],
                )
                for d in data
            ),
            words=4,
        )
        if data
        else "",
        facts(
            [
                ("method", said.method),
                ("features", said.feature_set),
                ("code", code),
                ("", clean[said.clean] if said.clean is not None else NONE),
                (
                    "parameters",
                    ", ".join(f"{k} {v}" for k, v in (said.parameters or {}).items()) or None,
                ),
                ("seeds", ", ".join(map(str, said.seeds or ())) or None),
                ("engine", identity.engine.name if identity.engine else None),
                ("weights", join((short(w.digest) for w in identity.weights or ()), " ") or NONE),
                ("model", element("code", bundle.candidate)),
            ]
        ),
    )
