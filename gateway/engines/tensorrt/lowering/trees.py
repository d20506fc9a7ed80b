"""Ensembles of trees, walked level by level: at each step every tree of every row goes on by one.

    node [n, trees] → feature and threshold of each → compared → the node below
    after as many steps as the deepest tree has: each leaf's weights, summed over the trees

Comparisons are of the same float32 numbers, so every row ends at the leaves that ONNX's own
operator finds; sums may differ by their order. A leaf's children are itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.engines.tensorrt.lowering.writing import Writer, transformed

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

# How a value is compared with a node's threshold; true goes to the true branch.
MODES: Final[Mapping[str, str]] = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
    "BRANCH_EQ": "Equal",
    "BRANCH_NEQ": "Equal",
}


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees by their place; `roots` are places, `weights` [nodes, outputs]."""

    roots: Ints
    features: Ints
    thresholds: Floats
    modes: tuple[str, ...]
    missing: NDArray[np.bool_]
    when_true: Ints
    when_false: Ints
    weights: Floats
    depth: int


def _forest(w: Writer, outputs: int, what: str) -> Forest:
    """Read the attributes; `what` is "class" or "target", as in `class_nodeids`."""

    def told(name: str) -> list[Any]:
        return list(w.attribute(name, []))

    if any(a.name.endswith("_as_tensor") for a in w.node.attribute):
        raise w.refuse("holds numbers of 64 bits, which are not written out")
    modes = told("nodes_modes")
    keys = list(zip(told("nodes_treeids"), told("nodes_nodeids"), strict=True))
    place = {key: index for index, key in enumerate(keys)}
    leaf = np.array([mode == "LEAF" for mode in modes])
    if unknown := {*modes} - {*MODES, "LEAF"}:
        raise w.refuse(f"compares by {min(unknown)}, which is not known")

    def below(name: str) -> Ints:
        told_ = zip(keys, told(name), leaf, strict=True)
        own = range(len(keys))
        found = [
            i if is_leaf else place[(key[0], child)]
            for i, (key, child, is_leaf) in zip(own, told_, strict=True)
        ]
        return np.array(found, np.int32)

    when_true, when_false = below("nodes_truenodeids"), below("nodes_falsenodeids")
    weights = np.zeros((len(keys), outputs), np.float32)
    ids = zip(told(f"{what}_treeids"), told(f"{what}_nodeids"), strict=True)
    for key, column, weight in zip(ids, told(f"{what}_ids"), told(f"{what}_weights"), strict=True):
        weights[place[key], column] += np.float32(weight)
    first: dict[int, int] = {}
    for index, (tree, _) in enumerate(keys):
        first.setdefault(tree, index)
    roots = np.array(list(first.values()), np.int32)
    missing = told("nodes_missing_value_tracks_true") or [0] * len(keys)
    return Forest(
        roots=roots,
        features=np.where(leaf, 0, np.array(told("nodes_featureids"))).astype(np.int32),
        thresholds=np.where(leaf, 0, np.array(told("nodes_values"), np.float32)).astype(np.float32),
        modes=tuple(modes),
        missing=np.array(missing, bool) & ~leaf,
        when_true=when_true,
        when_false=when_false,
        weights=weights,
        depth=_depth(w, roots, when_true, when_false),
    )


def _depth(w: Writer, roots: Ints, when_true: Ints, when_false: Ints) -> int:
    """Steps until every tree is at a leaf."""
    level, steps = np.unique(roots), 0
    while True:
        below = np.unique(np.concatenate([when_true[level], when_false[level]]))
        level = np.setdiff1d(below, below[when_true[below] == below])
        steps += 1
        if not len(level):
            return steps
        if steps > len(when_true):
            raise w.refuse("has a tree that goes in circles")


def _goes(w: Writer, forest: Forest, value: str, node: str | None) -> str:
    """Whether a value goes to the true branch of its node; at the roots without `node`."""

    def of(table: NDArray[Any], dtype: Any) -> str:
        if node is None:
            return w.hold(table[forest.roots][None, :], dtype)
        return w.add("Gather", [w.hold(table, dtype), node])

    threshold = of(forest.thresholds, np.float32)
    modes = sorted({*forest.modes} - {"LEAF"}) or ["BRANCH_LEQ"]
    goes = ""
    for number, mode in enumerate(modes):
        one = w.add(MODES[mode], [value, threshold])
        if mode == "BRANCH_NEQ":
            one = w.add("Not", [one])
        if len(modes) > 1:
            codes = np.array([modes.index(m) if m != "LEAF" else 0 for m in forest.modes])
            is_mode = w.add("Equal", [of(codes, np.int32), w.hold(number, np.int32)])
            one = w.add("And", [one, is_mode])
        goes = w.add("Or", [goes, one]) if goes else one
    if forest.missing.any():
        follows = w.add("Greater", [of(forest.missing, np.float32), w.hold(0.5)])
        lacking = w.add("And", [w.add("IsNaN", [value]), follows])
        goes = w.add("Or", [goes, lacking])
    return goes


def _sums(w: Writer, forest: Forest) -> str:
    """float32 [n, outputs]: the weights of each row's leaves, summed."""
    x = w.node.input[0]
    at_roots = forest.features[forest.roots]
    value = w.add("Gather", [x, w.hold(at_roots, np.int32)], axis=1)
    node = w.add(
        "Where",
        [
            _goes(w, forest, value, None),
            w.hold(forest.when_true[forest.roots][None, :], np.int32),
            w.hold(forest.when_false[forest.roots][None, :], np.int32),
        ],
    )
    for _ in range(forest.depth - 1):
        feature = w.add("Gather", [w.hold(forest.features, np.int32), node])
        value = w.add("GatherElements", [x, feature], axis=1)
        below = [
            w.add("Gather", [w.hold(table, np.int32), node])
            for table in (forest.when_true, forest.when_false)
        ]
        node = w.add("Where", [_goes(w, forest, value, node), *below])
    leaves = w.add("Gather", [w.hold(forest.weights), node])
    return w.add("ReduceSum", [leaves, w.hold([1], np.int64)], keepdims=0)


def regressor(w: Writer) -> None:
    """TreeEnsembleRegressor: float32 [n, targets]."""
    targets = w.attribute("n_targets", 1)
    if w.attribute("aggregate_function", "SUM") != "SUM":
        raise w.refuse("does not sum its trees, which is not written out")
    total = _sums(w, _forest(w, targets, "target"))
    base = w.attribute("base_values", [])
    if base:
        total = w.add("Add", [total, w.hold([base])])
    transformed(w, total, w.node.output[0])


def classifier(w: Writer) -> None:
    """TreeEnsembleClassifier's scores: float32 [n, classes].

    With two classes and weights for the first alone, ONNX Runtime makes both scores of one sum s:
    the logistic of (-s, s) where that is asked for; else (1 - s, s) if no weight is negative, and
    (-s, s) if one is.
    """
    labels = w.attribute("classlabels_int64s", []) or w.attribute("classlabels_strings", [])
    classes, base = len(labels), list(w.attribute("base_values", []))
    weighted, output = {*w.attribute("class_ids", [])}, w.node.output[1]
    if classes != 2 or weighted != {0}:
        if len(base) not in (0, classes):
            raise w.refuse(f"has {len(base)} base values for {classes} classes")
        total = _sums(w, _forest(w, classes, "class"))
        if base:
            total = w.add("Add", [total, w.hold([base])])
        transformed(w, total, output)
        return
    if len(base) > 1:
        raise w.refuse("has two base values and weights for one class, which is not written out")
    total = _sums(w, _forest(w, 1, "class"))
    if base:
        total = w.add("Add", [total, w.hold([base])])
    if w.attribute("post_transform", "NONE") == "LOGISTIC":
        both = w.add("Concat", [w.add("Neg", [total]), total], axis=1)
        w.add("Sigmoid", [both], output)
        return
    probability = all(weight >= 0 for weight in w.attribute("class_weights", []))
    other = w.add("Sub", [w.hold([[1.0]]), total]) if probability else w.add("Neg", [total])
    w.add("Concat", [other, total], output, axis=1)
