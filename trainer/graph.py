"""Writes an ONNX graph node by node: a value is its name, a constant is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Value:
    """A graph's input or output: its name, ONNX element type and shape (a name: any size)."""

    name: str
    element: int
    shape: tuple[str | int, ...]


def int64(name: str, *shape: str | int) -> Value:
    """An int64 tensor."""
    return Value(name, TensorProto.INT64, shape)


def float32(name: str, *shape: str | int) -> Value:
    """A float32 tensor."""
    return Value(name, TensorProto.FLOAT, shape)


class Graph:
    """A graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Appends a node and returns its one output, which is called like it."""
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def append(self, node: onnx.NodeProto) -> None:
        """Appends a node that has more than one output."""
        self._nodes.append(node)

    def split(self, value: str, names: Sequence[str], *, axis: int) -> Sequence[str]:
        """Appends a Split of `value` into equal parts of these names, and returns the names."""
        self._nodes.append(
            helper.make_node("Split", [value], names, axis=axis, num_outputs=len(names))
        )
        return names

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """The name of a constant; the first use of a name stores it."""
        if name not in self._constants:
            array = np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value))
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def model(self, name: str, inputs: Sequence[Value], output: Value, *, opset: int) -> bytes:
        """The whole as a serialised model; the same calls give the same bytes."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(v.name, v.element, v.shape) for v in inputs],
            [helper.make_tensor_value_info(output.name, output.element, output.shape)],
            list(self._constants.values()),
        )
        domains = {node.domain for node in self._nodes}
        opsets = [helper.make_opsetid("", opset)]
        opsets += [helper.make_opsetid(CONTRIB, 1)] if CONTRIB in domains else []
        model = helper.make_model(graph, opset_imports=opsets, producer_name="sluicegate")
        model.ir_version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        onnx.checker.check_model(model, full_check=CONTRIB not in domains)
        written: bytes = model.SerializeToString(deterministic=True)
        return written
