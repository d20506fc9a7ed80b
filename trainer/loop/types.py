"""What each phase takes and gives. All of it is frozen, and JSON in the ledger.

Bytes are named by digest and lie in the run's object store; numbers keep all their digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainer.evaluation.bounds import Bound
from trainer.evaluation.fairness import Rate
from trainer.evaluation.seal import Sealed

PHASES = ("prepare", "evaluate", "diagnose", "specialise", "assess", "propose")
Next = Literal["continue", "propose", "stop"]


@dataclass(frozen=True)
class Prepared:
    """The run's data: digests of training cases and core suite, and what is known of the seal.

    Attributes:
        train, core: in the object store.
        held_out: sealed.
        lock: the digest of the locked thresholds.
        dropped: equal cases that were taken out of training.
        plain: a plain model's bytes, and its scores of the training cases by folds.
        reference: the model that a candidate must not be worse than; the plain one if there is no
            incumbent.
        protected: names of slices by which fairness is reported.
    """

    train: str
    core: str
    held_out: Sealed
    lock: str
    dropped: int
    leaked: int
    plain: str
    plain_folds: str
    reference: str
    reference_name: str
    reference_threshold: float
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluateIn:
    """A model (digest) and its fold scores of the training cases (digest), to be looked at."""

    round: int
    train: str
    core: str
    model: str
    fold_scores: str
    threshold: float


@dataclass(frozen=True)
class Told:
    """A metric of one part of the cases."""

    name: str
    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class EvaluateOut:
    """How the model does on core, and which training cases it has wrong (rows, in the store)."""

    metrics: Mapping[str, Bound]
    slices: tuple[Told, ...]
    wrong: str
    failing: int
    cases: int


@dataclass(frozen=True)
class DiagnoseIn:
    """Failures to be explained."""

    train: str
    wrong: str
    fold_scores: str
    seed: int
    targeted: bool


@dataclass(frozen=True)
class Cluster:
    """Cases that fail alike: `name` says what they have in common, by what it was found.

    Attributes:
        by: "slice" or "likeness".
        failing, cases: how many fail of how many that the name fits.
    """

    name: str
    by: str
    failing: int
    cases: int


@dataclass(frozen=True)
class DiagnoseOut:
    """Clusters, the worst first, and by how much each training case should count (in the store)."""

    clusters: tuple[Cluster, ...]
    weights: str


@dataclass(frozen=True)
class Planned:
    """A trial that is to be made."""

    number: int
    method: str
    parameters: Mapping[str, float]
    targeted: bool


@dataclass(frozen=True)
class SpecialiseIn:
    """Trials of one round."""

    train: str
    weights: str
    trials: tuple[Planned, ...]
    folds: int
    seed: int
    base: str


@dataclass(frozen=True)
class Tried:
    """What came of a trial.

    Attributes:
        score: the first metric of the fold scores; None if it failed.
        model, fold_scores: in the store; empty if it failed.
        failed: why it did.
    """

    number: int
    method: str
    parameters: Mapping[str, float]
    targeted: bool
    score: float | None
    model: str
    fold_scores: str
    threshold: float
    difference: float
    confined: bool
    failed: str
    seconds: float


@dataclass(frozen=True)
class SpecialiseOut:
    """Every trial of the round; `best` is the place of the best one, -1 if all failed."""

    trials: tuple[Tried, ...]
    best: int


@dataclass(frozen=True)
class Best:
    """The best candidate so far: its model, and the first metric on core."""

    model: str = ""
    fold_scores: str = ""
    threshold: float = 0.5
    method: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    difference: float = 0.0
    confined: bool = False
    score: float | None = None
    round: int = -1


@dataclass(frozen=True)
class Spent:
    """What the run has used: seconds of work, trials, and rounds without improvement."""

    seconds: float = 0.0
    trials: int = 0
    stale: int = 0
    diverged: int = 0


@dataclass(frozen=True)
class AssessIn:
    """A round's best trial against the best so far and what is asked."""

    round: int
    core: str
    held_out: Sealed
    reference: str
    reference_name: str
    reference_threshold: float
    best: Best
    tried: Tried | None
    spent: Spent
    lock: str
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gated:
    """A gate's outcome; `holds` is None for what is told only."""

    metric: str
    on: str
    bound: Bound
    n: int
    limit: float | None
    holds: bool | None


@dataclass(frozen=True)
class Lost:
    """Cases that the reference has right, clearly, and the candidate wrong."""

    cases: int
    names: tuple[str, ...]
    flaky: tuple[str, ...]
    allowed: int


@dataclass(frozen=True)
class Report:
    """One run of core, held-out (where it was looked at) and regressions.

    Attributes:
        better_than_reference: our first metric less the reference's, on core, paired.
        baselines: name to first metric on the same cases.
        fairness: how decisions fall on the groups of protected columns.
        least_lead: what the low end of `better_than_reference` has to be, if it is asked for.
    """

    gates: tuple[Gated, ...]
    slices: tuple[Told, ...]
    lost: Lost
    baselines: Mapping[str, float]
    better_than_reference: Bound
    balance: Mapping[str, int]
    looked: bool
    fairness: tuple[Rate, ...] = ()
    least_lead: float | None = None

    @property
    def behind(self) -> bool:
        """Whether it is farther behind the reference than is allowed."""
        return self.least_lead is not None and self.better_than_reference.low < self.least_lead

    @property
    def holds(self) -> bool:
        """Whether every gate holds, and no more was lost than allowed."""
        gates = all(gate.holds for gate in self.gates if gate.holds is not None)
        kept = len(self.lost.names) <= self.lost.allowed and not self.behind
        return gates and kept


@dataclass(frozen=True)
class AssessOut:
    """What follows: go on, propose the best, or stop; and why."""

    next: Next
    reason: str
    best: Best
    spent: Spent
    report: Report | None


@dataclass(frozen=True)
class ProposeIn:
    """What is to be proposed."""

    best: Best
    report: Report
    prepared: Prepared
    clusters: tuple[Cluster, ...]
    run: str
    looks: int


@dataclass(frozen=True)
class Proposed:
    """Where the proposal lies: the model's directory, its digest, and its evidence."""

    version: int
    path: str
    digest: str
    bundle: str
    evidence: str
    provenance: str
    evaluation: str
