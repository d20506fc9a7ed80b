"""Figures of a change to look at, not to act on: PSI and Kolmogorov-Smirnov of each column.

PSI = sum over bins of (now - then) * log(now / then), bins of equal count in the reference, each
share at least half a row (Siddiqi 2006; by custom under 0.1 is quiet and over 0.25 is a shift).
KS is the greatest difference of the two distribution functions, with the asymptotic p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

from governance.shadow import shift

BINS = shift.BINS


@dataclass(frozen=True)
class Looked:
    """One column, a window against the reference."""

    column: str
    psi: float
    ks: float
    p: float


def psi(then: npt.ArrayLike, now: npt.ArrayLike, bins: int = BINS) -> float:
    """The population stability index of a column."""
    before, after = np.asarray(then, np.float64), np.asarray(now, np.float64)
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()
        for values in (before, after)
    ]
    return shift.psi(*counts)


def look(
    reference: npt.ArrayLike, window: npt.ArrayLike, columns: Sequence[str]
) -> tuple[Looked, ...]:
    """Every column of float [n, c] against float [m, c], the greatest PSI first."""
    then, now = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    found = []
    for number, column in enumerate(columns):
        test = ks_2samp(then[:, number], now[:, number], method="asymp")
        index = psi(then[:, number], now[:, number])
        found.append(Looked(column, index, float(test.statistic), float(test.pvalue)))
    return tuple(sorted(found, key=lambda one: -one.psi))
