"""The engine behind the data plane, on the doubles: calls, texts, a device that dies."""

import time
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest

from bench import models
from gateway.packing import Text, Wishes, pack_files, pack_graph
from gateway.wire import open_inference_pb2 as pb
from tests.calls import connect, eventually, model_status, request
from tests.conftest import Serve
from tests.graphs import token_sum, tokenizer
from tests.tensorrt.conftest import Machine
from tests.tensorrt.programs import toml

CONFIG = "[model.m]\nmax_batch = 8\n"
DOUBLE = "tensorrt 11.4.0.106 on driver double, CUDA graphs"


@pytest.fixture
def on_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Servers that the test starts run on the doubles."""
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    return machine


def _pack(repository: Path, said: str = "") -> Path:
    repository.mkdir(exist_ok=True)
    graph = repository.parent / "g.onnx"
    graph.write_bytes(models.perceptron().SerializeToString())
    wishes = Wishes(engine="tensorrt", files={"engine.toml": toml(said)})
    return pack_graph(graph, "m", repository, wishes=wishes).path


def test_callers_rows_go_through_the_gpu_and_home(
    on_machine: Machine, tmp_path: Path, serve: Serve
) -> None:
    packed = _pack(tmp_path / "models")
    server = serve(tmp_path / "models", CONFIG, ("--lanes", "2"))
    told = model_status(server, "m")
    assert told["engine"] == DOUBLE
    assert told["row_dependence"] is None
    client, x = connect(server), models.rows(300)
    calls = [client.stub.ModelInfer.future(request("m", r[None]), timeout=30) for r in x]
    got = [np.frombuffer(c.result().raw_output_contents[0], np.float32) for c in calls]
    session = onnxruntime.InferenceSession(
        packed / "model.onnx", providers=["CPUExecutionProvider"]
    )
    want = session.run(None, {"features": x})[0]
    np.testing.assert_allclose(np.concatenate(got), want[:, 0], 1e-4, 1e-5)


def test_texts_of_any_length_run_in_the_buckets_that_hold_them(
    on_machine: Machine, tmp_path: Path, serve: Serve
) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    graph = token_sum(tmp_path / "words.onnx")
    text = Text(tokenizer(), max_tokens=40, max_bytes=2048)
    pack_graph(graph, "m", repository, wishes=Wishes(text=text, engine="tensorrt"))
    client = connect(serve(repository, CONFIG))
    for words in (1, 5, 16, 17, 38):
        said = b"b " * words
        call = pb.ModelInferRequest(model_name="m")
        call.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
        call.raw_input_contents.append(len(said).to_bytes(4, "little") + said)
        # [CLS] is 2, [SEP] 3, b is 5.
        assert float(client.infer(call)[0, 0]) == 5 + 5 * words


def test_a_lost_device_is_taken_out_and_the_cpu_answers(
    on_machine: Machine, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pack(tmp_path / "models", "cpu = true")
    monkeypatch.setenv("DRIVER_DOUBLE_LOSE_AFTER", "400")
    server = serve(tmp_path / "models", CONFIG)
    client, x = connect(server), models.rows(1)
    assert eventually(lambda: model_status(server, "m")["engine"].startswith("onnxruntime"))
    # The CPU answers until the GPU takes over, the GPU until it dies.
    codes: set[grpc.StatusCode] = set()
    end = time.monotonic() + 60
    while not codes and time.monotonic() < end:
        try:
            client.infer(request("m", x))
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes == {grpc.StatusCode.INTERNAL}
    assert eventually(lambda: model_status(server, "m")["lost_lanes"] == 0)
    assert eventually(lambda: "the GPU is lost" in (model_status(server, "m")["engine_note"] or ""))
    assert model_status(server, "m")["engine"].startswith("onnxruntime")
    assert client.infer(request("m", x)).shape == (1, 1)


def test_a_plan_is_built_beside_traffic_and_people_see_who_answers(
    on_machine: Machine, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pack(tmp_path / "models", "cpu = true")
    monkeypatch.setenv("TENSORRT_DOUBLE_BUILD_SECONDS", "3")
    server = serve(tmp_path / "models", CONFIG, ("--lanes", "2"))
    told = model_status(server, "m")
    assert told["engine"].endswith("on the CPU")
    assert told["engine_note"].startswith("a plan for driver double is being built")
    client, x = connect(server), models.rows(7)
    want = client.infer(request("m", x))
    end = time.monotonic() + 60
    while model_status(server, "m")["engine"] != DOUBLE and time.monotonic() < end:
        np.testing.assert_allclose(client.infer(request("m", x)), want, 1e-4, 1e-5)
    assert model_status(server, "m")["engine"] == DOUBLE
    assert model_status(server, "m")["engine_note"] is None
    np.testing.assert_allclose(client.infer(request("m", x)), want, 1e-4, 1e-5)


def test_the_operators_table_reaches_the_engine(
    on_machine: Machine, tmp_path: Path, serve: Serve
) -> None:
    _pack(tmp_path / "models")
    server = serve(tmp_path / "models", CONFIG + "[engines.tensorrt]\ncuda_graphs = false\n")
    assert model_status(server, "m")["engine"] == DOUBLE.replace("CUDA", "without CUDA")


def test_a_machine_without_a_gpu_serves_other_models_and_says_why(
    on_machine: Machine, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER_DOUBLE_NO_DEVICE", "1")
    _pack(tmp_path / "models")
    models.pack_identity(tmp_path / "models", "good")
    server = serve(tmp_path / "models", CONFIG)
    assert model_status(server, "m")["error"].startswith("there is no GPU: the NVIDIA driver")
    assert model_status(server, "good")["engine"].startswith("identity")


def test_a_packed_plan_comes_with_the_model(on_machine: Machine, tmp_path: Path) -> None:
    path = _pack(tmp_path / "models")
    files = {each.name: each.read_bytes() for each in path.iterdir()}
    packed = pack_files(files | {"my.plan": b"x"}, "m", tmp_path / "models")
    assert (packed.version, packed.new) == (2, True)
    assert (packed.path / "my.plan").read_bytes() == b"x"
