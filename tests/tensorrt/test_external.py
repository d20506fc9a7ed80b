"""Weights outside a graph: only files of the model are opened, and they count in its digest."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gateway.engines import EngineError
from gateway.engines.tensorrt.external import external_files
from gateway.engines.tensorrt.plans import Graph
from tests import graphs


def _graph(folder: Path, where: str, inside: bool = False) -> bytes:
    """A graph with a weight in another file; `inside` a branch's own graph."""
    weight = numpy_helper.from_array(np.zeros((32, 1), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", where
    node = helper.make_node("MatMul", ["features", "w"], ["score"])
    score = graphs.value("score", TensorProto.FLOAT, ["n", 1])
    if inside:
        branch = helper.make_graph([node], "b", [], [score], [weight])
        node = helper.make_node("If", ["c"], ["score"], then_branch=branch, else_branch=branch)
    inputs = [graphs.value("features", TensorProto.FLOAT, ["n", 32])]
    made = helper.make_graph([node], "g", inputs, [score], [] if inside else [weight])
    return bytes(helper.make_model(made).SerializeToString())


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_the_model_has_not_is_refused(tmp_path: Path, inside: bool) -> None:
    for where in ("weights.bin", "../../etc/passwd", "/etc/passwd"):
        graph = _graph(tmp_path, where, inside)
        with pytest.raises(EngineError, match="which is not a file of the model"):
            external_files(graph, {"model.onnx": graph})
    graph = _graph(tmp_path, "weights.bin", inside)
    files = {"model.onnx": graph, "weights.bin": b"12"}
    assert external_files(graph, files) == ("weights.bin",)


def test_the_weights_count_in_the_digest(tmp_path: Path) -> None:
    graph = _graph(tmp_path, "weights.bin")
    one, other = (
        Graph.of({"model.onnx": graph, "weights.bin": data, "more": b"x"}, "model.onnx")
        for data in (b"1", b"2")
    )
    assert list(one.beside) == ["weights.bin"]
    assert one.digest != other.digest
    path = one.write(tmp_path)
    assert path.read_bytes() == graph
    assert (tmp_path / "weights.bin").read_bytes() == b"1"


def test_a_graph_with_its_weights_inside_has_no_files(tmp_path: Path) -> None:
    graph = graphs.constant(tmp_path / "g.onnx", 1.0).read_bytes()
    assert external_files(graph, {}) == ()
    assert onnx.load_from_string(graph)


@pytest.mark.parametrize("data", [b"none", b"\xff" * 20, b"\x3a\xff\xff\x7f"])
def test_what_is_no_graph_is_said(data: bytes) -> None:
    with pytest.raises(EngineError, match="no ONNX file"):
        external_files(data, {})
