"""Which nodes are written out, and what is left of the graph then."""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gateway.engines.contract import EngineError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

    from gateway.engines.tensorrt.lowering.writing import Writer

ML = "ai.onnx.ml"
# The first in which the operators that are written have the forms that they are written in.
LEAST_OPSET = 13
# TensorProto's UINT8 and INT8.
EIGHT_BITS = (2, 3)


def is_installed() -> bool:
    """Whether graphs can be written out at all: it takes the package `onnx`."""
    return find_spec("onnx") is not None


def _writers() -> Mapping[tuple[str, str], Callable[["Writer"], None]]:
    from gateway.engines.tensorrt.lowering import integers, linear, trees  # noqa: PLC0415

    return {
        (ML, "ArrayFeatureExtractor"): linear.columns,
        (ML, "LinearClassifier"): linear.classifier,
        (ML, "LinearRegressor"): linear.regressor,
        (ML, "Normalizer"): linear.normalizer,
        (ML, "Scaler"): linear.scaler,
        (ML, "TreeEnsembleClassifier"): trees.classifier,
        (ML, "TreeEnsembleRegressor"): trees.regressor,
        ("", "DynamicQuantizeLinear"): integers.dynamic_quantize,
        ("", "Gather"): integers.lookup,
        ("", "MatMulInteger"): integers.product,
        ("", "QuantizeLinear"): integers.quantize,
    }


def lower(graph: bytes, outputs: Iterable[str]) -> bytes | None:
    """The graph for TensorRT's parser; None if it can be taken as it is.

    Args:
        graph: an ONNX model.
        outputs: those that the contract promises; others, and what only they need, are cut out.

    Raises:
        EngineError: a node cannot be written out; with its reason.

    """
    import onnx  # noqa: PLC0415 - installed with the extras

    model = onnx.load_model_from_string(graph)
    held = model.graph
    if not any(node.domain == ML or node.op_type == "MatMulInteger" for node in held.node):
        return None
    opset = max((o.version for o in model.opset_import if not o.domain), default=0)
    if opset < LEAST_OPSET:
        raise EngineError(
            f"the graph is of opset {opset}: to be written out for TensorRT it must be exported "
            f"with {LEAST_OPSET} or later"
        )
    _cut(held, set(outputs))
    _write_out(held)
    _cut(held, set(outputs))
    kept = [o for o in model.opset_import if o.domain != ML]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _cut(graph: "GraphProto", outputs: set[str]) -> None:
    """Leave what these outputs need."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            # Of a graph inside a node the names from outside are not among its inputs.
            wanted.update(node.input, *(_outside(a) for a in node.attribute))
            kept.append(node)
    _replace(graph.node, kept[::-1])
    _replace(graph.initializer, [t for t in graph.initializer if t.name in wanted])
    _replace(graph.output, [o for o in graph.output if o.name in outputs])
    del graph.value_info[:]


def _outside(attribute: Any) -> set[str]:
    graphs = [attribute.g, *attribute.graphs]
    nodes = [node for graph in graphs for node in graph.node]
    names = {name for node in nodes for name in node.input}
    return names.union(*(_outside(a) for node in nodes for a in node.attribute))


def _replace(field: Any, values: list[Any]) -> None:
    copied = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copied)


def _write_out(graph: "GraphProto") -> None:
    from gateway.engines.tensorrt.lowering.writing import Writer  # noqa: PLC0415

    writers = _writers()
    constants = _constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    kinds = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    made: list[NodeProto] = []
    for node in graph.node:
        write = writers.get((node.domain, node.op_type))
        if write is None and node.domain == ML:
            raise EngineError(f"{node.op_type} (node '{node.name}') is not written out")
        if write is None or not _wants_writing(node, users, constants):
            made.append(node)
            continue
        writer = Writer(node, constants, makers)
        if node.domain == ML:
            _refuse_labels(writer, users, kinds, {o.name for o in graph.output})
        write(writer)
        made += writer.nodes
        graph.initializer.extend(writer.held)
    _replace(graph.node, made)


def _constants(graph: "GraphProto") -> dict[str, "TensorProto"]:
    made = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            made[node.output[0]] = node.attribute[0].t
    return made


def _wants_writing(
    node: "NodeProto",
    users: Mapping[str, "list[NodeProto]"],
    constants: Mapping[str, "TensorProto"],
) -> bool:
    """Of two operators TensorRT knows some uses.

    A QuantizeLinear is written out if it feeds MatMulInteger alone, a Gather if its table is of 8
    bits and all that follows are Casts.
    """
    found = users.get(node.output[0], [])
    if node.op_type == "QuantizeLinear":
        return bool(found) and all(user.op_type == "MatMulInteger" for user in found)
    if node.op_type == "Gather":
        table = constants.get(node.input[0])
        is_small = table is not None and table.data_type in EIGHT_BITS
        return is_small and all(user.op_type == "Cast" for user in found)
    return True


def _refuse_labels(
    writer: "Writer",
    users: Mapping[str, "list[NodeProto]"],
    kinds: Mapping[str, int],
    outputs: set[str],
) -> None:
    """Raise for numbers that are not float32, and for a classifier whose labels are wanted."""
    node = writer.node
    # 1 is FLOAT; 0 where only the run tells.
    if kinds.get(node.input[0], 1) not in (0, 1):
        raise writer.refuse("takes numbers that are not float32, which is not written out")
    labels = node.output[0] if node.op_type.endswith("Classifier") else ""
    if labels and (labels in outputs or users.get(labels)):
        raise writer.refuse("gives labels; a plan gives scores: leave them out of the contract")
