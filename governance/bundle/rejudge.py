"""The verdict of a signed shadow report, computed again from its integers and its policy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from governance.bundle.errors import BundleError
from governance.policy import Policy
from governance.shadow import verdict
from governance.shadow.ends import Counts
from governance.shadow.gates import ShadowPolicy, parse_policy
from governance.shadow.verdict import Outcome, Verdict
from governance.shadow_report import ShadowReport

_STRICTNESS: Final[dict[Outcome, int]] = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}


@dataclass(frozen=True)
class Rejudged:
    """What the integers give, and what of the verdict they do not tell."""

    verdict: Verdict
    unchecked: tuple[str, ...]


def rejudge(said: ShadowReport, policy: Policy, model: str) -> Rejudged:
    """Judge a report again, under the policy that it names.

    Alpha, limits and gates are the policy's, never the report's own: a report cannot make its
    questions easier. Where the policy asks for what the report does not tell, a report that is
    stricter than its integers is taken, and one that is milder is not.

    Raises:
        BundleError: `verdict_differs`; `bad_report`, if counts or gates contradict each other or
            the policy; `ShadowError` if the policy's own part cannot be read.

    """
    asked = parse_policy(policy.risk_class(model).shadow)
    judged = verdict.judge(_counts(said, asked), asked, said.attempt, said.started, said.ended)
    _check_gates(said, judged)
    if _STRICTNESS[said.verdict] < _STRICTNESS[judged.outcome]:
        raise _differs(said, judged)
    return Rejudged(judged, tuple(_untold(said, judged)))


def _counts(said: ShadowReport, asked: ShadowPolicy) -> Counts:
    """The counts that the report tells; scores that moved are in their gate, if there is one."""
    ends = said.ends
    failed = ends.candidate_error + ends.candidate_timeout
    segments = {s.name: (s.n, s.d) for s in said.segments}
    if said.n != ends.complete + failed or said.d < failed:
        raise _contradiction("n and d are not those of the pairs' ends")
    if said.flips.up + said.flips.down > said.d - failed:
        raise _contradiction("more decisions turned than differ")
    if missing := {s.name for s in asked.segments} - segments.keys():
        raise _contradiction(f"segment {min(missing)} of the policy is not in the report")
    if said.windows.count and said.windows.pairs != asked.window_pairs:
        raise _contradiction(f"windows have {said.windows.pairs} pairs, not {asked.window_pairs}")
    if said.windows.count * asked.window_pairs > said.n:
        raise _contradiction("there are more windows than pairs to fill them")
    return Counts(
        complete=ends.complete,
        candidate_error=ends.candidate_error,
        candidate_timeout=ends.candidate_timeout,
        shed=ends.shed,
        incumbent_error=ends.incumbent_error,
        disagreed=said.d - failed,
        flips_up=said.flips.up,
        flips_down=said.flips.down,
        moved=next((gate.d for gate in said.gates if gate.name == "scores"), 0),
        windows=said.windows.count,
        good_windows=said.windows.ok,
        segments=segments,
    )


def _check_gates(said: ShadowReport, judged: Verdict) -> None:
    told = {gate.name: gate for gate in said.gates}
    for status in judged.gates:
        name = status.gate.name
        if (gate := told.pop(name, None)) is None:
            raise _contradiction(f"gate {name} of the policy is not in the report")
        against = status.trials - status.events if status.gate.windows else status.events
        if (gate.n, gate.d) != (status.trials, against):
            raise _contradiction(
                f"gate {name} counts {gate.d} of {gate.n}, the report {against} of {status.trials}"
            )
        state = "PASS" if status.shown else "FAIL" if status.refuted else "INCONCLUSIVE"
        if gate.state != state:
            raise BundleError(
                "verdict_differs", f"gate {name} says {gate.state}, its counts give {state}"
            )
    if told:
        raise _contradiction(f"the policy has no gate {min(told)}")


def _untold(said: ShadowReport, judged: Verdict) -> Iterator[str]:
    yield "the busiest caller's share, pairs in different buckets, scores that are no numbers"
    if said.verdict != judged.outcome:
        yield f"why it says {said.verdict} where its integers give {judged.outcome}"


def _differs(said: ShadowReport, judged: Verdict) -> BundleError:
    return BundleError(
        "verdict_differs",
        f"the report says {said.verdict}, its counts give {judged.outcome}: "
        + "; ".join(reason.sentence for reason in judged.reasons),
    )


def _contradiction(sentence: str) -> BundleError:
    return BundleError("bad_report", sentence)
