"""A fitted two-class scikit-learn model as an ONNX graph with one input and one output."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType

INPUT = "features"
OUTPUT = "score"
OPSET = {"": 17, "ai.onnx.ml": 3}


class Classifier(Protocol):
    """What is used of a scikit-learn classifier."""

    def fit(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.int8]) -> Classifier:
        """Fits to x, float32 [n, f], and y, int8 [n], and returns itself."""
        ...

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities of both classes, float [n, 2]."""
        ...


def to_onnx(model: Classifier, *, features: int, name: str) -> bytes:
    """The graph of a fitted `model`: float32 `features` [batch, f] to `score` [batch, 1].

    `score`, float32, is the probability of class 1. The converter's label output and what
    only it needs are cut out.

    Args:
        model: fitted on classes 0 and 1.
        features: f.
        name: the graph's name.
    """
    converted = convert_sklearn(
        model,
        name=name,
        initial_types=[(INPUT, FloatTensorType([None, features]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSET,
    )
    graph: bytes = only_score(converted, features).SerializeToString(deterministic=True)
    return graph


def only_score(converted: Any, features: int) -> Any:
    """A converted model with column 1 of its last output as its single output."""
    graph = converted.graph
    probabilities = graph.output[-1].name
    column = numpy_helper.from_array(np.array([1], dtype=np.int64), "positive_class")
    # Gather with a list of one index keeps the axis: [batch, 2] becomes [batch, 1].
    gather = helper.make_node("Gather", [probabilities, column.name], [OUTPUT], axis=1)
    nodes = _needed([*graph.node, gather], OUTPUT)
    used = {value for node in nodes for value in node.input}
    cut = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", 1])],
        [value for value in [*graph.initializer, column] if value.name in used],
    )
    model = helper.make_model(cut, opset_imports=converted.opset_import, producer_name="sluicegate")
    model.ir_version = converted.ir_version
    onnx.checker.check_model(model, full_check=True)
    return model


def _needed(nodes: list[Any], output: str) -> list[Any]:
    """The nodes, in their order, that the value `output` depends on."""
    wanted, kept = {output}, []
    for node in reversed(nodes):  # A graph's nodes are in topological order.
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
