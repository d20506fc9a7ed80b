"""How chosen pairs end, and the integers that a run comes down to.

Every chosen pair ends in exactly one way. What is missing is never good: an error or a time-out of
the candidate is a disagreement and an endless execute time; a shed pair counts against coverage.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from governance.shadow.errors import ShadowError
from governance.shadow.gates import ShadowPolicy
from governance.shadow.labels import Labels

Kind = Literal["complete", "candidate_error", "candidate_timeout", "shed", "incumbent_error"]
KINDS: Final[tuple[Kind, ...]] = (
    "complete",
    "candidate_error",
    "candidate_timeout",
    "shed",
    "incumbent_error",
)
ENDLESS: Final = 1 << 63


@dataclass(frozen=True)
class Answer:
    """One model's answer: the decision as a label's number, the score if there is one.

    `execute_ns` is what its batch took in the engine, nanoseconds; `bucket` the batch's shape.
    """

    decision: int
    score: float | None
    execute_ns: int
    bucket: str


@dataclass(frozen=True)
class End:
    """The end of one chosen pair.

    `caller` is a keyed hash, only counted. `complete` has both answers; an error or a time-out
    of the candidate has the incumbent's; `segment` is one of the policy's, or None. `moved`: the
    data plane found the scores further apart than epsilon; where scores are given, they decide.
    """

    kind: Kind
    caller: str
    segment: str | None = None
    incumbent: Answer | None = None
    candidate: Answer | None = None
    moved: bool = False


@dataclass(frozen=True)
class Counts:
    """All that a verdict depends on. Whole numbers only.

    `disagreed`, `flips_up`, `flips_down`, `moved` and `non_finite` count among complete pairs;
    `moved` are scores further apart than epsilon, `non_finite` scores of the candidate that are not
    numbers. `windows` of paired execute times, of which `good_windows` met the ratio; `unpaired`
    pairs ran in different buckets. `callers` were seen, the busiest made `top_caller` pairs.
    `segments` has (pairs, disagreements) by name. `labelled` are complete pairs whose outcome has
    come; in `only_candidate_wrong` and `only_incumbent_wrong` of them one model alone was wrong.
    """

    complete: int = 0
    candidate_error: int = 0
    candidate_timeout: int = 0
    shed: int = 0
    incumbent_error: int = 0
    disagreed: int = 0
    flips_up: int = 0
    flips_down: int = 0
    moved: int = 0
    non_finite: int = 0
    windows: int = 0
    good_windows: int = 0
    unpaired: int = 0
    callers: int = 0
    top_caller: int = 0
    labelled: int = 0
    only_candidate_wrong: int = 0
    only_incumbent_wrong: int = 0
    segments: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Pairs in which the candidate gave no answer."""
        return self.candidate_error + self.candidate_timeout

    @property
    def n(self) -> int:
        """Pairs that count: the incumbent answered and the candidate was run."""
        return self.complete + self.failed

    @property
    def d(self) -> int:
        """Disagreements, among them everything that the candidate did not answer."""
        return self.disagreed + self.failed

    @property
    def chosen(self) -> int:
        """All pairs that were chosen."""
        return self.n + self.shed + self.incumbent_error

    @property
    def one_wrong(self) -> int:
        """Labelled pairs in which one of the two was wrong and the other was not."""
        return self.only_candidate_wrong + self.only_incumbent_wrong

    def named(self, name: str) -> int:
        """Look a count up by the name that a gate uses."""
        if name.startswith("segment:"):
            _, segment, which = name.split(":")
            return self.segments.get(segment, (0, 0))["nd".index(which)]
        return int(getattr(self, name))

    def plain(self) -> dict[str, Any]:
        """Write as a plain mapping for a report."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "segments"}
        told = {name: {"d": d, "n": n} for name, (n, d) in sorted(self.segments.items())}
        return {**numbers, "segments": told}


def parse_counts(value: Mapping[str, Any]) -> Counts:
    """Read counts from a report.

    Raises:
        ShadowError: a count is missing, unknown, not a whole number, or they contradict each other.

    """
    names = {f.name for f in fields(Counts)}
    if set(value) != names or not isinstance(value["segments"], Mapping):
        raise ShadowError("bad_report", f"counts are exactly {', '.join(sorted(names))}")
    segments = {}
    for name, pair in value["segments"].items():
        if not isinstance(pair, Mapping) or set(pair) != {"n", "d"}:
            raise ShadowError("bad_report", f"segment {name} has n and d")
        segments[str(name)] = (_whole(pair["n"]), _whole(pair["d"]))
    numbers = {name: _whole(value[name]) for name in names - {"segments"}}
    counts = Counts(**numbers, segments=segments)
    possible = (
        counts.flips_up + counts.flips_down <= counts.disagreed <= counts.complete
        and counts.moved <= counts.complete
        and counts.non_finite <= counts.complete
        and counts.good_windows <= counts.windows <= counts.n
        and counts.top_caller <= counts.chosen
        and counts.labelled <= counts.complete
        # Where one alone is wrong, the two disagree.
        and counts.one_wrong <= min(counts.labelled, counts.disagreed)
        and all(d <= n for n, d in segments.values())
        and sum(n for n, _ in segments.values()) <= counts.n
    )
    if not possible:
        raise ShadowError("bad_report", "the counts contradict each other")
    return counts


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 10**9:
        raise ShadowError("bad_report", f"{value!r} is not a count")
    return value


class Tally:
    """Counts the ends of one run. It keeps the pairs of open latency windows and callers' sums."""

    def __init__(self, policy: ShadowPolicy) -> None:
        self._policy = policy
        self._counts = Counter[str]()
        self._segments = {s.name: [0, 0] for s in policy.segments}
        self._callers = Counter[str]()
        self._open: dict[str, list[tuple[int, int]]] = {}

    def add(self, end: End) -> bool:
        """Count one end; True if it speaks against the candidate.

        Raises:
            ShadowError: the end lacks an answer that its kind has.

        """
        bad = self._judged(end)
        self._counts[end.kind] += 1
        self._callers[end.caller] += 1
        if end.kind not in ("shed", "incumbent_error"):
            if end.segment in self._segments:
                self._segments[end.segment][0] += 1
                self._segments[end.segment][1] += bad
            bad |= self._timed(end)
        return bad

    def label(self, change: Labels) -> bool:
        """Count outcomes that have come; True if they speak against the candidate."""
        self._counts.update(
            labelled=change.labelled,
            only_candidate_wrong=change.only_candidate_wrong,
            only_incumbent_wrong=change.only_incumbent_wrong,
        )
        return change.only_candidate_wrong > 0 or change.only_incumbent_wrong < 0

    def counts(self) -> Counts:
        """What was counted so far. Pairs of windows that are not full count in no window."""
        return Counts(
            **self._counts,
            callers=len(self._callers),
            top_caller=max(self._callers.values(), default=0),
            segments={name: (n, d) for name, (n, d) in self._segments.items()},
        )

    def _judged(self, end: End) -> bool:
        if end.kind not in KINDS:
            raise ShadowError("bad_end", f"a pair does not end as {end.kind!r}")
        if end.kind in ("shed", "incumbent_error"):
            return False
        if end.kind != "complete":
            return True
        one, other = end.incumbent, end.candidate
        if one is None or other is None:
            raise ShadowError("bad_end", "a complete pair has both answers")
        broken = other.score is not None and not math.isfinite(other.score)
        self._counts["non_finite"] += broken
        self._counts["moved"] += broken or end.moved or self._moved(one.score, other.score)
        if one.decision != other.decision:
            self._counts["flips_up" if other.decision > one.decision else "flips_down"] += 1
        differs = broken or one.decision != other.decision
        self._counts["disagreed"] += differs
        return differs

    def _moved(self, one: float | None, other: float | None) -> bool:
        """Whether scores are further apart than epsilon; one that is missing or no number is."""
        if one is None and other is None:
            return False
        if one is None or other is None or not math.isfinite(one):
            return True
        return abs(one - other) > self._policy.score_epsilon

    def _timed(self, end: End) -> bool:
        """Put the pair into its bucket's window; True if that ends a window that is not good."""
        one, other = end.incumbent, end.candidate
        if one is None or (other is not None and other.bucket != one.bucket):
            self._counts["unpaired"] += 1
            return False
        window = self._open.setdefault(one.bucket, [])
        missing = other is None or end.kind != "complete"
        window.append((one.execute_ns, ENDLESS if missing or other is None else other.execute_ns))
        if len(window) < self._policy.window_pairs:
            return False
        del self._open[one.bucket]
        good = window_is_good(window, self._policy)
        self._counts["windows"] += 1
        self._counts["good_windows"] += good
        return not good


def window_is_good(window: list[tuple[int, int]], policy: ShadowPolicy) -> bool:
    """Whether the candidate's p99 is at most the policy's ratio times the incumbent's.

    Both are the same order statistic, number ceil(0.99 * pairs), of execute times in nanoseconds.
    """
    place = -(-99 * len(window) // 100) - 1
    one = sorted(pair[0] for pair in window)[place]
    other = sorted(pair[1] for pair in window)[place]
    return other <= policy.latency_ratio * one
