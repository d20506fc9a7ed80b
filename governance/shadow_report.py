"""The shadow report: what a comparison on live requests counted, and what follows from it.

Counts are integers and limits decimal strings, so that an auditor recomputes every e-value from the
report alone. Who computes them is the verdict; this is only their form, and `shadow.statement` is
the way between the two.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from governance.errors import MalformedError
from governance.predicates import Predicate
from governance.shape import Between
from governance.vocabulary import (
    Count,
    Decimal,
    Digest,
    Label,
    Positive,
    Sentence,
    Sha256Hex,
    Time,
)

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Gate:
    """One question that the comparison answers.

    Attributes:
        name: of the gate, as in the policy.
        kind: "rate": d of n pairs disagree; "sign": d of n windows are not good; "mcnemar": of n
            labelled pairs in which one model alone was wrong it was the candidate in d.
        n: pairs or windows.
        d: those that speak against the candidate; at most n.
        limit: the rate, or for "sign" the ratio, that must be undercut.
        alpha: the chance of a false answer that was allowed.
        log10_e: evidence that the candidate is within the limit: the e-value's logarithm.
        log10_e_against: evidence that it is not.
        state: what the gate says.

    """

    name: Label
    kind: Literal["rate", "sign", "mcnemar"]
    n: Count
    d: Count
    limit: Decimal
    alpha: Decimal
    log10_e: Decimal
    log10_e_against: Decimal
    state: Verdict

    def __post_init__(self) -> None:
        if self.d > self.n:
            raise MalformedError("bad_counts", f"gate {self.name} counts {self.d} of {self.n}")


@dataclass(frozen=True)
class Ends:
    """How the chosen pairs ended; every pair in exactly one way."""

    complete: Count
    candidate_error: Count
    candidate_timeout: Count
    shed: Count
    incumbent_error: Count


@dataclass(frozen=True)
class Flips:
    """Decisions that changed: from the upper label to the lower one, and back."""

    down: Count
    up: Count


@dataclass(frozen=True)
class Windows:
    """Windows of execute time: how many, how many of them good, of how many pairs each.

    `unpaired` pairs are in none, because their two times are not of one batch.
    """

    count: Count
    ok: Count
    pairs: Positive
    unpaired: Count

    def __post_init__(self) -> None:
        if self.ok > self.count:
            raise MalformedError("bad_counts", f"{self.ok} of {self.count} windows are good")


@dataclass(frozen=True)
class Scores:
    """Complete pairs whose scores moved by more than epsilon, or whose new score is no number."""

    moved: Count
    non_finite: Count


@dataclass(frozen=True)
class Shift:
    """How the scores of both models lie, to look at: nothing is decided by it.

    Attributes:
        edges: deciles of the incumbent's scores, equal ones once.
        incumbent, candidate: how many scores of each are up to an edge and above the one before;
            the last count is of those above all.
        psi, ks: from these counts, rounded to four decimals.

    """

    edges: Annotated[tuple[Decimal, ...], Between(1, 9)]
    incumbent: Annotated[tuple[Count, ...], Between(2, 10)]
    candidate: Annotated[tuple[Count, ...], Between(2, 10)]
    psi: Decimal
    ks: Decimal

    def __post_init__(self) -> None:
        if not len(self.edges) + 1 == len(self.incumbent) == len(self.candidate):
            raise MalformedError("bad_counts", "there is one bin more than edges")
        if not sum(self.incumbent) == sum(self.candidate) > 0:
            raise MalformedError("bad_counts", "both models have scored the same pairs")


@dataclass(frozen=True)
class Labels:
    """Complete pairs whose outcome has come, and those in which one model alone was wrong.

    McNemar's e-value is B(b+1, c+1) 2^(b+c) with b `only_candidate_wrong` and c
    `only_incumbent_wrong`: evidence that they are wrong unequally often, whenever one looks.
    """

    labelled: Count
    only_candidate_wrong: Count
    only_incumbent_wrong: Count
    log10_e: Decimal


@dataclass(frozen=True)
class Callers:
    """How many callers were seen, and how many pairs the busiest of them made."""

    count: Count
    busiest: Count


@dataclass(frozen=True)
class Segment:
    """One stratum of the requests."""

    name: Label
    n: Count
    d: Count

    def __post_init__(self) -> None:
        if self.d > self.n:
            raise MalformedError("bad_counts", f"segment {self.name} counts {self.d} of {self.n}")


@dataclass(frozen=True)
class ShadowReport(Predicate):
    """A comparison of a candidate with the incumbent, as one gateway or a fleet saw it.

    Attributes:
        candidate: the digest of the model that was compared.
        incumbent: the digest of the model that answered meanwhile.
        audience: the fleet's name.
        gateway: the gateway that counted, or that summed.
        policy: the digest of the policy.
        shadow_policy: the comparison's own part of it, from which every limit follows.
        attempt: the how many-th comparison of this model and incumbent; it divides alpha.
        seed_commitment: the digest of the seed by which pairs were chosen, fixed before the start.
        seed: the seed itself, in hex, now that nothing is drawn by it any more; None in a sum.
        started, ended: when.
        n, d: pairs that were compared, and decisions among them that differ.
        gates: every question with its counts and answer.
        ends: how pairs ended.
        flips: directions of the changed decisions.
        windows: of execute time.
        scores: how many moved.
        callers: how many there were.
        segments: counts of each stratum.
        sample_root: the Merkle root (RFC 6962) over the lines of the log of samples.
        sources: the payload digests of the reports that were summed; none for one gateway's own.
        verdict: PASS, FAIL or INCONCLUSIVE.
        reasons: why, each a slug, a colon and a sentence.
        labels: what outcomes say that came meanwhile; None in a report from before they counted.
        shift: how scores lie; None in a sum, where nothing was scored, and in older reports.

    """

    TYPE: ClassVar[str] = "urn:sluicegate:shadow-report:v1"
    candidate: Digest
    incumbent: Digest
    audience: Label
    gateway: Label
    policy: Digest
    shadow_policy: dict[str, Any]
    attempt: Positive
    seed_commitment: Digest
    seed: Sha256Hex | None
    started: Time
    ended: Time
    n: Count
    d: Count
    gates: Annotated[tuple[Gate, ...], Between(1, 256)]
    ends: Ends
    flips: Flips
    windows: Windows
    scores: Scores
    callers: Callers
    segments: Annotated[tuple[Segment, ...], Between(0, 256)]
    sample_root: Digest
    sources: Annotated[tuple[Digest, ...], Between(0, 256)]
    verdict: Verdict
    reasons: Annotated[tuple[Sentence, ...], Between(0, 256)]
    labels: Labels | None = None
    shift: Shift | None = None

    def __post_init__(self) -> None:
        if self.d > self.n:
            raise MalformedError("bad_counts", f"the report counts {self.d} of {self.n}")
        if self.ended < self.started:
            raise MalformedError("bad_validity", "the comparison ended before it started")
        for names in ([g.name for g in self.gates], [s.name for s in self.segments]):
            if len(set(names)) != len(names):
                raise MalformedError("duplicate_name", "a gate or a segment is listed twice")
        if self.verdict == "PASS" and any(gate.state != "PASS" for gate in self.gates):
            raise MalformedError("contradiction", "the verdict is PASS and a gate says otherwise")

    @property
    def about(self) -> str:
        """The candidate."""
        return self.candidate
