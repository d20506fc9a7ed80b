"""The shadow report: a run's integers and its verdict, and the same verdict computed again.

It is the predicate of a signed statement: whole numbers and decimals as strings, nothing else. An
auditor needs the report alone to recompute every e-value. Reports of a fleet's gateways add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from governance.shadow import verdict
from governance.shadow.ends import Counts, End, Tally, parse_counts
from governance.shadow.errors import ShadowError
from governance.shadow.evalue import e_text, log_e_mcnemar
from governance.shadow.gates import ShadowPolicy, parse_policy
from governance.shadow.labels import Labels
from governance.shadow.verdict import Verdict

FORMAT: Final = "sluicegate.shadow-report/1"
_KEYS: Final = {
    "format",
    "candidate",
    "incumbent",
    "gateway",
    "attempt",
    "policy",
    "started",
    "ended",
    "counts",
    "gates",
    "verdict",
    "reasons",
}


class Comparison:
    """One run of a candidate against an incumbent at one gateway.

    It looks for a FAIL after every end that speaks against the candidate; once failed, further ends
    are refused, so that no later luck can cover it.
    """

    def __init__(
        self,
        policy: Mapping[str, Any],
        candidate: str,
        incumbent: str,
        gateway: str,
        attempt: int,
        started: int,
    ) -> None:
        """Begin. Digests of both models; `gateway` is the digest of its key; seconds since 1970.

        Raises:
            ShadowError: the policy or the attempt is impossible.

        """
        self.policy = parse_policy(policy)
        self.policy.alpha_of(attempt)
        self._told = dict(policy)
        self._names = {"candidate": candidate, "incumbent": incumbent, "gateway": gateway}
        self._attempt, self._started = attempt, started
        self._tally = Tally(self.policy)
        self._failed = False

    def add(self, end: End) -> None:
        """Count the end of one chosen pair.

        Raises:
            ShadowError: the end is impossible, or the comparison has failed already.

        """
        if self._failed:
            raise ShadowError("comparison_over", "the candidate has failed: the comparison is over")
        if self._tally.add(end):
            self._failed = self.judge(self._started).outcome == "FAIL"

    def label(self, change: Labels) -> None:
        """Count an outcome that came later, or a later word on one.

        Raises:
            ShadowError: the comparison has failed already.

        """
        if self._failed:
            raise ShadowError("comparison_over", "the candidate has failed: the comparison is over")
        if self._tally.label(change):
            self._failed = self.judge(self._started).outcome == "FAIL"

    def counts(self) -> Counts:
        """What was counted so far."""
        return self._tally.counts()

    @property
    def log10_e_mcnemar(self) -> str:
        """Evidence of outcomes so far that the two are wrong unequally often."""
        counts = self.counts()
        return e_text(log_e_mcnemar(counts.only_candidate_wrong, counts.only_incumbent_wrong))

    def judge(self, now: int) -> Verdict:
        """Judge as of now, seconds since 1970. Looking costs nothing."""
        return verdict.judge(self.counts(), self.policy, self._attempt, self._started, now)

    def outlook(self) -> list[Mapping[str, Any]]:
        """Tell where each gate stands and what it still needs."""
        return verdict.outlook(self.counts(), self.policy, self._attempt)

    def report(self, now: int) -> dict[str, Any]:
        """Write the report as of now; the gateway signs it as a statement's predicate."""
        run = {**self._names, "attempt": self._attempt, "policy": self._told}
        times = {"started": self._started, "ended": now}
        return _report({**run, **times}, self.counts(), self.judge(now))


def _report(run: Mapping[str, Any], counts: Counts, judged: Verdict) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **run,
        "counts": counts.plain(),
        "gates": [
            {
                "name": status.gate.name,
                "trials": status.trials,
                "events": status.events,
                "log10_e_for": status.evidence_for,
                "log10_e_against": status.evidence_against,
            }
            for status in judged.gates
        ],
        "verdict": judged.outcome,
        "reasons": [
            {"reason": reason.slug, "sentence": reason.sentence} for reason in judged.reasons
        ],
    }


def recompute(report: Mapping[str, Any]) -> Verdict:
    """Judge a report again from its integers, as an auditor does.

    Raises:
        ShadowError: it is not a report, its counts are impossible, or what it tells (verdict,
            reasons or evidence) is not what its integers give.

    """
    if set(report) != _KEYS or report["format"] != FORMAT:
        raise ShadowError("bad_report", f"a report of format {FORMAT} has exactly its own keys")
    counts, policy = _parts(report)
    judged = verdict.judge(counts, policy, report["attempt"], report["started"], report["ended"])
    run = {key: report[key] for key in _KEYS - {"format", "counts", "gates", "verdict", "reasons"}}
    if _report(run, counts, judged) != dict(report):
        raise ShadowError(
            "verdict_differs",
            f"the report says {report['verdict']}, its counts give {judged.outcome}"
            if report["verdict"] != judged.outcome
            else "the report's gates, counts or reasons are not those that its counts give",
        )
    return judged


def _parts(report: Mapping[str, Any]) -> tuple[Counts, ShadowPolicy]:
    if not isinstance(report["counts"], Mapping) or not isinstance(report["policy"], Mapping):
        raise ShadowError("bad_report", "counts and policy are objects")
    for key in ("attempt", "started", "ended"):
        if type(report[key]) is not int:
            raise ShadowError("bad_report", f"{key} is a whole number")
    counts, policy = parse_counts(report["counts"]), parse_policy(report["policy"])
    if set(counts.segments) != {segment.name for segment in policy.segments}:
        raise ShadowError("bad_report", "the counts' segments are not those of the policy")
    return counts, policy


def combine(reports: Sequence[Mapping[str, Any]], gateway: str) -> dict[str, Any]:
    """Add the reports of a fleet up to one; the caller has checked that each is signed.

    The sum is judged over the time that all of them saw; by `silent_minutes` of the policy a
    gateway whose report is so much older than the newest stands in no other's way, and its counts
    stay. No caller's identity leaves a gateway, so the busiest caller's pairs are taken as the sum
    of each gateway's busiest: never too few.
    `gateway` is the digest of the key that signs the sum.

    Raises:
        ShadowError: there is none, two are of one gateway, or they are not of one run.

    """
    if not reports:
        raise ShadowError("no_reports", "there is no report to add up")
    for report in reports:
        recompute(report)
    same = ("candidate", "incumbent", "attempt", "policy")
    first = reports[0]
    for report in reports[1:]:
        if differs := [key for key in same if report[key] != first[key]]:
            raise ShadowError("other_run", f"the reports differ in {', '.join(differs)}")
    if len({report["gateway"] for report in reports}) < len(reports):
        raise ShadowError("gateway_twice", "one gateway has reported twice")
    counts = _sum([_parts(report)[0] for report in reports])
    policy = parse_policy(first["policy"])
    times = heard([(int(report["started"]), int(report["ended"])) for report in reports], policy)
    started, ended = max(start for start, _ in times), min(end for _, end in times)
    run = {**{key: first[key] for key in same}, "gateway": gateway}
    judged = verdict.judge(counts, policy, int(first["attempt"]), started, ended)
    return _report({**run, "started": started, "ended": ended}, counts, judged)


def heard(times: Sequence[tuple[int, int]], policy: ShadowPolicy) -> list[tuple[int, int]]:
    """Of reports' times (start and end, seconds) those that a sum is judged over."""
    if policy.silent_minutes is None:
        return list(times)
    newest = max(end for _, end in times)
    return [(start, end) for start, end in times if end >= newest - 60 * policy.silent_minutes]


def _sum(parts: Sequence[Counts]) -> Counts:
    numbers = {
        f.name: sum(int(getattr(part, f.name)) for part in parts)
        for f in fields(Counts)
        if f.name != "segments"
    }
    segments = {
        name: (sum(p.segments[name][0] for p in parts), sum(p.segments[name][1] for p in parts))
        for name in parts[0].segments
    }
    return Counts(**numbers, segments=segments)
