"""Chooses among classifiers by cross-validation, and the threshold with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from trainer.datasets import Features
from trainer.export import Classifier
from trainer.quality import Costs, Labels, auc, cheapest_threshold

FOLDS = 5
REPEATS = 3
SEED = 7

FoldScores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What cross-validation found.

    Attributes:
        name: the candidate with the best AUC; the first of equals.
        cv_auc: every candidate's mean AUC on the folds that it was not fitted on.
        threshold: the cheapest for the chosen candidate's scores of those folds.
    """

    name: str
    cv_auc: Mapping[str, float]
    threshold: float


def choose(candidates: Mapping[str, Classifier], x: Features, y: Labels, costs: Costs) -> Choice:
    """The best of `candidates`, which stay unfitted.

    Args:
        candidates: by name, the simplest first: it wins a tie.
        x: float32 [n, f].
        y: int8 [n].
        costs: what wrong decisions cost.
    """
    # These problems are small: threads of the linear algebra would mostly wait for each other.
    with threadpool_limits(1):
        out_of_fold = {name: fold_scores(model, x, y) for name, model in candidates.items()}
    cv_auc = {
        name: float(np.mean([auc(one, y) for one in repeats]))
        for name, repeats in out_of_fold.items()
    }
    name = max(cv_auc, key=lambda name: cv_auc[name])
    threshold = cheapest_threshold(out_of_fold[name].ravel(), np.tile(y, REPEATS), costs)
    return Choice(name, cv_auc, threshold)


def fold_scores(model: Classifier, x: Features, y: Labels) -> FoldScores:
    """float64 [REPEATS, n]: each row's score by a model that was fitted without it."""
    scores = np.empty((REPEATS, len(y)))
    for repeat in range(REPEATS):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED + repeat)
        for train, test in folds.split(x, y):
            fitted = fit_quietly(clone(model), x[train], y[train])
            scores[repeat, test] = fitted.predict_proba(x[test])[:, 1]
    return scores


def fit_quietly(model: Classifier, x: Features, y: Labels) -> Classifier:
    """`model`, fitted to x, float32 [n, f], and y, int8 [n]."""
    with warnings.catch_warnings():
        # The network's number of passes is a choice (early enough not to overfit), no failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)
