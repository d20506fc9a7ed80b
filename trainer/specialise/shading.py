"""Bids that earn most by what a forest says of the price: one graph from features to a bid.

For each request the forest gives F(g), the chance that the price to beat is at most g, for every g
of a grid: extremely randomised trees (Geurts et al. 2006) that learn all the indicators price <= g
together, so that a split is one that tells distributions apart, not means. The bid is the g that
maximises (value - g) * F(g), the expected surplus of a first-price bid. `value` is a feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

from trainer.errors import InputError, TrainError
from trainer.examples import Floats
from trainer.export import INPUT, OUTPUT
from trainer.graph import Graph, float32
from trainer.specialise import trees
from trainer.specialise.methods import Method, Task
from trainer.specialise.model import Fitted, Model

VALUE = "VALUE"
# Steps of the grid between the least and the greatest price; prices that many rows share are
# points of it too, since a bid there wins all of them.
STEPS = 48
COMMON = 24


def value_column(names: tuple[str, ...]) -> int:
    """Where a request's value is among its features.

    Raises:
        InputError: it is not among them.
    """
    if VALUE not in names:
        raise InputError(f"Shading needs the feature {VALUE}: what winning is worth.")
    return names.index(VALUE)


def grid_of(price: Floats) -> Floats:
    """The bids that are considered: quantiles of the price, and its commonest values."""
    even = np.quantile(price, np.linspace(0.01, 0.99, STEPS))
    values, counts = np.unique(price, return_counts=True)
    common = values[np.argsort(-counts, kind="stable")[:COMMON]]
    return np.unique(np.ceil(np.r_[even, common]))


def bids(chances: Floats, value: Floats, grid: Floats) -> Floats:
    """float64 [n]: for each row of chances [n, k] the bid that is expected to earn most."""
    expected = (value[:, None] - grid) * chances
    return np.asarray(grid[expected.argmax(axis=1)])


def fit(task: Task) -> Fitted:
    """Fold bids, then the forest on all training cases, and its graph.

    Raises:
        TrainError: the graph bids otherwise than the forest.
    """
    train, p = task.train, task.parameters
    at = value_column(train.names)
    grid = grid_of(train.y)
    below = (train.y[:, None] <= grid).astype(np.float32)

    def forest(seed: int) -> Any:
        return ExtraTreesRegressor(
            n_estimators=int(p["trees"]),
            min_samples_leaf=int(p["least"]),
            max_features=p["features"],
            random_state=seed,
        )

    folds = np.empty(len(train))
    for rows, test in KFold(task.folds, shuffle=True, random_state=task.seed).split(train.x):
        one = forest(task.seed).fit(train.x[rows], below[rows], task.weights[rows])
        folds[test] = bids(one.predict(train.x[test]), train.value[test], grid)
    whole = forest(task.seed).fit(train.x, below, task.weights)
    model = Model(to_onnx(whole, grid, at, train.x.shape[1]))
    some = train.take(np.arange(min(len(train), 2000)))
    expected = bids(whole.predict(some.x), some.x[:, at].astype(np.float64), grid)
    # Two points of the grid may promise the same within rounding: then either is right.
    same = float(np.mean(expected == model.scores(some)))
    if same < 0.99:
        raise TrainError(
            f"The exported graph bids like the forest on {same:.1%} of the cases only."
        )
    return Fitted(model, folds, 1 - same, "price distribution by extremely randomised trees")


def to_onnx(forest: Any, grid: Floats, value_at: int, features: int) -> bytes:
    """The forest's graph, with the choice of the bid behind it."""
    nodes = [
        trees.node(trees.of_forest(forest), "chances"),
        helper.make_node("Gather", [INPUT, "value_at"], ["value"], axis=1),
        helper.make_node("Sub", ["value", "grid"], ["earned"]),
        helper.make_node("Mul", ["earned", "chances"], ["expected"]),
        helper.make_node("ArgMax", ["expected"], ["best"], axis=1, keepdims=1),
        helper.make_node("Gather", ["grid", "best"], [OUTPUT], axis=0),
    ]
    held: dict[str, npt.NDArray[Any]] = {
        "grid": grid.astype(np.float32),
        "value_at": np.array([value_at], np.int64),
    }
    return trees.graph(nodes, held, features, "shading")


def constant(task: Task, factor: float) -> Fitted:
    """The bid that is a constant factor of the value, as a graph."""
    train = task.train
    at = value_column(train.names)
    graph = Graph()
    column = graph.constant("value_at", [at], np.int64)
    value = graph.add("Gather", [INPUT, column], "value", axis=1)
    graph.add("Mul", [value, graph.constant("factor", [factor])], OUTPUT)
    data = graph.model(
        "constant factor",
        [float32(INPUT, "batch", train.x.shape[1])],
        float32(OUTPUT, "batch", 1),
        opset=17,
    )
    return Fitted(Model(data), train.value * factor, 0.0, f"{factor:g} of the value")


PRICES = Method(
    fit=fit,
    first={"trees": 150, "least": 12, "features": 0.4},
    ranges={
        "least": (5, 30, "whole"),
        "features": (0.2, 0.7, "even"),
    },
    task="shading",
)
