"""What scores are worth: pure functions of scores and cases, each with a name.

Binary: `auc` (Mann-Whitney), `ap` (average precision: mean precision at each positive; ties count
as one step), `ece` (expected calibration error over 15 bins of equal count; Naeini et al. 2015
with Nguyen and O'Connor's equal counts), `brier` (mean squared error), `cost_per_100`. Shading:
`surplus` (mean of value - bid over all requests, 0 where the bid loses), `win_rate`. Sections of
notes: `header_accuracy`, `critical_recall` (the share of right headers among sections whose header
must not be missed), `nats_a_token` (of the sections' texts, all their tokens together).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from trainer.errors import InputError
from trainer.examples import Examples, Floats
from trainer.quality import Costs, auc, cheapest_threshold
from trainer.spec.spec import METRICS, Spec

BINS = 15
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """What a metric looks at.

    Attributes:
        scores: float64 [n]: probabilities, or bids; for sections float64 [n, 5], see `Answer`.
        y, value: float64 [n], as in `Examples`.
        threshold: a score at or above it is decided positive.
        costs: of wrong decisions.
    """

    scores: Floats
    y: Floats
    value: Floats
    threshold: float
    costs: Costs

    def take(self, rows: npt.NDArray[np.int64]) -> Scored:
        """These rows of it."""
        return Scored(self.scores[rows], self.y[rows], self.value[rows], self.threshold, self.costs)

    @property
    def right(self) -> Bools:
        """bool [n]: whether each decision is right; a bid is if it wins something or must lose."""
        if self.scores.ndim == 2:
            return np.asarray(self.scores[:, Answer.RIGHT] == 1)
        if self.threshold < 0:
            won = self.scores >= self.y
            return np.asarray(np.where(self.y < self.value, won & (self.scores < self.value), ~won))
        return np.asarray((self.scores >= self.threshold) == (self.y == 1))

    @property
    def margin(self) -> Floats:
        """float64 [n]: how far each decision is from being another one."""
        if self.scores.ndim == 2:
            return self.scores[:, Answer.MARGIN]
        return np.abs(self.scores - self.threshold)


class Answer(IntEnum):
    """The columns of what a model answers on a section of a note.

    RIGHT is 1 where it names the true header; MARGIN how much likelier in nats than the next one
    the header is that it names; CRITICAL the probability of a header that must not be missed; NATS
    of the text's tokens together, given the true header; TOKENS how many they are.
    """

    RIGHT = 0
    MARGIN = 1
    CRITICAL = 2
    NATS = 3
    TOKENS = 4


# The threshold of a bid's score: there is no decision by it.
NO_THRESHOLD = -1.0


def scored(scores: npt.ArrayLike, examples: Examples, threshold: float, spec: Spec) -> Scored:
    """Scores [n] of cases.

    Raises:
        InputError: a score is not finite.
    """
    found = np.asarray(scores, np.float64)
    if not np.isfinite(found).all():
        raise InputError("The model gives scores that are not finite.")
    costs = Costs(spec.decide.miss, spec.decide.false_alarm)
    return Scored(found, examples.y, examples.value, threshold, costs)


def scored_rows(scores: Floats) -> npt.NDArray[np.int64]:
    """int64 [m]: the cases that have scores; the others have NaN."""
    return np.flatnonzero(np.isfinite(scores.reshape(len(scores), -1)).all(axis=1))


def looks(scores: Floats, spec: Spec) -> Floats:
    """float64 [n]: how positive a plain model's scores make each case look."""
    if spec.task == "sections":
        return scores[:, Answer.CRITICAL]
    # A dear request looks like one that cannot be won.
    return -scores if spec.task == "shading" else scores


def measure(metric: str, of: Scored) -> float:
    """One metric's value."""
    return FUNCTIONS[metric](of)


def threshold_of(scores: Floats, examples: Examples, spec: Spec) -> float:
    """The cheapest threshold of scores on cases; `NO_THRESHOLD` for bids."""
    if spec.task != "binary":
        return NO_THRESHOLD
    costs = Costs(spec.decide.miss, spec.decide.false_alarm)
    return cheapest_threshold(scores, examples.y.astype(np.int8), costs)


def average_precision(scores: Floats, y: Floats) -> float:
    """Sum over distinct scores of (recall gained) times (precision there)."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], y[order] == 1
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    found = np.cumsum(hit)[last]
    precision = found / (last + 1)
    gained = np.diff(np.r_[0, found])
    return float(np.sum(gained * precision) / max(int(hit.sum()), 1))


def calibration_error(scores: Floats, y: Floats, bins: int = BINS) -> float:
    """Mean over bins of equal count of |mean score - frequency|, weighed by their rows."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [len(rows) * abs(scores[rows].mean() - (y[rows] == 1).mean()) for rows in parts]
    return float(sum(gaps) / len(scores))


def _cost(of: Scored) -> float:
    decided = of.scores >= of.threshold
    misses = np.sum(~decided & (of.y == 1))
    alarms = np.sum(decided & (of.y != 1))
    return float(100 * (misses * of.costs.miss + alarms * of.costs.false_alarm) / len(of.y))


def earned(of: Scored) -> Floats:
    """float64 [n]: what each bid earns."""
    return np.where(of.scores >= of.y, of.value - of.scores, 0.0)


FUNCTIONS: Mapping[str, Callable[[Scored], float]] = {
    "auc": lambda of: auc(of.scores, of.y.astype(np.int8)),
    "ap": lambda of: average_precision(of.scores, of.y),
    "ece": lambda of: calibration_error(of.scores, of.y),
    "brier": lambda of: float(np.mean((of.scores - of.y) ** 2)),
    "cost_per_100": _cost,
    "surplus": lambda of: float(earned(of).mean()),
    "win_rate": lambda of: float(np.mean(of.scores >= of.y)),
    "header_accuracy": lambda of: float(of.right.mean()),
    "critical_recall": lambda of: float(of.right[of.y == 1].mean()),
    "nats_a_token": lambda of: float(
        of.scores[:, Answer.NATS].sum() / of.scores[:, Answer.TOKENS].sum()
    ),
}
assert FUNCTIONS.keys() == METRICS.keys()  # noqa: S101 - one list, in two places on purpose


def precision_at(of: Scored, recall: float, prevalence: float) -> tuple[float, float]:
    """Precision at the score that catches `recall` of the positives, as sampled and as it is.

    With true-positive rate t and false-positive rate f at that score, precision at prevalence p is
    p t / (p t + (1 - p) f) (Bayes). No false positive in the sample is counted as one in three
    (the rule of three: 95% upper bound 3/n of a rate of which none was seen), so that few
    negatives do not look like none.

    Returns:
        Precision in the sample, and at `prevalence`.
    """
    positives = np.sort(of.scores[of.y == 1])[::-1]
    negatives = of.scores[of.y != 1]
    cut = positives[max(int(np.ceil(recall * len(positives))) - 1, 0)]
    caught, alarms = float(np.mean(positives >= cut)), int(np.sum(negatives >= cut))
    sample = caught * len(positives) / (caught * len(positives) + alarms)
    rate = (alarms if alarms else 3.0) / len(negatives)
    return sample, prevalence * caught / (prevalence * caught + (1 - prevalence) * rate)
