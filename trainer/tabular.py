"""Fits a small specialist on a table: choose, export to ONNX, set the threshold, measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.choose import SEED, choose, fit_quietly
from trainer.datasets import Dataset, Features, split, unseen
from trainer.export import INPUT, OUTPUT, Classifier, to_onnx
from trainer.fitted import Fitted, OnnxScores, agreement


@dataclass(frozen=True)
class FittedTable(Fitted[Dataset]):
    """A specialist whose graph takes float32 `features` [batch, f]."""

    @property
    def held_out_x(self) -> Features:
        """float32 [m, f]: the held-out rows' features, in the order of the scores."""
        return np.ascontiguousarray(self.dataset.x[self.parts.held_out])


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


def fit(dataset: Dataset) -> FittedTable:
    """The candidate with the best cross-validated AUC, exported and measured.

    The choice and the threshold see training rows only.

    Raises:
        AgreementError: the exported graph's scores are more than 0.001 off.
    """
    parts = split(dataset)
    x, y = dataset.x[parts.train], dataset.y[parts.train]
    chosen = choose(candidates(), x, y, dataset.costs)
    model = fit_quietly(candidates()[chosen.name], x, y)
    graph = to_onnx(model, features=x.shape[1], name=dataset.name)
    held_out = dataset.x[parts.held_out]
    scores = run_onnx(graph, held_out)
    return FittedTable(
        dataset=dataset,
        parts=parts,
        model=chosen.name,
        cv_auc=chosen.cv_auc,
        onnx=graph,
        threshold=chosen.threshold,
        held_out_scores=scores,
        held_out_new=unseen(dataset, parts),
        agreement=agreement(model.predict_proba(held_out)[:, 1], scores, chosen.threshold),
    )


def run_onnx(graph: bytes, x: Features) -> OnnxScores:
    """float32 [n]: the graph's scores of x, float32 [n, f], by ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(x)})
    return np.asarray(scores, dtype=np.float32)[:, 0]
