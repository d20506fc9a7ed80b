"""How far a candidate's scores lie from the incumbent's: PSI and KS on ten bins, to look at.

Nothing is decided by them: with many pairs every shift is significant, and a permutation of the
scores, which turns decisions, shows none. Sources: Kullback and Leibler 1951 (PSI is their
divergence both ways); Kolmogorov 1933 and Smirnov 1948.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BINS: Final = 10
# An empty bin counts as half of one, so that the logarithm exists.
LEAST: Final = 0.5


@dataclass(frozen=True)
class Shift:
    """Scores by bins: bin i holds those above edge i - 1 and up to edge i.

    The edges are deciles of the incumbent's scores; equal ones are one.
    """

    edges: tuple[float, ...]
    incumbent: tuple[int, ...]
    candidate: tuple[int, ...]


def shift(incumbent: Sequence[float], candidate: Sequence[float]) -> Shift | None:
    """Count two models' scores of the same pairs by bins; None without finite ones."""
    both = [p for p in zip(incumbent, candidate, strict=True) if all(map(math.isfinite, p))]
    if not both:
        return None
    ranked = sorted(one for one, _ in both)
    places = (len(ranked) * decile // BINS for decile in range(1, BINS))
    edges = tuple(sorted({ranked[max(place - 1, 0)] for place in places}))
    counts = [[0] * (len(edges) + 1) for _ in range(2)]
    for pair in both:
        for side, score in enumerate(pair):
            counts[side][bisect_left(edges, score)] += 1
    return Shift(edges, tuple(counts[0]), tuple(counts[1]))


def psi(then: Sequence[int], now: Sequence[int]) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over the bins' shares p and q."""
    shares = [[max(count, LEAST) / sum(counts) for count in counts] for counts in (then, now)]
    total = math.fsum((q - p) * math.log(q / p) for p, q in zip(*shares, strict=True))
    # Never below 0 but by rounding.
    return max(total, 0.0)


def ks(then: Sequence[int], now: Sequence[int]) -> float:
    """Greatest distance of the two cumulated shares, at the bins' edges: at most the statistic."""
    one = other = 0
    distances = []
    for p, q in zip(then, now, strict=True):
        one, other = one + p, other + q
        distances.append(abs(one / sum(then) - other / sum(now)))
    return max(distances)
