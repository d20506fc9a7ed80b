"""Intervals by the bootstrap: of one model's metric, and of the difference of two on equal cases.

Percentile bootstrap (Efron 1979). Cases are drawn with replacement, within each class where there
are two, so that no resample lacks one. Two models are paired: both are measured on each resample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evaluation.metrics import Scored, measure


@dataclass(frozen=True)
class Bound:
    """A value and its two-sided interval; each end is a one-sided bound at (1 + level) / 2."""

    value: float
    low: float
    high: float


def draws(y: npt.NDArray[np.float64], resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers of each resample."""
    random = np.random.default_rng(seed)
    classes = np.unique(y)
    strata = (
        [np.flatnonzero(y == label) for label in classes]
        if len(classes) == 2
        else [np.arange(len(y))]
    )
    for _ in range(resamples):
        yield np.concatenate([random.choice(rows, len(rows)) for rows in strata])


def bound(metric: str, of: Scored, *, level: float, resamples: int, seed: int) -> Bound:
    """A metric's value and interval."""
    found = [measure(metric, of.take(rows)) for rows in draws(of.y, resamples, seed)]
    return _interval(measure(metric, of), found, level)


def difference(
    metric: str, ours: Scored, theirs: Scored, *, level: float, resamples: int, seed: int
) -> Bound:
    """Our metric less theirs, on the same cases.

    Raises:
        ValueError: the cases are not the same.
    """
    if not np.array_equal(ours.y, theirs.y):
        raise ValueError("Two models can only be compared on the same cases.")
    found = [
        measure(metric, ours.take(rows)) - measure(metric, theirs.take(rows))
        for rows in draws(ours.y, resamples, seed)
    ]
    return _interval(measure(metric, ours) - measure(metric, theirs), found, level)


def _interval(value: float, found: list[float], level: float) -> Bound:
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    # The interval of a percentile bootstrap can miss the value itself; it is widened to hold it.
    return Bound(value, min(float(low), value), max(float(high), value))
