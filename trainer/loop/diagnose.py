"""What failures have in common: by the slices that the data names, and by likeness of the inputs.

A slice's value is a cluster if more of its cases fail than of all, by the binomial's lower bound
(Clopper and Pearson 1934). By likeness: k-means on standardised features (for texts on the first
parts of their hashed runs), and a cell is a cluster by the same rule; its name says which features
stand out most. Cases of clusters weigh more in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from threadpoolctl import threadpool_limits

from trainer.examples import Examples, Floats
from trainer.loop.types import Cluster, DiagnoseOut
from trainer.specialise import ngrams
from trainer.tokens import encode

MOST_CLUSTERS = 8
LEAST_FAILING = 10
CELLS = 16
# A case of the worst cluster counts so many times as one that nothing is known of.
WEIGHT = 2.0
Bools = npt.NDArray[np.bool_]
Space = npt.NDArray[np.float32]
# Which of some cases a cluster holds, bool [n]: those that it was found in, or others.
Holds = Callable[[Examples], Bools]


def clusters_of(examples: Examples, wrong: Bools, seed: int) -> list[tuple[Cluster, Holds]]:
    """Clusters, the one with the surest excess of failures first, and which cases they hold."""
    rate = float(wrong.mean())
    found: list[tuple[float, Cluster, Holds]] = []
    for by, name, holds in (*_slices(examples), *_cells(examples, wrong, seed)):
        member = holds(examples)
        cases, failing = int(member.sum()), int((member & wrong).sum())
        if failing < LEAST_FAILING or cases == len(wrong):
            continue
        low = lower(failing, cases)
        if low > rate:
            found.append((low / rate, Cluster(name, by, failing, cases), holds))
    found.sort(key=lambda one: -one[0])
    return [(cluster, holds) for _, cluster, holds in found[:MOST_CLUSTERS]]


def lower(events: int, trials: int, level: float = 0.99) -> float:
    """The one-sided lower bound of a rate (Clopper and Pearson)."""
    return 0.0 if events == 0 else float(beta.ppf(1 - level, events, trials - events + 1))


def diagnose(
    examples: Examples, wrong: Bools, seed: int, targeted: bool
) -> tuple[tuple[Cluster, ...], Floats]:
    """Clusters, and float64 [n] weights of mean 1."""
    found = clusters_of(examples, wrong, seed)
    weights = np.ones(len(examples))
    if targeted:
        for _, holds in found:
            weights[holds(examples)] = WEIGHT
    weights /= weights.mean()
    return tuple(cluster for cluster, _ in found), weights


def out(clusters: tuple[Cluster, ...], weights: str) -> DiagnoseOut:
    """The phase's output."""
    return DiagnoseOut(clusters, weights)


def _slices(examples: Examples) -> Iterator[tuple[str, str, Holds]]:
    for name, values in examples.slices.items():
        column = np.array(values)
        levels, counts = np.unique(column, return_counts=True)
        # A slice of thousands of values is an identifier.
        for level in levels[np.argsort(-counts)][:100]:
            yield "slice", f"{name} = {level}", partial(_in_slice, name, str(level))


def _in_slice(name: str, level: str, examples: Examples) -> Bools:
    return np.asarray(np.array(examples.slices[name]) == level)


def _cells(examples: Examples, wrong: Bools, seed: int) -> Iterator[tuple[str, str, Holds]]:
    failing = np.flatnonzero(wrong)
    if len(failing) < CELLS * 2:
        return
    space_of, names = _space(examples, seed)
    space = space_of(examples)
    with threadpool_limits(1):
        # Centres are those of failures; every case then belongs to the nearest.
        fitted = KMeans(CELLS, n_init=2, random_state=seed).fit(space[failing])
        known = fitted.predict(space)

    def in_cell(number: int, others: Examples) -> Bools:
        if others is examples:
            return np.asarray(known == number)
        with threadpool_limits(1):
            return np.asarray(fitted.predict(space_of(others)) == number)

    for number in range(CELLS):
        centre = fitted.cluster_centers_[number]
        order = np.argsort(-np.abs(centre))[:2]
        told = " and ".join(f"{names[i]} {'high' if centre[i] > 0 else 'low'}" for i in order)
        yield "likeness", f"cell {number}: {told}", partial(in_cell, number)


def _space(examples: Examples, seed: int) -> tuple[Callable[[Examples], Space], list[str]]:
    """How cases become points, learnt from these, and the names of the points' parts."""
    if not examples.texts:
        x = examples.x.astype(np.float64)
        middle, spread = x.mean(axis=0), x.std(axis=0)
        spread = np.where(spread > 0, spread, 1)
        # Long tails would make cells of outliers.
        return (
            lambda some: np.clip((some.x - middle) / spread, -4, 4).astype(np.float32),
            list(examples.names),
        )
    runs, tokenizer = ngrams.Runs(64, (2, 3), 2**14), ngrams.character_tokenizer()

    def counts(some: Examples) -> Any:
        return ngrams.rows_of(encode(tokenizer, some.texts, 256, 1024), runs)

    own = counts(examples)
    idf = ngrams.idf_of(own)
    directions = TruncatedSVD(16, random_state=seed)
    made = directions.fit_transform(ngrams.weighed(own, idf))
    middle, spread = made.mean(axis=0), made.std(axis=0)
    spread = np.where(spread > 0, spread, 1)

    def points(some: Examples) -> Space:
        found = (
            made if some is examples else directions.transform(ngrams.weighed(counts(some), idf))
        )
        return np.asarray((found - middle) / spread, np.float32)

    return points, [f"text direction {i}" for i in range(made.shape[1])]
