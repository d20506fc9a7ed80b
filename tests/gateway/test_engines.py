"""Engines in Python: the conformance test, and such engines behind the data plane."""

import sys
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from bench import models
from gateway.engines import BadInput, Bucket, Buffers, DeviceLost, EngineError, Model, Tensor, find
from gateway.engines.conformance import Rows, problems
from gateway.engines.numpy_identity import NumpyLane
from gateway.packing import pack_contract
from tests import graphs
from tests.calls import connect, eventually, model_status, request
from tests.conftest import Serve

CODE = grpc.StatusCode
ECHO = Model(
    (Tensor("features", "FP32", (-1, 32)),), (Tensor("score", "FP32", (-1, 32)),), files={}
)
CONTRACT = models.IDENTITY.replace('"identity"', '"%s"')


def _rows(rows: int, length: int) -> Rows:
    return [models.rows(rows)]


def test_an_engine_that_keeps_the_contract_has_no_problems() -> None:
    assert problems(find("numpy"), ECHO, Bucket(8), _rows) == []


class Wrong(NumpyLane):
    """Breaks the contract in one way."""

    way = ""

    def buffers(self, bucket: Bucket) -> Buffers:
        if self.way == "moves":
            self._buffers.clear()
        held = super().buffers(bucket)
        if self.way == "type":
            return Buffers(tuple(a.astype(np.float64) for a in held.inputs), held.outputs)
        return held

    def run(self, bucket: Bucket, rows: int) -> None:
        if self.way == "any rows":
            rows = min(max(rows, 1), bucket.rows)
        super().run(bucket, rows)
        held = self._buffers[bucket]
        if self.way == "leaks":
            held.outputs[0][:rows] += held.inputs[0][:rows].mean()
        if self.way == "forgets":
            held.outputs[0][:] = np.random.default_rng().random()


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("moves", "moved between two questions"),
        ("type", "is float64, expected float32"),
        ("leaks", "has another answer than alone"),
        ("forgets", "have other answers the second time"),
        ("any rows", "0 rows of"),
    ],
)
def test_an_engine_that_breaks_the_contract_is_told_how(way: str, sentence: str) -> None:
    wrong = type("Wrong", (Wrong,), {"way": way})
    kept: list[NDArray[np.float32]] = []

    def open_lane(model: Model, largest: Bucket, lane: int) -> NumpyLane:
        opened: NumpyLane = wrong(model, largest)
        kept.extend(opened.buffers(largest).inputs)
        return opened

    found = problems(open_lane, ECHO, Bucket(8), _rows)
    assert any(sentence in problem for problem in found), found


def test_an_unknown_engine_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        EngineError, match="no engine 'nothing'; there are numpy, openvino, tensorrt"
    ):
        find("nothing")


def test_a_python_engine_serves_behind_the_data_plane(tmp_path: Path, serve: Serve) -> None:
    pack_contract(CONTRACT % "numpy", "echo", tmp_path)
    server = serve(tmp_path, flags=("--lanes", "2"))
    client = connect(server)
    x = models.rows(500)
    calls = [client.stub.ModelInfer.future(request("echo", r[None]), timeout=30) for r in x]
    for row, call in zip(x, calls, strict=True):
        got = np.frombuffer(call.result().raw_output_contents[0], np.float32)
        np.testing.assert_array_equal(got, row)
    assert model_status(server, "echo")["engine"].startswith("numpy ")


def test_an_engine_that_is_not_there_is_said_at_load(tmp_path: Path, serve: Serve) -> None:
    pack_contract(CONTRACT % "abacus", "echo", tmp_path)
    models.pack_identity(tmp_path, "good")
    told = model_status(serve(tmp_path), "echo")
    assert told["error"].startswith(
        "there is no engine 'abacus'; there are numpy, openvino, tensorrt"
    )


def test_what_was_judged_offline_is_refused_at_load(tmp_path: Path, serve: Serve) -> None:
    pack_contract(CONTRACT % "offline", "echo", tmp_path)
    models.pack_identity(tmp_path, "good")
    told = model_status(serve(tmp_path), "echo")
    assert told["error"].startswith(
        "this is an adapter that was judged offline; nothing serves one yet"
    )


# An engine of another package, offered by an entry point.
FRAGILE = '''
from gateway.engines import BadInput, DeviceLost
from gateway.engines.numpy_identity import NumpyLane

opened = 0

class Fragile(NumpyLane):
    """What its first number asks for: 1 bad input, 2 an error, 3 the end of the device."""

    def run(self, bucket, rows):
        wish = self.buffers(bucket).inputs[0][:rows, 0]
        if (wish == 1).any():
            raise BadInput("one is not a number here")
        if (wish == 2).any():
            raise ZeroDivisionError("two")
        if (wish == 3).any():
            raise DeviceLost("unplugged")
        super().run(bucket, rows)

def open_lane(model, largest, lane):
    return Fragile(model, largest)
'''
ENTRY = "[sluicegate.engines]\nfragile = fragile:open_lane\n"


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `fragile` on the server's path."""
    package = tmp_path / "site"
    info = package / "fragile-1.dist-info"
    info.mkdir(parents=True)
    (package / "fragile.py").write_text(FRAGILE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY)
    monkeypatch.setenv("PYTHONPATH", str(package))
    repository = tmp_path / "models"
    pack_contract(CONTRACT % "fragile", "fragile", repository)
    return repository


def _wish(number: int) -> NDArray[np.float32]:
    x = np.zeros((1, 32), np.float32)
    x[0, 0] = number
    return x


def test_an_engines_errors_are_told_by_their_kind(fragile: Path, serve: Serve) -> None:
    client = connect(serve(fragile))
    code, told = client.refusal(request("fragile", _wish(1)))
    assert (code, told) == (
        CODE.INVALID_ARGUMENT,
        "model 'fragile' refused the input: one is not a number here",
    )
    code, told = client.refusal(request("fragile", _wish(2)))
    assert (code, "ZeroDivisionError: two" in told) == (CODE.INTERNAL, True)
    np.testing.assert_array_equal(client.infer(request("fragile", _wish(7))), _wish(7))


def test_a_lane_that_dies_is_taken_out_and_opened_again(fragile: Path, serve: Serve) -> None:
    server = serve(fragile, flags=("--lanes", "2"))
    client = connect(server)
    code, told = client.refusal(request("fragile", _wish(3)))
    assert (code, "unplugged" in told) == (CODE.INTERNAL, True)
    # The other lane goes on.
    np.testing.assert_array_equal(client.infer(request("fragile", _wish(7))), _wish(7))
    assert eventually(lambda: model_status(server, "fragile")["lost_lanes"] == 0)
    np.testing.assert_array_equal(client.infer(request("fragile", _wish(8))), _wish(8))


def test_errors_say_their_kind() -> None:
    kinds = [error.kind for error in (EngineError, BadInput, DeviceLost)]
    assert kinds == ["failed", "bad_input", "device_lost"]


def test_a_provider_that_the_runtime_lacks_is_said_at_load(tmp_path: Path, serve: Serve) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    graphs.pack_constant(tmp_path, "m", 1.0)
    models.pack_identity(tmp_path, "good")
    server = serve(tmp_path, '[model.m]\nprovider = "cuda"\n')
    assert "built without CUDA" in model_status(server, "m")["error"]


def test_openvino_keeps_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is optional and not installed")
    graph = graphs.constant(tmp_path / "g.onnx", 3.0).read_bytes()
    model = Model(
        (Tensor("features", "FP32", (-1, 32)),),
        (Tensor("score", "FP32", (-1, 1)),),
        {"model.onnx": graph},
        "model.onnx",
    )
    assert problems(find("openvino"), model, Bucket(8), _rows) == []
    assert sys.modules["openvino"]
