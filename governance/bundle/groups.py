"""The field groups of a promotion record: what has to be known of a candidate, by document.

Every field may be absent while the candidate is young; `requirements` says which gate needs which.
A list that is there and empty says that there is none. Rates and decimals are text, times are
seconds since 1970 UTC. What is signed (provenance, evaluation, shadow report, approvals,
deployment) is not repeated here: groups name statements by their payload's digest. How a candidate
was measured is in `measured`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from governance.attestations import Name
from governance.bundle.measured import Serving
from governance.shape import Between
from governance.vocabulary import (
    Count,
    Decimal,
    Digest,
    ModelName,
    Positive,
    Sentence,
    Time,
)

Sentences: TypeAlias = Annotated[tuple[Sentence, ...], Between(0, 256)]
Severity: TypeAlias = Literal["low", "medium", "high"]


@dataclass(frozen=True)
class Artefact:
    """A file or thing by name and digest."""

    name: Name
    digest: Digest


@dataclass(frozen=True)
class Identity:
    """Which bytes: the model's digest is that of its manifest, which names every other file.

    Attributes:
        model: the name under which it is to be served.
        candidate: the model's digest.
        version: its number in the repository.
        loader: what opens it, as "onnxruntime".
        engine: the runtime's library, by version and digest.
        weights: the files that hold the weights.
        contract: the digest of contract.toml.
        base: the model that it was made from, if there is one; `adapter` likewise.

    """

    model: ModelName | None = None
    candidate: Digest | None = None
    version: Positive | None = None
    loader: Name | None = None
    engine: Artefact | None = None
    weights: Annotated[tuple[Artefact, ...], Between(1, 256)] | None = None
    contract: Digest | None = None
    base: Artefact | None = None
    adapter: Artefact | None = None


@dataclass(frozen=True)
class Purpose:
    """What it is for, who answers for it, and how much hangs on it."""

    intended_use: Sentence | None = None
    prohibited_use: Sentence | None = None
    materiality: Literal["low", "medium", "high"] | None = None
    jurisdictions: Annotated[tuple[Name, ...], Between(1, 64)] | None = None
    owner: Name | None = None
    validator: Name | None = None
    vendor: bool | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set: what it holds, from when to when, on what basis, and what it was used for."""

    name: Name
    digest: Digest
    rows: Positive
    begins: Time
    ends: Time
    consent_basis: Sentence
    personal_data: Literal["none", "pseudonymous", "personal", "special"]
    used_for: Literal["training", "validation", "held_out", "calibration"]


@dataclass(frozen=True)
class Lineage:
    """From what, by which code and with which settings it was made.

    `provenance` is the payload digest of the signed statement, which has to name the same data
    sets and code. `clean` says that the code held no changes that were not committed.
    """

    provenance: Digest | None = None
    data_sets: Annotated[tuple[DataSet, ...], Between(1, 256)] | None = None
    feature_set: Name | None = None
    code: Artefact | None = None
    clean: bool | None = None
    lock_file: Digest | None = None
    container: Digest | None = None
    method: Sentence | None = None
    parameters: dict[str, str] | None = None
    seeds: Annotated[tuple[Count, ...], Between(1, 64)] | None = None
    parent: Digest | None = None


@dataclass(frozen=True)
class Metric:
    """A figure with its interval, and where it is gated the locked threshold.

    With a threshold the bound that is worse has to reach it: `low` where more is better, `high`
    where less is. A metric without one is told and decides nothing.
    """

    name: Name
    value: Decimal
    low: Decimal
    high: Decimal
    n: Positive
    better: Literal["more", "less"]
    data_set: Digest
    threshold: Decimal | None = None


@dataclass(frozen=True)
class SegmentMetric:
    """A metric on one part of the cases."""

    segment: Name
    metric: Name
    value: Decimal
    low: Decimal
    high: Decimal
    n: Positive


@dataclass(frozen=True)
class Baseline:
    """What something else reaches on the same cases: the model before, a simple one, a frontier."""

    name: Name
    metric: Name
    value: Decimal
    n: Positive


@dataclass(frozen=True)
class Balance:
    """Cases by what they test, so that a model that flags everything cannot pass."""

    true_positive: Count
    true_negative: Count
    false_positive_guard: Count
    false_negative_guard: Count


@dataclass(frozen=True)
class Regressions:
    """Cases that the model before had right and this one has wrong; `allowed` was locked before."""

    cases: Positive
    regressed: Count
    allowed: Count
    names: Annotated[tuple[Name, ...], Between(0, 1000)]


@dataclass(frozen=True)
class Evaluated:
    """The table of figures. The evaluation statement names this document by its digest.

    Attributes:
        run: the one run that all figures are from.
        metrics: among them at least one with a threshold.
        segments: figures of parts.
        calibration: how far scores are from frequencies, as a metric.
        baselines: what others reach.
        balance: cases by what they test.
        regressions: cases lost.
        known_limits: what it is known not to do.
        held_out_looks: how often the sealed set was looked at, this time included.

    """

    run: Name | None = None
    metrics: Annotated[tuple[Metric, ...], Between(1, 256)] | None = None
    segments: Annotated[tuple[SegmentMetric, ...], Between(0, 1024)] | None = None
    calibration: Metric | None = None
    baselines: Annotated[tuple[Baseline, ...], Between(0, 64)] | None = None
    balance: Balance | None = None
    regressions: Regressions | None = None
    known_limits: Sentences | None = None
    held_out_looks: Positive | None = None


@dataclass(frozen=True)
class Shadowed:
    """The comparison on live requests: `report` is the payload digest of the signed report."""

    report: Digest | None = None
    sampling: Sentence | None = None
    remarks: Sentences | None = None


@dataclass(frozen=True)
class Explanation:
    """How single decisions are explained, and whether the reasons stay the same.

    `agreement`: share of cases in which candidate and incumbent give the same first reason;
    `stability`: share of the first `top` reasons that small changes of the input leave in place.
    """

    reason_codes: Digest | None = None
    method: Name | None = None
    method_version: Name | None = None
    agreement: Decimal | None = None
    stability: Decimal | None = None
    top: Positive | None = None
    cases: Positive | None = None


@dataclass(frozen=True)
class Approvals:
    """Who was asked: statements by digest, who disagreed, and whether anybody had a conflict."""

    statements: Annotated[tuple[Digest, ...], Between(0, 64)] | None = None
    dissent: Sentences | None = None
    conflicts: Sentence | None = None


@dataclass(frozen=True)
class Change:
    """What changes, in place of what and why; `predetermined`: within a plan that was agreed."""

    summary: Sentence | None = None
    reason: Sentence | None = None
    changes: Sentences | None = None
    expected_incumbent: Digest | None = None
    first: bool | None = None
    predetermined: bool | None = None
    ticket: Name | None = None
    window_begins: Time | None = None
    window_ends: Time | None = None


@dataclass(frozen=True)
class Trigger:
    """When to go back: a signal and the value that it must not cross."""

    signal: Name
    limit: Name
    over_seconds: Positive


@dataclass(frozen=True)
class Drill:
    """A rollback that was tried: how long until the old model answered, and what failed."""

    at: Time
    milliseconds: Count
    failed_requests: Count
    by: Name


@dataclass(frozen=True)
class Rollback:
    """How to go back. `previous` is absent only where there is no model before."""

    previous: Digest | None = None
    resident: bool | None = None
    triggers: Annotated[tuple[Trigger, ...], Between(1, 64)] | None = None
    owner: Name | None = None
    recovery: Sentence | None = None
    drill: Drill | None = None


@dataclass(frozen=True)
class Execution:
    """How it went live: ledger entries, the gateway's own statement, clock, first answer."""

    intent_index: Count | None = None
    outcome_index: Count | None = None
    deployment: Digest | None = None
    gateway: Name | None = None
    build: Digest | None = None
    clock_source: Name | None = None
    effective: Time | None = None
    first_request: Name | None = None


@dataclass(frozen=True)
class Incident:
    """Something that happened after it went live."""

    at: Time
    what: Sentence
    severity: Severity


@dataclass(frozen=True)
class Post:
    """What happens afterwards: who looks at what and when, and what has happened."""

    monitoring: Sentence | None = None
    review_date: Time | None = None
    incidents: Annotated[tuple[Incident, ...], Between(0, 256)] | None = None
    revocations: Annotated[tuple[Digest, ...], Between(0, 64)] | None = None


@dataclass(frozen=True)
class FailureCluster:
    """Cases that fail alike and still do: how many of how many, and what they have in common."""

    name: Name
    pattern: Sentence
    failing: Count
    cases: Positive
    severity: Severity


@dataclass(frozen=True)
class RemainingRisk:
    """What may still go wrong, what is done about it, and who accepts that."""

    what: Sentence
    severity: Severity
    mitigation: Sentence
    accepted_by: Name


@dataclass(frozen=True)
class Risk:
    """What is still open."""

    failure_clusters: Annotated[tuple[FailureCluster, ...], Between(0, 256)] | None = None
    remaining: Annotated[tuple[RemainingRisk, ...], Between(0, 256)] | None = None


Group: TypeAlias = (
    Identity
    | Purpose
    | Lineage
    | Evaluated
    | Serving
    | Shadowed
    | Explanation
    | Approvals
    | Change
    | Rollback
    | Execution
    | Post
    | Risk
)
GROUPS: dict[str, type[Group]] = {
    "identity": Identity,
    "purpose": Purpose,
    "lineage": Lineage,
    "evaluation": Evaluated,
    "serving": Serving,
    "shadow": Shadowed,
    "explanation": Explanation,
    "approval": Approvals,
    "change": Change,
    "rollback": Rollback,
    "execution": Execution,
    "post": Post,
    "risk": Risk,
}
"""Each group is the document NAME.json of a bundle."""
