"""What failures have in common: by the slices that the data names, and by likeness of the inputs.

A slice's value is a cluster if more of its cases fail than of all, by the binomial's lower bound
(Clopper and Pearson 1934). By likeness: k-means on standardised features (for texts on the first
parts of their hashed runs), and a cell is a cluster by the same rule; its name says which features
stand out most. Cases of clusters weigh more in the next round.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def clusters_of(examples: Examples, wrong: Bools, seed: int) -> list[tuple[Cluster, Bools]]:
    """Clusters, the one with the surest excess of failures first, and which cases they hold."""
    rate = float(wrong.mean())
    found: list[tuple[float, Cluster, Bools]] = []
    for by, name, member in (*_slices(examples), *_cells(examples, wrong, seed)):
        cases, failing = int(member.sum()), int((member & wrong).sum())
        if failing < LEAST_FAILING or cases == len(wrong):
            continue
        low = lower(failing, cases)
        if low > rate:
            found.append((low / rate, Cluster(name, by, failing, cases), member))
    found.sort(key=lambda one: -one[0])
    return [(cluster, member) for _, cluster, member in found[:MOST_CLUSTERS]]


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
        for _, member in found:
            weights[member] = WEIGHT
    weights /= weights.mean()
    return tuple(cluster for cluster, _ in found), weights


def out(clusters: tuple[Cluster, ...], weights: str) -> DiagnoseOut:
    """The phase's output."""
    return DiagnoseOut(clusters, weights)


def _slices(examples: Examples) -> Iterator[tuple[str, str, Bools]]:
    for name, values in examples.slices.items():
        column = np.array(values)
        levels, counts = np.unique(column, return_counts=True)
        # A slice of thousands of values is an identifier.
        for level in levels[np.argsort(-counts)][:100]:
            yield "slice", f"{name} = {level}", np.asarray(column == level)


def _cells(examples: Examples, wrong: Bools, seed: int) -> Iterator[tuple[str, str, Bools]]:
    failing = np.flatnonzero(wrong)
    if len(failing) < CELLS * 2:
        return
    space, names = _space(examples, seed)
    with threadpool_limits(1):
        # Centres are those of failures; every case then belongs to the nearest.
        fitted = KMeans(CELLS, n_init=2, random_state=seed).fit(space[failing])
        cell = fitted.predict(space)
    for number in range(CELLS):
        centre = fitted.cluster_centers_[number]
        order = np.argsort(-np.abs(centre))[:2]
        told = " and ".join(f"{names[i]} {'high' if centre[i] > 0 else 'low'}" for i in order)
        yield "likeness", f"cell {number}: {told}", np.asarray(cell == number)


def _space(examples: Examples, seed: int) -> tuple[npt.NDArray[np.float32], list[str]]:
    if not examples.texts:
        x = examples.x.astype(np.float64)
        spread = x.std(axis=0)
        scaled = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
        # Long tails would make cells of outliers.
        return np.clip(scaled, -4, 4).astype(np.float32), list(examples.names)
    runs = ngrams.Runs(64, (2, 3), 2**14)
    ids = encode(ngrams.character_tokenizer(), examples.texts, 256, 1024)
    counts = ngrams.rows_of(ids, runs)
    made = TruncatedSVD(16, random_state=seed).fit_transform(
        ngrams.weighed(counts, ngrams.idf_of(counts))
    )
    spread = made.std(axis=0)
    scaled = (made - made.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return scaled.astype(np.float32), [f"text direction {i}" for i in range(made.shape[1])]
