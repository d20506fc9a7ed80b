"""The verdict: PASS, FAIL or INCONCLUSIVE, from counts and time alone, with its reasons.

PASS needs every gate shown at the attempt's alpha *now*, and coverage: both can be lost again. FAIL
needs the opposite of one gate shown at alpha divided by the number of gates. Everything else is
INCONCLUSIVE, and nothing is promoted on that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from governance.shadow import evalue
from governance.shadow.ends import Counts
from governance.shadow.gates import Gate, ShadowPolicy

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
HOUR: Final = 3600


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is: a slug for programs, a sentence for people."""

    slug: str
    sentence: str


@dataclass(frozen=True)
class GateStatus:
    """Where one gate stands. Evidence is log10 E as text, rounded down."""

    gate: Gate
    trials: int
    events: int
    shown: bool
    refuted: bool
    evidence_for: str
    evidence_against: str


@dataclass(frozen=True)
class Verdict:
    """An outcome with its reasons. `final`: waiting for more pairs will not change it.

    A PASS is final only once somebody acts on it: it may be lost while the comparison goes on.
    """

    outcome: Outcome
    final: bool
    reasons: tuple[Reason, ...]
    gates: tuple[GateStatus, ...]
    alpha: Fraction


def judge(counts: Counts, policy: ShadowPolicy, attempt: int, started: int, now: int) -> Verdict:
    """Judge a run from its integers. `started` and `now` are seconds since 1970.

    Raises:
        ShadowError: the counts or the attempt are impossible.

    """
    alpha = policy.alpha_of(attempt)
    against = alpha / len(policy.gates)
    gates = tuple(_status(gate, counts, alpha, against) for gate in policy.gates)
    if counts.non_finite:
        sentence = f"{counts.non_finite} scores of the candidate are not numbers; none may be"
        return Verdict("FAIL", True, (Reason("nan_scores", sentence),), gates, alpha)
    if refuted := [_refuted(status) for status in gates if status.refuted]:
        return Verdict("FAIL", True, tuple(refuted), gates, alpha)
    reasons = [*_coverage(counts, policy, now - started)]
    reasons += [_not_shown(status) for status in gates if not status.shown]
    if not reasons:
        passed = Reason("all_shown", f"all {len(gates)} gates hold on {counts.n:,} pairs")
        return Verdict("PASS", False, (passed,), gates, alpha)
    over = _over(counts, policy, now - started)
    return Verdict("INCONCLUSIVE", bool(over), (*over, *reasons), gates, alpha)


def _status(gate: Gate, counts: Counts, alpha: Fraction, against: Fraction) -> GateStatus:
    trials, events = counts.named(gate.trials), counts.named(gate.events)
    if gate.mcnemar:
        pro = evalue.log_e_fewer_wrong(events, trials - events)
        con = evalue.log_e_fewer_wrong(trials - events, events)
    elif gate.windows:
        pro, con = evalue.log_e_mostly(trials, events), evalue.log_e_mostly_not(trials, events)
    else:
        pro = evalue.log_e_below(trials, events, gate.limit)
        con = evalue.log_e_above(trials, events, gate.limit)
    refuted = evalue.reaches(con, against)
    return GateStatus(
        gate,
        trials,
        events,
        not refuted if gate.kind == "not_worse" else evalue.reaches(pro, alpha),
        refuted,
        evalue.e_text(pro),
        evalue.e_text(con),
    )


def _refuted(status: GateStatus) -> Reason:
    gate = status.gate
    if gate.windows:
        sentence = (
            f"the candidate's p99 was above its limit in {status.trials - status.events:,} of "
            f"{status.trials:,} windows: it is slower than allowed"
        )
    elif gate.mcnemar:
        sentence = (
            f"where one of the two was wrong it was the candidate {status.events:,} of "
            f"{status.trials:,} times: it is wrong more often, beyond reasonable doubt"
        )
        return Reason(f"{gate.name}_worse", sentence)
    else:
        sentence = (
            f"{gate.what}: {status.events:,} of {status.trials:,} pairs, "
            f"{_percent(status.events, status.trials)}; it is above {_limit(gate)} beyond "
            "reasonable doubt"
        )
    return Reason(f"{gate.name}_above_limit", sentence)


def _not_shown(status: GateStatus) -> Reason:
    gate = status.gate
    if gate.windows:
        sentence = (
            f"p99: good in {status.events:,} of {status.trials:,} windows; not enough to be sure"
        )
    elif gate.mcnemar:
        sentence = (
            f"where one of the two was wrong it was the candidate {status.events:,} of "
            f"{status.trials:,} times; that it is wrong less often is not shown yet"
        )
    else:
        sentence = (
            f"{gate.what}: {status.events:,} of {status.trials:,} pairs; that the rate is below "
            f"{_limit(gate)} is not shown yet"
        )
    return Reason(f"{gate.name}_not_shown", sentence)


def _limit(gate: Gate) -> str:
    return f"{float(gate.limit):.4%}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none"


def _coverage(counts: Counts, policy: ShadowPolicy, seconds: int) -> list[Reason]:
    """What is missing so that the pairs could stand for the traffic."""
    found: list[Reason] = []

    def unless(holds: bool, slug: str, sentence: Callable[[], str]) -> None:
        if not holds:
            found.append(Reason(slug, sentence()))

    chosen, n = counts.chosen, counts.n
    unless(chosen > 0, "starved", lambda: "no pair was chosen: no traffic, or no idle time")
    unless(
        counts.shed <= policy.shed_limit * chosen,
        "shed_above_limit",
        lambda: (
            f"{counts.shed:,} of {chosen:,} chosen pairs were shed "
            f"({_percent(counts.shed, chosen)}); what is missing may be what is bad"
        ),
    )
    unless(
        counts.incumbent_error <= policy.incumbent_error_limit * chosen,
        "incumbent_errors",
        lambda: f"the incumbent failed in {counts.incumbent_error:,} of {chosen:,} pairs",
    )
    unless(
        n >= policy.n_min,
        "too_few_pairs",
        lambda: f"{n:,} pairs; at least {policy.n_min:,} are needed",
    )
    unless(
        seconds >= policy.min_hours * HOUR,
        "too_early",
        lambda: f"{max(seconds, 0) / HOUR:.1f} hours seen; at least {policy.min_hours} are needed",
    )
    unless(
        counts.top_caller <= policy.caller_share * chosen,
        "one_caller",
        lambda: (
            f"one caller made {counts.top_caller:,} of {chosen:,} pairs; at most "
            f"{float(policy.caller_share):.0%} may come from one"
        ),
    )
    unless(
        2 * counts.unpaired <= n,
        "latency_unpaired",
        lambda: f"{counts.unpaired:,} of {n:,} pairs ran in different buckets",
    )
    unless(
        counts.labelled >= policy.labelled_min,
        "too_few_labels",
        lambda: (
            f"the outcome of {counts.labelled:,} pairs has come; at least "
            f"{policy.labelled_min:,} are needed"
        ),
    )
    for segment in policy.segments:
        seen = counts.segments.get(segment.name, (0, 0))[0]
        if seen < segment.n_min:
            sentence = f"{seen:,} pairs of {segment.name}; at least {segment.n_min:,} are needed"
            found.append(Reason("segment_starved", sentence))
    return found


def _over(counts: Counts, policy: ShadowPolicy, seconds: int) -> list[Reason]:
    if counts.n >= policy.n_max:
        return [Reason("n_max", f"after {counts.n:,} pairs it is over: not shown either way")]
    if seconds >= policy.t_max_hours * HOUR:
        return [Reason("time_over", f"after {policy.t_max_hours} hours it is over")]
    return []


def outlook(counts: Counts, policy: ShadowPolicy, attempt: int) -> list[Mapping[str, Any]]:
    """Tell each gate's rate with its confidence sequence, and how many pairs it still needs.

    `pairs_needed` is None where the gate is not expected to be shown at the rate seen so far.

    Raises:
        ShadowError: the counts or the attempt are impossible.

    """
    alpha = policy.alpha_of(attempt)
    told: list[Mapping[str, Any]] = []
    for gate in policy.gates:
        trials, events = counts.named(gate.trials), counts.named(gate.events)
        low, high = evalue.confidence_sequence(trials, events, alpha)
        needed = _needed(gate, counts, policy, alpha)
        told.append(
            {
                "gate": gate.name,
                "trials": trials,
                "events": events,
                "limit": evalue.rate_text(float(gate.limit), up=False),
                "low": evalue.rate_text(low, up=False),
                "high": evalue.rate_text(high, up=True),
                "pairs_needed": needed,
            }
        )
    return told


def _needed(gate: Gate, counts: Counts, policy: ShadowPolicy, alpha: Fraction) -> int | None:
    """Estimate how many pairs a gate still needs; those on outcomes at the rate that they come."""
    trials, events = counts.named(gate.trials), counts.named(gate.events)
    if gate.windows:
        windows = evalue.windows_needed(trials, events, alpha)
        return None if windows is None else windows * policy.window_pairs
    if gate.kind == "not_worse":
        return 0
    needed = (
        evalue.mcnemar_needed(events, trials - events, alpha)
        if gate.mcnemar
        else evalue.pairs_needed(trials, events, gate.limit, alpha)
    )
    if not needed or gate.trials not in ("labelled", "one_wrong"):
        return needed
    return -(-needed * counts.n // trials) if trials else None
