"""Fits a small specialist on a table: choose, export to ONNX, set the threshold, measure.

Offline decisions are, by definition, those of ONNX Runtime in Python on the exported graph:
the same bytes that the gateway serves. How far scikit-learn agrees is reported beside them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.datasets import Dataset, Features, Split, split, unseen
from trainer.export import INPUT, OUTPUT, Classifier, to_onnx
from trainer.quality import Labels, Quality, auc, cheapest_threshold, decide, measure

FOLDS = 5
REPEATS = 3
SEED = 7

OnnxScores = npt.NDArray[np.float32]
FoldScores = npt.NDArray[np.float64]


class AgreementError(Exception):
    """The exported graph does not compute what the fitted model does."""


@dataclass(frozen=True)
class Agreement:
    """How far scikit-learn and the exported graph agree on the held-out rows.

    Attributes:
        largest_difference: of the scores, absolute.
        same_decisions: rows decided alike, of `rows`.
    """

    largest_difference: float
    same_decisions: int
    rows: int


@dataclass(frozen=True)
class Fitted:
    """A specialist, ready to be packed.

    Attributes:
        dataset: what it was fitted on.
        parts: which rows were training and which held out.
        model: the chosen candidate's name.
        cv_auc: every candidate's mean AUC on the training rows' held-out folds.
        onnx: the graph: float32 `features` [batch, f] to float32 `score` [batch, 1], the
            probability that y = 1.
        threshold: a score at or above it is decided y = 1; float32 holds it exactly.
        held_out_scores: float32 [m], the graph's scores of the held-out rows, in order.
        quality: of the graph's decisions on the held-out rows.
        agreement: with scikit-learn.
        seen_share: share of held-out rows whose features occur in training as well.
        quality_unseen: like `quality`, on the other held-out rows only; None where they lack
            a class.
    """

    dataset: Dataset
    parts: Split
    model: str
    cv_auc: Mapping[str, float]
    onnx: bytes
    threshold: float
    held_out_scores: OnnxScores
    quality: Quality
    agreement: Agreement
    seen_share: float
    quality_unseen: Quality | None

    @property
    def held_out_x(self) -> Features:
        """float32 [m, f]: the held-out rows' features, in the order of the scores."""
        return np.ascontiguousarray(self.dataset.x[self.parts.held_out])

    @property
    def held_out_y(self) -> Labels:
        """int8 [m]: the held-out rows' labels, in the order of the scores."""
        return self.dataset.y[self.parts.held_out]


def candidates() -> dict[str, Classifier]:
    """Unfitted models to choose from, the simplest first: it wins a tie.

    Their settings were chosen on the training rows of both sets: strong regularisation, as
    there are only hundreds of rows.
    """
    return {
        "logistic regression": make_pipeline(
            StandardScaler(), LogisticRegression(C=0.03, max_iter=2000)
        ),
        "small neural network": make_pipeline(
            StandardScaler(), MLPClassifier((16,), alpha=10.0, max_iter=200, random_state=SEED)
        ),
        "gradient-boosted trees": GradientBoostingClassifier(
            n_estimators=80,
            max_depth=4,
            learning_rate=0.05,
            subsample=0.8,
            min_samples_leaf=5,
            max_features="sqrt",
            random_state=SEED,
        ),
    }


def fit(dataset: Dataset) -> Fitted:
    """The candidate with the best cross-validated AUC, exported and measured.

    The choice and the threshold see training rows only.

    Raises:
        AgreementError: the exported graph's scores are more than 0.001 off.
    """
    parts = split(dataset)
    x, y = dataset.x[parts.train], dataset.y[parts.train]
    out_of_fold = {name: fold_scores(model, x, y) for name, model in candidates().items()}
    cv_auc = {
        name: float(np.mean([auc(one, y) for one in repeats]))
        for name, repeats in out_of_fold.items()
    }
    chosen = max(cv_auc, key=lambda name: cv_auc[name])
    threshold = cheapest_threshold(out_of_fold[chosen].ravel(), np.tile(y, REPEATS), dataset.costs)
    model = _fitted(candidates()[chosen], x, y)
    graph = to_onnx(model, features=x.shape[1], name=dataset.name)

    held_x, held_y = dataset.x[parts.held_out], dataset.y[parts.held_out]
    scores = run_onnx(graph, held_x)
    new = unseen(dataset, parts)
    return Fitted(
        dataset=dataset,
        parts=parts,
        model=chosen,
        cv_auc=cv_auc,
        onnx=graph,
        threshold=threshold,
        held_out_scores=scores,
        quality=measure(scores, held_y, threshold, dataset.costs),
        agreement=_agreement(model.predict_proba(held_x)[:, 1], scores, threshold),
        seen_share=1.0 - float(np.mean(new)),
        quality_unseen=(
            measure(scores[new], held_y[new], threshold, dataset.costs)
            if len(np.unique(held_y[new])) == 2
            else None
        ),
    )


def fold_scores(model: Classifier, x: Features, y: Labels) -> FoldScores:
    """float64 [REPEATS, n]: each row's score by a model that was fitted without it."""
    scores = np.empty((REPEATS, len(y)))
    for repeat in range(REPEATS):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED + repeat)
        for train, test in folds.split(x, y):
            fitted = _fitted(clone(model), x[train], y[train])
            scores[repeat, test] = fitted.predict_proba(x[test])[:, 1]
    return scores


def run_onnx(graph: bytes, x: Features) -> OnnxScores:
    """float32 [n]: the graph's scores of x, float32 [n, f], by ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(x)})
    return np.asarray(scores, dtype=np.float32)[:, 0]


def _fitted(model: Classifier, x: Features, y: Labels) -> Classifier:
    with warnings.catch_warnings():
        # The network's number of passes is a choice (early enough not to overfit), no failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def _agreement(
    expected: npt.NDArray[np.float64], scores: OnnxScores, threshold: float
) -> Agreement:
    difference = float(np.max(np.abs(expected - scores)))
    if difference > 1e-3:
        raise AgreementError(
            f"The exported graph's scores are up to {difference:.2g} from the fitted model's, "
            "but 0.001 is the most that float32 explains."
        )
    same = int(np.sum(decide(expected, threshold) == decide(scores, threshold)))
    return Agreement(difference, same, len(scores))
