"""How good decisions are: pure functions of scores, labels, a threshold and two costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Decisions = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Costs:
    """What a wrong decision costs; a right one costs nothing.

    Attributes:
        miss: a positive row is decided negative.
        false_alarm: a negative row is decided positive.
    """

    miss: float
    false_alarm: float


@dataclass(frozen=True)
class Quality:
    """The quality of decisions on `rows` labelled rows.

    Attributes:
        auc: area under the ROC curve, 0 to 1.
        auc_low, auc_high: its 95% percentile-bootstrap interval.
        accuracy: share of right decisions, 0 to 1.
        cost_per_100: cost of wrong decisions per 100 decisions, in units of `Costs`.
        misses, false_alarms: wrong decisions, counted.
    """

    rows: int
    auc: float
    auc_low: float
    auc_high: float
    accuracy: float
    cost_per_100: float
    misses: int
    false_alarms: int


def measure(
    scores: Scores, labels: Labels, threshold: float, costs: Costs, *, seed: int = 7
) -> Quality:
    """Everything about the decisions that `threshold` makes of `scores`.

    Args:
        scores: float [n], higher is more likely positive.
        labels: int8 [n], 1 positive, 0 negative.
        threshold: a score at or above it is decided positive.
        costs: what wrong decisions cost.
        seed: of the bootstrap.

    Raises:
        ValueError: the lengths differ, or a class has no row.
    """
    decided = decide(scores, threshold)
    low, high = auc_interval(scores, labels, seed=seed)
    misses, false_alarms = errors(decided, labels)
    return Quality(
        rows=len(labels),
        auc=auc(scores, labels),
        auc_low=low,
        auc_high=high,
        accuracy=1.0 - (misses + false_alarms) / len(labels),
        cost_per_100=cost_per_100(decided, labels, costs),
        misses=misses,
        false_alarms=false_alarms,
    )


def decide(scores: Scores, threshold: float) -> Decisions:
    """bool [n]: whether each score reaches `threshold`, compared in float64."""
    return np.asarray(scores.astype(np.float64) >= threshold, dtype=np.bool_)


def errors(decided: Decisions, labels: Labels) -> tuple[int, int]:
    """Misses and false alarms among decisions, bool [n], on rows with `labels`, int8 [n]."""
    _same_length(decided, labels)
    positive = labels == 1
    return int(np.sum(~decided & positive)), int(np.sum(decided & ~positive))


def cost_per_100(decided: Decisions, labels: Labels, costs: Costs) -> float:
    """The cost of the wrong ones among decisions, bool [n], per 100 decisions."""
    misses, false_alarms = errors(decided, labels)
    return 100.0 * (misses * costs.miss + false_alarms * costs.false_alarm) / len(labels)


def auc(scores: Scores, labels: Labels) -> float:
    """Area under the ROC curve: how often a positive row's score is above a negative's.

    Ties count one half (the Mann-Whitney U statistic over the number of pairs; Hanley and
    McNeil 1982).

    Args:
        scores: float [n].
        labels: int8 [n], 1 positive, 0 negative.

    Raises:
        ValueError: the lengths differ, or a class has no row.
    """
    _same_length(scores, labels)
    positives = int(np.sum(labels == 1))
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        raise ValueError("An AUC needs at least one positive and one negative row.")
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Ranks start at 1, and equal scores share the mean of theirs.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    u = float(np.sum(ranks[labels == 1])) - positives * (positives + 1) / 2
    return u / (positives * negatives)


def auc_interval(
    scores: Scores, labels: Labels, *, seed: int = 7, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile-bootstrap interval of the AUC (Efron 1979).

    Rows are drawn with replacement within each class, so that no resample lacks one.

    Raises:
        ValueError: the lengths differ, or a class has no row.
    """
    auc(scores, labels)  # Refuses what has no AUC.
    positives, negatives = scores[labels == 1], scores[labels == 0]
    drawn_labels = np.repeat(np.array([1, 0], np.int8), [len(positives), len(negatives)])
    random = np.random.default_rng(seed)
    values = [
        auc(
            np.concatenate(
                [
                    random.choice(positives, len(positives)),
                    random.choice(negatives, len(negatives)),
                ]
            ),
            drawn_labels,
        )
        for _ in range(resamples)
    ]
    tail = (1.0 - level) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def cheapest_threshold(scores: Scores, labels: Labels, costs: Costs) -> float:
    """The threshold whose decisions on these rows cost least.

    Candidates lie midway between neighbouring distinct scores and beyond both ends. Among
    equally cheap ones the one farthest from any score is taken, so that a rounding of a score
    is least likely to flip a decision; then the lowest.

    Args:
        scores: float [n], probabilities in 0 to 1.
        labels: int8 [n], 1 positive, 0 negative.
        costs: what wrong decisions cost.

    Returns:
        A float64 that float32 holds exactly, so every reader of it compares alike; -1 or 2
        where deciding all rows alike costs least.

    Raises:
        ValueError: the lengths differ, or there is no row.
    """
    _same_length(scores, labels)
    if len(scores) == 0:
        raise ValueError("A threshold needs at least one row.")
    distinct, group = np.unique(scores.astype(np.float32), return_inverse=True)
    edges = np.concatenate([[-3.0], distinct.astype(np.float64), [5.0]])
    candidates = ((edges[:-1] + edges[1:]) / 2).astype(np.float32).astype(np.float64)
    # Between two neighbouring float32 there is no middle: then the upper one is the threshold.
    candidates = np.where(candidates <= edges[:-1], edges[1:], candidates)
    candidates[0], candidates[-1] = -1.0, 2.0
    gaps = edges[1:] - edges[:-1]
    gaps[0] = gaps[-1] = 0.0
    # Candidate i decides positive the rows in groups i and above.
    positives = np.bincount(group, labels == 1, minlength=len(distinct))
    negatives = np.bincount(group, labels == 0, minlength=len(distinct))
    misses = np.concatenate([[0.0], np.cumsum(positives)])
    false_alarms = negatives.sum() - np.concatenate([[0.0], np.cumsum(negatives)])
    cost = misses * costs.miss + false_alarms * costs.false_alarm
    best = np.flatnonzero(cost <= cost.min() + 1e-9)
    return float(candidates[best[np.argmax(gaps[best])]])


def _same_length(values: npt.NDArray[np.generic], labels: Labels) -> None:
    if values.shape != labels.shape or labels.ndim != 1:
        raise ValueError(
            f"Values and labels must be of one length, not {values.shape} and {labels.shape}."
        )
