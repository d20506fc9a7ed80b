"""Fitted trees as ONNX, written here: exact comparisons, several ensembles in one graph.

scikit-learn compares float32 features with float64 thresholds. The greatest float32 that is not
above a threshold decides alike for every float32, so the graph takes every branch that the model
takes; what is left is the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainer.export import INPUT, OPSET, OUTPUT

Floats = npt.NDArray[np.float64]
ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Tree:
    """One tree of m nodes.

    Attributes:
        feature: int64 [m], of inner nodes.
        threshold: float64 [m]: a value that is at most it goes left.
        left, right: int64 [m].
        leaf: bool [m].
        value: float64 [m, k], what a leaf adds to each of k outputs.
        missing_left: bool [m]: whether NaN goes left.
    """

    feature: npt.NDArray[np.int64]
    threshold: Floats
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    leaf: npt.NDArray[np.bool_]
    value: Floats
    missing_left: npt.NDArray[np.bool_]


def of_boosting(model: Any) -> tuple[list[Tree], float]:
    """The trees of a fitted HistGradientBoostingClassifier of two classes, and its first log-odds.

    These are scikit-learn's own arrays; they have no public name. A test holds them to the model's
    scores.
    """
    trees = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        trees.append(
            Tree(
                nodes["feature_idx"].astype(np.int64),
                nodes["num_threshold"].astype(np.float64),
                nodes["left"].astype(np.int64),
                nodes["right"].astype(np.int64),
                nodes["is_leaf"].astype(np.bool_),
                nodes["value"].astype(np.float64)[:, None],
                nodes["missing_go_to_left"].astype(np.bool_),
            )
        )
    return trees, float(np.ravel(model._baseline_prediction)[0])


def of_forest(model: Any) -> list[Tree]:
    """The trees of a fitted forest: each adds its share to the mean.

    A classifier's output is the probability of its second class, a regressor's its k values.
    """
    n = len(model.estimators_)
    trees = []
    for one in model.estimators_:
        inner = one.tree_
        value = np.asarray(inner.value, np.float64)
        if hasattr(model, "classes_"):
            shares = value[:, 0, :]
            value = (shares[:, 1] / shares.sum(axis=1))[:, None]
        else:
            value = value[:, :, 0]
        leaf = inner.children_left < 0
        trees.append(
            Tree(
                np.maximum(inner.feature, 0).astype(np.int64),
                inner.threshold.astype(np.float64),
                np.maximum(inner.children_left, 0).astype(np.int64),
                np.maximum(inner.children_right, 0).astype(np.int64),
                np.asarray(leaf, np.bool_),
                value / n,
                np.zeros(len(leaf), np.bool_),
            )
        )
    return trees


def floor32(values: Floats) -> npt.NDArray[np.float32]:
    """The greatest float32 that is not above each value."""
    near = values.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > values, below, near)


def node(trees: Sequence[Tree], output: str, base: float = 0.0) -> Any:
    """The sum over trees as one node: float32 [batch, f] to [batch, k]; `base` is added to each."""
    k = trees[0].value.shape[1]
    sizes = [len(tree.leaf) for tree in trees]
    of_tree = np.repeat(np.arange(len(trees)), sizes)
    of_node = np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([tree.leaf for tree in trees])
    value = np.concatenate([tree.value for tree in trees])[leaf]

    def joined(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees])

    inner = np.where(leaf, 0, floor32(joined("threshold"))).astype(np.float32)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [output],
        domain=ML,
        n_targets=k,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[base] * k,
        nodes_treeids=of_tree.tolist(),
        nodes_nodeids=of_node.tolist(),
        nodes_featureids=np.where(leaf, 0, joined("feature")).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=inner.tolist(),
        nodes_truenodeids=np.where(leaf, 0, joined("left")).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, joined("right")).tolist(),
        nodes_missing_value_tracks_true=np.where(leaf, 0, joined("missing_left"))
        .astype(int)
        .tolist(),
        target_treeids=np.repeat(of_tree[leaf], k).tolist(),
        target_nodeids=np.repeat(of_node[leaf], k).tolist(),
        target_ids=np.tile(np.arange(k), int(leaf.sum())).tolist(),
        target_weights=value.astype(np.float32).ravel().tolist(),
    )


def graph(
    nodes: Iterable[Any], constants: dict[str, npt.NDArray[Any]], features: int, name: str
) -> bytes:
    """A whole graph from `features` to `score`; the same arguments give the same bytes."""
    made = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSET.items()]
    model = helper.make_model(made, opset_imports=opsets, producer_name="sluicegate")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def mean_of(
    boosted: Sequence[Any], forests: Sequence[Any], weights: Sequence[float], features: int
) -> bytes:
    """The weighted mean of probabilities: of boosted models, then of forests.

    Args:
        boosted: fitted HistGradientBoostingClassifiers.
        forests: fitted forests of classifiers.
        weights: one each, in this order; they are scaled to sum 1.
        features: of a row.
    """
    share = np.asarray(weights, np.float64) / np.sum(weights)
    nodes, parts = [], []
    for number, model in enumerate(boosted):
        trees, base = of_boosting(model)
        nodes.append(node(trees, f"log_odds_{number}", base))
        nodes.append(helper.make_node("Sigmoid", [f"log_odds_{number}"], [f"part_{number}"]))
        parts.append(f"part_{number}")
    for number, model in enumerate(forests, len(boosted)):
        nodes.append(node(of_forest(model), f"part_{number}"))
        parts.append(f"part_{number}")
    constants = {f"weight_{i}": np.array([s], np.float32) for i, s in enumerate(share)}
    for i, part in enumerate(parts):
        nodes.append(helper.make_node("Mul", [part, f"weight_{i}"], [f"weighed_{i}"]))
    nodes.append(helper.make_node("Sum", [f"weighed_{i}" for i in range(len(parts))], [OUTPUT]))
    return graph(nodes, constants, features, "trees")
