"""How decisions fall on groups: rates by the values of protected columns, and how far apart.

For each group: `positive_rate` (the share that is decided positive), `caught` (of the true
positives, the share decided positive), `false_alarms` (of the true negatives), `gap` (mean score
less frequency, for calibration). Rates have Clopper and Pearson's interval; the gap that of the
bootstrap.

    favoured(g) = 1 - positive_rate(g)      impact(g) = favoured(g) / max over h of favoured(h)

The favourable decision is the negative one: nothing was caught. Impact is set beside four fifths
(Uniform Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D): what is lower is told as a
risk. Its interval is the bootstrap's, of both groups' rates. A suite may hold another share of
positives than requests do; `caught` and `false_alarms` do not depend on it, other figures do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from trainer.evaluation.bounds import Bound
from trainer.evaluation.metrics import Scored

# A group of fewer cases tells nothing that its interval would not drown.
LEAST = 50
FOUR_FIFTHS = 0.8
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rate:
    """One figure of one group.

    Attributes:
        on: the suite that it is of.
        column, group: of which value of which protected column.
        measure: "positive_rate", "caught", "false_alarms", "gap" or "impact".
        bound: with its interval.
        n: cases that it is over.
    """

    on: str
    column: str
    group: str
    measure: str
    bound: Bound
    n: int

    @property
    def named(self) -> str:
        """The group, in words."""
        return f"{self.on}: {self.column} = {self.group}"

    @property
    def unequal(self) -> bool:
        """Whether this is an impact below four fifths, by its value."""
        return self.measure == "impact" and self.bound.value < FOUR_FIFTHS


def rates(
    of: Scored,
    on: str,
    column: str,
    groups: Sequence[str],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[Rate, ...]:
    """Every figure of one protected column.

    Args:
        of: scores, what is right, and the threshold of the decision.
        on: the suite's name.
        column: its name.
        groups: n values of it; those of fewer than 50 cases are left out.
        level: of the intervals.
        resamples, seed: of the bootstrap.
    """
    values = np.array(groups)
    found: list[Rate] = []
    decided = of.scores >= of.threshold
    names = [
        str(v) for v, n in zip(*np.unique(values, return_counts=True), strict=True) if n >= LEAST
    ]
    for name in names:
        rows = np.flatnonzero(values == name)
        right = of.y[rows] == 1
        yes = decided[rows]
        for measure, among in (
            ("positive_rate", np.ones(len(rows), np.bool_)),
            ("caught", right),
            ("false_alarms", ~right),
        ):
            if n := int(among.sum()):
                rate = binomial(int((yes & among).sum()), n, level)
                found.append(Rate(on, column, name, measure, rate, n))
        off = of.scores[rows] - right
        found.append(Rate(on, column, name, "gap", _mean(off, level, resamples, seed), len(rows)))
    if len(names) > 1:
        found += (
            Rate(on, column, name, "impact", b, n)
            for name, b, n in _impacts(values, names, ~decided, (level, resamples, seed))
        )
    return tuple(found)


def binomial(events: int, n: int, level: float) -> Bound:
    """A rate and its two-sided interval (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(beta.ppf(tail, events, n - events + 1))
    high = 1.0 if events == n else float(beta.ppf(1 - tail, events + 1, n - events))
    return Bound(events / n, low, high)


def _impacts(
    values: npt.NDArray[np.str_],
    names: list[str],
    favoured: Bools,
    how: tuple[float, int, int],
) -> list[tuple[str, Bound, int]]:
    level, resamples, seed = how
    random = np.random.default_rng(seed)
    sizes = np.array([int((values == name).sum()) for name in names])
    share = np.array([float(favoured[values == name].mean()) for name in names])
    # A bootstrap of independent decisions is a draw of their number.
    drawn = random.binomial(sizes, share, (resamples, len(names))) / sizes
    now, then = _against_best(share[None, :])[0], _against_best(drawn)
    tail = (1 - level) / 2
    low, high = np.quantile(then, [tail, 1 - tail], axis=0)
    return [
        (name, _holding(float(now[i]), float(low[i]), float(high[i])), int(sizes[i]))
        for i, name in enumerate(names)
    ]


def _against_best(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    best = share.max(axis=1, keepdims=True)
    # Where nobody is favoured, all are treated alike.
    return np.asarray(np.divide(share, best, out=np.ones_like(share), where=best > 0))


def _mean(x: npt.NDArray[np.float64], level: float, resamples: int, seed: int) -> Bound:
    random = np.random.default_rng(seed)
    found = [float(x[random.integers(0, len(x), len(x))].mean()) for _ in range(resamples)]
    tail, value = (1 - level) / 2, float(x.mean())
    low, high = np.quantile(found, [tail, 1 - tail])
    return _holding(value, float(low), float(high))


def _holding(value: float, low: float, high: float) -> Bound:
    """An interval, widened to hold its value."""
    return Bound(value, min(low, value), max(high, value))
