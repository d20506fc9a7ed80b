"""What every fitted specialist is, whatever its input: a graph, a threshold, their quality.

Offline decisions are, by definition, those of ONNX Runtime in Python on the exported graph:
the same bytes that the gateway serves. How far scikit-learn agrees is reported beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from trainer.datasets import Split
from trainer.quality import Costs, Decisions, Labels, Quality, decide, measure

OnnxScores = npt.NDArray[np.float32]


class AgreementError(Exception):
    """The exported graph does not compute what the fitted model does."""


class Labelled(Protocol):
    """What tables and texts have in common; see `trainer.datasets.Dataset`."""

    @property
    def name(self) -> str:
        """The data set's name."""
        ...

    @property
    def y(self) -> Labels:
        """int8 [n], 1 for the class that should be caught."""
        ...

    @property
    def label_names(self) -> tuple[str, str]:
        """The classes' names, [y = 0, y = 1]."""
        ...

    @property
    def costs(self) -> Costs:
        """What wrong decisions cost."""
        ...


D_co = TypeVar("D_co", bound=Labelled, covariant=True)


@dataclass(frozen=True)
class Agreement:
    """How far scikit-learn and the exported graph agree on the held-out rows.

    Attributes:
        largest_difference: of the scores, absolute.
        same_decisions: rows decided alike, of `rows`.
    """

    largest_difference: float
    same_decisions: int
    rows: int


@dataclass(frozen=True)
class Fitted(Generic[D_co]):
    """A specialist, ready to be packed.

    Attributes:
        dataset: what it was fitted on.
        parts: which rows were training and which held out.
        model: the chosen candidate's name.
        cv_auc: every candidate's mean AUC on the training rows' held-out folds.
        onnx: the graph; its output is float32 `score` [batch, 1], the probability that y = 1.
        threshold: a score at or above it is decided y = 1; float32 holds it exactly.
        held_out_scores: float32 [m], the graph's scores of the held-out rows, in order.
        held_out_new: bool [m], whether the held-out row occurs in no training row.
        agreement: with scikit-learn.
    """

    dataset: D_co
    parts: Split
    model: str
    cv_auc: Mapping[str, float]
    onnx: bytes
    threshold: float
    held_out_scores: OnnxScores
    held_out_new: Decisions
    agreement: Agreement

    @property
    def held_out_y(self) -> Labels:
        """int8 [m]: the held-out rows' labels, in the order of the scores."""
        return self.dataset.y[self.parts.held_out]

    @property
    def seen_share(self) -> float:
        """Share of held-out rows that occur in training as well."""
        return 1.0 - float(np.mean(self.held_out_new))

    @cached_property
    def quality(self) -> Quality:
        """Of the graph's decisions on the held-out rows."""
        return measure(self.held_out_scores, self.held_out_y, self.threshold, self.dataset.costs)

    @cached_property
    def quality_unseen(self) -> Quality | None:
        """Like `quality`, on rows that do not occur in training; None where they lack a class."""
        new, y = self.held_out_new, self.held_out_y
        if len(np.unique(y[new])) < 2:
            return None
        return measure(self.held_out_scores[new], y[new], self.threshold, self.dataset.costs)


def agreement(expected: npt.NDArray[np.float64], scores: OnnxScores, threshold: float) -> Agreement:
    """How the fitted model's scores, float [m], and the graph's, float32 [m], agree.

    Raises:
        AgreementError: they are more than 0.001 apart.
    """
    difference = float(np.max(np.abs(expected - scores)))
    if difference > 1e-3:
        raise AgreementError(
            f"The exported graph's scores are up to {difference:.2g} from the fitted model's, "
            "but 0.001 is the most that float32 explains."
        )
    same = int(np.sum(decide(expected, threshold) == decide(scores, threshold)))
    return Agreement(difference, same, len(scores))
