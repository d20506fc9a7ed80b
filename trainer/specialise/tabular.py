"""Fits on rows of numbers: boosted trees, a small neural network, and a blend of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from trainer.choose import fit_quietly
from trainer.errors import TrainError
from trainer.examples import Floats
from trainer.export import to_onnx
from trainer.specialise.methods import Method, Parameters, Task
from trainer.specialise.model import Fitted, Model
from trainer.specialise.trees import mean_of

# What float32 explains between a fitted model's scores and its graph's.
TOLERANCE = 1e-3


class Blend(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The weighted mean of the probabilities of several models, boosted ones first."""

    def __init__(self, boosted: Sequence[Any], forests: Sequence[Any], weights: Sequence[float]):
        self.boosted = boosted
        self.forests = forests
        self.weights = weights

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Blend:
        """Fit each part; it returns itself."""
        self.classes_ = np.unique(y)
        self.boosted = [m.fit(x, y, sample_weight=sample_weight) for m in self.boosted]
        self.forests = [m.fit(x, y, sample_weight=sample_weight) for m in self.forests]
        return self

    def predict_proba(self, x: Any) -> Any:
        """float64 [n, 2]."""
        parts = [model.predict_proba(x) for model in (*self.boosted, *self.forests)]
        return np.average(parts, axis=0, weights=self.weights)


def boosting(p: Parameters, seed: int) -> Any:
    """Gradient-boosted trees on histograms; several from different seeds, averaged."""
    bags = [_boosted(p, seed + bag) for bag in range(int(p["bags"]))]
    return bags[0] if len(bags) == 1 else Blend(bags, [], [1.0] * len(bags))


def _boosted(p: Parameters, seed: int) -> Any:
    return HistGradientBoostingClassifier(
        learning_rate=p["learning_rate"],
        max_iter=int(p["iterations"]),
        max_leaf_nodes=int(p["leaves"]),
        min_samples_leaf=int(p["least"]),
        l2_regularization=p["l2"],
        max_features=p["features"],
        early_stopping=False,
        random_state=seed,
    )


def network(p: Parameters, seed: int) -> Any:
    """A network of one hidden layer on standardised features."""
    return make_pipeline(
        StandardScaler(),
        MLPClassifier(
            (int(p["width"]),),
            alpha=p["decay"],
            learning_rate_init=p["rate"],
            max_iter=int(p["passes"]),
            batch_size=256,
            random_state=seed,
        ),
    )


def blend(p: Parameters, seed: int) -> Any:
    """The weighted mean of boosted trees and extremely randomised trees."""
    bags = [_boosted(p, seed + bag) for bag in range(int(p["bags"]))]
    weights = [1 / len(bags)] * len(bags)
    return Blend(bags, [_extra(p, seed)], [*weights, p["extra_weight"]])


def _extra(p: Parameters, seed: int) -> Any:
    return ExtraTreesClassifier(
        n_estimators=int(p["extra_trees"]),
        min_samples_leaf=int(p["extra_least"]),
        max_features=p["features"],
        random_state=seed,
    )


def fit(task: Task, build: Any, method: str) -> Fitted:
    """Fold scores, then the model on all training cases, exported and compared with its graph.

    Raises:
        TrainError: the graph does not compute what the model does.
    """
    x, y = task.train.x, task.train.y.astype(np.int8)
    model = build(task.parameters, task.seed)
    with threadpool_limits(1, user_api="blas"):
        scores = _fold_scores(model, task)
        whole = _fit(clone(model), x, y, task.weights)
    made = Model(exported(whole, x.shape[1], method))
    some = task.train.take(np.arange(min(len(y), 2000)))
    expected = whole.predict_proba(some.x)[:, 1]
    difference = float(np.max(np.abs(expected - made.scores(some))))
    if difference > TOLERANCE:
        raise TrainError(
            f"The exported graph's scores are up to {difference:.2g} from the fitted model's, but "
            f"{TOLERANCE:g} is the most that float32 explains."
        )
    return Fitted(made, scores, difference, method)


def exported(model: Any, features: int, name: str) -> bytes:
    """The graph of a fitted model of this file."""
    if isinstance(model, HistGradientBoostingClassifier):
        return mean_of([model], [], [1.0], features)
    if isinstance(model, Blend):
        return mean_of(model.boosted, model.forests, model.weights, features)
    return to_onnx(model, features=features, name=name)


def _fold_scores(model: Any, task: Task) -> Floats:
    x, y = task.train.x, task.train.y.astype(np.int8)
    found = np.empty(len(y))
    folds = StratifiedKFold(task.folds, shuffle=True, random_state=task.seed)
    for train, test in folds.split(x, y):
        fitted = _fit(clone(model), x[train], y[train], task.weights[train])
        found[test] = fitted.predict_proba(x[test])[:, 1]
    return found


def _fit(model: Any, x: Any, y: Any, weights: Floats) -> Any:
    if np.all(weights == weights[0]):
        return fit_quietly(model, x, y)
    if hasattr(model, "steps"):
        # A pipeline's weights go to its last step, and the network takes none: repeat rows instead.
        rows = np.repeat(np.arange(len(y)), np.maximum(np.rint(weights).astype(int), 0))
        return fit_quietly(model, x[rows], y[rows])
    return model.fit(x, y, sample_weight=weights)


BOOSTING = Method(
    fit=lambda task: fit(task, boosting, "gradient-boosted trees"),
    first={
        "learning_rate": 0.05,
        "iterations": 200,
        "leaves": 15,
        "least": 40,
        "l2": 1.0,
        "features": 0.5,
        "bags": 1,
    },
    ranges={
        "learning_rate": (0.015, 0.1, "log"),
        "iterations": (100, 400, "whole"),
        "leaves": (6, 31, "whole"),
        "least": (10, 120, "whole"),
        "l2": (0.1, 30.0, "log"),
        "features": (0.15, 0.8, "even"),
    },
)
NETWORK = Method(
    fit=lambda task: fit(task, network, "small neural network"),
    first={"width": 32, "decay": 1.0, "rate": 0.002, "passes": 20},
    ranges={
        "width": (8, 64, "whole"),
        "decay": (0.01, 30.0, "log"),
        "rate": (0.0005, 0.005, "log"),
        "passes": (8, 40, "whole"),
    },
)
BLEND = Method(
    fit=lambda task: fit(task, blend, "boosted and extremely randomised trees"),
    first={
        "learning_rate": 0.03,
        "iterations": 300,
        "leaves": 16,
        "least": 100,
        "l2": 20.0,
        "features": 0.15,
        "bags": 3,
        "extra_trees": 150,
        "extra_least": 15,
        "extra_weight": 0.3,
    },
    ranges={
        "learning_rate": (0.015, 0.06, "log"),
        "iterations": (150, 400, "whole"),
        "leaves": (6, 24, "whole"),
        "least": (20, 150, "whole"),
        "l2": (0.5, 30.0, "log"),
        "features": (0.15, 0.6, "even"),
        "extra_least": (3, 30, "whole"),
        "extra_weight": (0.1, 1.0, "even"),
    },
)
