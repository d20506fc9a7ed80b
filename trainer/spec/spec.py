"""The parts of `specialist.toml`. What each key means is written in `template.py`, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TASKS = ("binary", "shading", "sections")
SPLITS = ("random", "time", "group", "given")
# Metric to whether more of it is better. `trainer.evaluation.metrics` computes them.
METRICS: Mapping[str, bool] = {
    "auc": True,
    "ap": True,
    "ece": False,
    "brier": False,
    "cost_per_100": False,
    "surplus": True,
    "win_rate": True,
    "header_accuracy": True,
    "critical_recall": True,
    "nats_a_token": False,
}
FIRST_METRIC: Mapping[str, str] = {
    "binary": "auc",
    "shading": "surplus",
    "sections": "header_accuracy",
}
# What is told of every suite, whether it is gated or not.
TOLD: Mapping[str, tuple[str, ...]] = {
    "binary": ("auc", "ap", "ece", "cost_per_100"),
    "shading": ("surplus", "win_rate"),
    "sections": ("header_accuracy", "critical_recall", "nats_a_token"),
}
# The metrics that a gate of a task may ask for.
METRICS_OF: Mapping[str, tuple[str, ...]] = {**TOLD, "binary": (*TOLD["binary"], "brier")}


@dataclass(frozen=True)
class Data:
    """Where cases are from and how they are split."""

    source: str = "csv"
    path: str = ""
    label: str = ""
    positive: str = "1"
    id: str = ""
    text: str = ""
    note: str = ""
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    split: str = "random"
    split_by: str = ""
    core_share: float = 0.15
    held_out_share: float = 0.2
    duplicates: str = "refuse"
    latest: int = 0
    more: str = ""
    # What an evidence bundle has to say of data.
    begins: str = "1970-01-01"
    ends: str = "1970-01-01"
    consent_basis: str = ""
    personal_data: str = "none"


@dataclass(frozen=True)
class Gate:
    """What a candidate has to reach: the bound of its interval that is worse counts.

    Attributes:
        metric: one of `METRICS`.
        limit: at least, where more is better; at most, where less is.
        on: "core", "held_out" or "both".
    """

    metric: str
    limit: float
    on: str = "both"


@dataclass(frozen=True)
class Evaluate:
    """How candidates are judged."""

    gates: tuple[Gate, ...] = ()
    confidence: float = 0.95
    resamples: int = 1000
    regressions_allowed: int = 0
    reruns: int = 3
    looks: int = 3
    leak_words: int = 5
    leak_share: float = 0.65
    suite_cases: int = 4000
    # Of the first metric beside the reference's, paired, on core; None asks for nothing.
    least_lead: float | None = None


@dataclass(frozen=True)
class Specialise:
    """How candidates are made."""

    methods: tuple[str, ...] = ("boosting", "network")
    trials: int = 4
    folds: int = 3
    base: str = ""
    device: str = "cpu"
    cores: int = 1
    workers: int = 1
    memory_gib: float = 4.0
    nice: int = 15
    trial_seconds: float = 1800.0
    targeted: bool = True
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Teacher:
    """A large model that labels texts, and how good it has to be."""

    url: str = ""
    model: str = ""
    key_env: str = ""
    instruction: str = ""
    check: int = 100
    agreement: float = 0.8
    calls: int = 1000
    timeout_seconds: float = 60.0
    attempts: int = 4
    may_send: bool = False


@dataclass(frozen=True)
class Stop:
    """When the loop ends."""

    rounds: int = 6
    patience: int = 2
    improvement: float = 0.0005
    trials: int = 40
    seconds: float = 3600.0
    divergence: float = 0.05


@dataclass(frozen=True)
class Decide:
    """What wrong decisions cost, and the decisions' names."""

    miss: float = 1.0
    false_alarm: float = 1.0
    labels: tuple[str, str] = ("negative", "positive")
    descriptions: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Propose:
    """What a proposal says beside its figures, and where it goes."""

    repository: str = "models"
    incumbent: str = ""
    intended_use: str = ""
    prohibited_use: str = "Anything else."
    materiality: str = "medium"
    jurisdictions: tuple[str, ...] = ("unspecified",)
    owner: str = ""
    validator: str = ""
    known_limits: tuple[str, ...] = ()
    reasons: bool = False


@dataclass(frozen=True)
class Spec:
    """One specialist: what it learns from, how it is judged, when the loop stops.

    `folder` is where the file lies: relative paths start there. It is no part of what a run is.
    """

    name: str
    data: Data
    evaluate: Evaluate
    task: str = "binary"
    seed: int = 7
    specialise: Specialise = field(default_factory=Specialise)
    stop: Stop = field(default_factory=Stop)
    decide: Decide = field(default_factory=Decide)
    propose: Propose = field(default_factory=Propose)
    teacher: Teacher = field(default_factory=Teacher)
    folder: str = field(default=".", compare=False)

    def path(self, named: str) -> Path:
        """A path that the file names."""
        return Path(self.folder) / named

    @property
    def served(self) -> bool:
        """Whether a gateway can serve what is proposed; else it is judged offline alone."""
        return self.task != "sections"

    @property
    def first_metric(self) -> str:
        """By what trials are compared with each other."""
        return FIRST_METRIC[self.task]
