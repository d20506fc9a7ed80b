"""Start, readiness, failures at load, drain; what an operator sees."""

import json
import os
import signal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import models
from bench.servers import Contender, free_port
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from tests.calls import (
    Client,
    connect,
    eventually,
    floats,
    model_status,
    request,
    sluicegate,
    status,
)
from tests.conftest import Serve

CODE = grpc.StatusCode


def _get(server: Contender, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_the_http_door_tells_health_metrics_and_status(server: Contender, client: Client) -> None:
    client.infer(request("tabular", models.rows(1)))
    assert _get(server, "/health/live") == (200, "live\n")
    assert _get(server, "/health/ready") == (200, "ready\n")
    code, text = _get(server, "/metrics")
    assert code == 200
    assert 'nv_inference_count_total{model="tabular",version="1"}' in text
    assert 'outcome="shed_deadline"' in text
    assert text.endswith("# EOF\n")
    code, text = _get(server, "/nothing")
    assert (code, "/status" in text) == (404, True)
    assert status(server)["ready"] is True


def test_a_model_with_a_flipped_byte_is_left_out_and_its_neighbour_serves(
    tmp_path: Path, serve: Serve
) -> None:
    models.pack_perceptron(tmp_path, "good")
    bad = models.pack_perceptron(tmp_path, "bad").path / "model.onnx"
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    server = serve(tmp_path)
    client = connect(server)
    code, sentence = client.refusal(request("bad", models.rows(1)))
    assert code == CODE.UNAVAILABLE
    assert "the file was changed" in sentence
    assert client.infer(request("good", models.rows(1))).shape == (1, 1)
    ready = _get(server, "/health/ready")
    assert ready[0] == 503
    assert "model 'bad' is not loaded" in ready[1]
    assert not client.stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert model_status(server, "bad")["state"] == "failed"
    # The error stays, however often it is asked for.
    assert _get(server, "/health/ready") == ready


def test_the_newest_version_is_served_and_others_are_named(tmp_path: Path, serve: Serve) -> None:
    models.pack_delay(tmp_path, "m", 0, 1)
    models.pack_delay(tmp_path, "m", 0, 2)
    client = connect(serve(tmp_path))
    answer = client.stub.ModelInfer(request("m", models.rows(1)), timeout=5)
    assert answer.model_version == "2"
    wanted = request("m", models.rows(1), model_version="1")
    assert client.refusal(wanted)[1] == "model 'm' version 1 is not live (unloaded); version 2 is"
    wanted = request("m", models.rows(1), model_version="7")
    assert client.refusal(wanted)[1] == "model 'm' has no version '7'; version 2 is live"


def test_sigterm_lets_calls_in_flight_end_and_refuses_new_connections(
    tmp_path: Path, serve: Serve
) -> None:
    models.pack_delay(tmp_path, "slow", 0, 50_000)
    server = serve(tmp_path)
    client = connect(server)
    calls = [
        client.stub.ModelInfer.future(request("slow", models.rows(1)), timeout=30) for _ in range(6)
    ]
    assert eventually(lambda: model_status(server, "slow")["pending_requests"] == 6)
    os.kill(server.pid, signal.SIGTERM)
    for call in calls:
        assert floats(call.result()).shape == (1, 32)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        late = Client(channel, stubs.GRPCInferenceServiceStub(channel))
        assert late.refusal(request("slow", models.rows(1)), timeout=5)[0] == CODE.UNAVAILABLE


def test_a_lame_duck_serves_and_says_that_it_will_not(tmp_path: Path, serve: Serve) -> None:
    models.pack_identity(tmp_path, "echo")
    server = serve(tmp_path, config="lame_duck_seconds = 60\n")
    client = connect(server)
    health = health_pb2_grpc.HealthStub(client.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    os.kill(server.pid, signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not client.stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    # New connections too: balancers take their time.
    assert connect(server).infer(request("echo", models.rows(1))).shape == (1, 32)
    os.kill(server.pid, signal.SIGTERM)
    assert eventually(lambda: not Path(f"/proc/{server.pid}").exists() or _is_zombie(server.pid))


def _is_zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_compat_triton_speaks_as_tritons_tools_expect(tmp_path: Path, serve: Serve) -> None:
    models.pack_delay(tmp_path, "slow", 0, 20_000)
    client = connect(serve(tmp_path, config='compat = "triton"\n'))
    assert client.stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5).name == "triton"
    calls = [
        client.stub.ModelInfer.future(request("slow", models.rows(1)), timeout=0.3)
        for _ in range(40)
    ]
    codes = {call.code() for call in calls}
    assert CODE.UNAVAILABLE in codes
    assert CODE.RESOURCE_EXHAUSTED not in codes


def test_settings_of_a_model_are_used(tmp_path: Path, serve: Serve) -> None:
    models.pack_identity(tmp_path, "echo")
    server = serve(tmp_path, config="[model.echo]\nmax_batch = 4\n")
    x = models.rows(10)
    np.testing.assert_array_equal(connect(server).infer(request("echo", x)), x)
    assert max(rows for rows, _ in model_status(server, "echo")["batch_sizes"]) == 4


def test_a_full_queue_sheds(tmp_path: Path, serve: Serve) -> None:
    models.pack_delay(tmp_path, "slow", 0, 50_000)
    config = "[model.slow]\nmax_batch = 2\nqueue_rows = 2\nobjective_ms = 60000\n"
    server = serve(tmp_path, config=config)
    client = connect(server)
    calls = [client.stub.ModelInfer.future(request("slow", models.rows(1))) for _ in range(12)]
    codes = [call.code() for call in calls]
    assert codes.count(CODE.RESOURCE_EXHAUSTED) >= 1
    assert codes.count(CODE.OK) + codes.count(CODE.RESOURCE_EXHAUSTED) == 12
    assert model_status(server, "slow")["requests"]["shed_queue_full"] >= 1


REFUSED_STARTS: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "unsigned": (("--models", "{good}"), "", 1, "--allow-unsigned"),
    "no models named": (("--allow-unsigned",), "", 2, "--models DIR"),
    "no such folder": (("--models", "{good}/x", "--allow-unsigned"), "", 2, "No such file"),
    "empty folder": (("--models", "{empty}", "--allow-unsigned"), "", 1, "holds no model"),
    "unknown key": (
        ("--config", "{config}", "--models", "{good}", "--allow-unsigned"),
        "io_thread = 2",
        2,
        "io_thread",
    ),
    "not a door": (
        ("--models", "{good}", "--allow-unsigned", "--grpc", "nonsense"),
        "",
        2,
        "'nonsense' is not HOST:PORT",
    ),
}


@pytest.mark.parametrize("case", REFUSED_STARTS)
def test_a_start_that_cannot_be_has_its_exit_code_and_a_sentence(
    tmp_path: Path, repository: Path, case: str
) -> None:
    arguments, config, code, sentence = REFUSED_STARTS[case]
    places = {"good": repository, "empty": tmp_path / "empty", "config": tmp_path / "c.toml"}
    places["empty"].mkdir()
    places["config"].write_text(config)
    doors = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    done = sluicegate("serve", "--json", *doors, *(a.format(**places) for a in arguments))
    assert done.returncode == code, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["exit_code"] == code
    assert sentence in told["error"]
    assert sentence in " ".join(done.stderr.split())


def test_a_port_in_use_is_said_with_exit_code_3(repository: Path, server: Contender) -> None:
    door = f"127.0.0.1:{server.port}"
    done = sluicegate("serve", "--models", str(repository), "--allow-unsigned", "--grpc", door)
    assert done.returncode == 3
    assert f"cannot listen on {door}" in done.stderr


def test_status_of_a_running_and_of_an_absent_server(server: Contender) -> None:
    done = sluicegate("status", "--http", f"127.0.0.1:{server.http_port}", "--json")
    assert done.returncode == 0
    assert {m["name"] for m in json.loads(done.stdout)["models"]} == {"echo", "slow", "tabular"}
    assert "tabular" in sluicegate("status", "--http", f"127.0.0.1:{server.http_port}").stdout
    absent = sluicegate("status", "--http", f"127.0.0.1:{free_port()}")
    assert (absent.returncode, "no server answers" in absent.stderr) == (3, True)
