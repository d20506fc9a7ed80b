"""Nodes and constants of a graph under construction."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gateway.engines.contract import EngineError

Array = NDArray[Any]


class Writer:
    """Writes the nodes that take one node's place; names begin with that node's output."""

    def __init__(
        self,
        node: NodeProto,
        constants: Mapping[str, TensorProto],
        makers: Mapping[str, NodeProto],
    ) -> None:
        self.node = node
        self._makers = makers
        self.nodes: list[NodeProto] = []
        self.held: list[TensorProto] = []
        self._constants = constants
        self._prefix = next(name for name in node.output if name)
        self._count = 0

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}/{what}_{self._count}"

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """A node; its one output's name."""
        output = output or self._name(op)
        name = self._name(f"node_{op}")
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def hold(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant's name."""
        name = self._name("constant")
        self.held.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def constant(self, name: str) -> Array | None:
        """The value of a name, None if it is known only at run time."""
        held = self._constants.get(name)
        return None if held is None else numpy_helper.to_array(held)

    def scalar(self, name: str) -> Array | None:
        """The one number that a value is made of, whatever its shape; None if that is not known."""
        while (maker := self._makers.get(name)) and maker.op_type in ("Expand", "Identity"):
            name = maker.input[0]
        value = self.constant(name)
        return value.reshape(()) if value is not None and value.size == 1 else None

    def block_of(self, name: str) -> int:
        """The block size of the QuantizeLinear that made a value, 0 without one."""
        maker = self._makers.get(name)
        return attribute(maker, "block_size", 0) if maker is not None else 0

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node; text as text."""
        return attribute(self.node, name, default)

    def refuse(self, why: str) -> EngineError:
        """The error for what cannot be written out."""
        return EngineError(f"{self.node.op_type} (node '{self.node.name}') {why}")


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, text as text, or the default."""
    for each in node.attribute:
        if each.name == name:
            value = helper.get_attribute_value(each)
            if isinstance(value, bytes):
                return value.decode()
            if isinstance(value, list) and value and isinstance(value[0], bytes):
                return [text.decode() for text in value]
            return value
    return default


def transformed(w: Writer, scores: str, output: str) -> str:
    """The scores after the node's `post_transform`, as `output`."""
    how = w.attribute("post_transform", "NONE")
    if how == "NONE":
        return w.add("Identity", [scores], output)
    if how == "LOGISTIC":
        return w.add("Sigmoid", [scores], output)
    if how == "SOFTMAX":
        return w.add("Softmax", [scores], output, axis=-1)
    raise w.refuse(f"ends in {how}, which is not written out")
