"""The models that load tests run: a 32-feature network, an echo and a stand-in for an encoder."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gateway.packing import Packed, pack_contract, pack_graph

FEATURES = 32
LAYERS = (FEATURES, 128, 64, 1)

DELAY = """\
format = "sluicegate.contract/1"
engine = "delay"
inputs = [{ name = "features", datatype = "FP32", shape = [-1, 32] }]
outputs = [{ name = "score", datatype = "FP32", shape = [-1, 32] }]
delay = { per_batch_us = %d, per_row_us = %d }
"""
IDENTITY = """\
format = "sluicegate.contract/1"
engine = "identity"
inputs = [{ name = "features", datatype = "FP32", shape = [-1, 32] }]
outputs = [{ name = "score", datatype = "FP32", shape = [-1, 32] }]
"""


def perceptron(seed: int = 0) -> onnx.ModelProto:
    """A network of layers 32, 128, 64, 1 with seeded weights: what a tabular specialist costs.

    Input `features` float32 [batch, 32], output `score` float32 [batch, 1] in (0, 1).
    """
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "features"
    for index, (rows, columns) in enumerate(pairwise(LAYERS)):
        scale = np.sqrt(2 / rows)
        weight = (rng.standard_normal((rows, columns)) * scale).astype(np.float32)
        bias = (rng.standard_normal(columns) * 0.1).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"w{index}")]
        weights += [numpy_helper.from_array(bias, f"b{index}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"z{index}"]))
        final = index == len(LAYERS) - 2
        last = "score" if final else f"a{index}"
        nodes.append(helper.make_node("Sigmoid" if final else "Relu", [f"z{index}"], [last]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [value("features", TensorProto.FLOAT, ["batch", FEATURES])],
        [value("score", TensorProto.FLOAT, ["batch", 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Seeded rows, float32 [count, 32]."""
    return np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)


def pack_perceptron(repository: Path, name: str = "tabular") -> Packed:
    """Pack the 32-feature network."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(perceptron().SerializeToString())
        return pack_graph(graph, name, repository)


def pack_delay(repository: Path, name: str, per_batch_us: int, per_row_us: int) -> Packed:
    """Pack a model that takes a fixed time and gives its input back."""
    return pack_contract(DELAY % (per_batch_us, per_row_us), name, repository)


def pack_identity(repository: Path, name: str = "echo") -> Packed:
    """Pack a model that gives its input back at once."""
    return pack_contract(IDENTITY, name, repository)
