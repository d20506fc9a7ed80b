"""Models that come, go and come back while requests are answered."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench import models
from bench.servers import Contender
from gateway.packing import Wishes
from gateway.wire import open_inference_pb2 as pb
from tests import graphs
from tests.calls import Client, connect, eventually, floats, request, status
from tests.conftest import Serve

CODE = grpc.StatusCode


def load(client: Client, name: str, version: int | None = None) -> None:
    asked = pb.RepositoryModelLoadRequest(model_name=name)
    if version:
        asked.parameters["version"].int64_param = version
    client.stub.RepositoryModelLoad(asked, timeout=30)


def index(client: Client) -> dict[str, tuple[str, str]]:
    told = client.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5)
    return {f"{m.name}/{m.version}": (m.state, m.reason) for m in told.models}


def answered(client: Client, name: str = "m", **fields: Any) -> tuple[str, float]:
    answer = client.stub.ModelInfer(request(name, models.rows(1), **fields), timeout=5)
    return answer.model_version, floats(answer).item()


def states(server: Contender) -> dict[str, str]:
    return {f"{m['name']}/{m['version']}": m["state"] for m in status(server)["models"]}


def test_a_new_version_is_loaded_beside_the_live_one_and_takes_over(
    tmp_path: Path, serve: Serve
) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    server = serve(tmp_path)
    client = connect(server)
    assert answered(client) == ("1", 1.0)
    graphs.pack_constant(tmp_path, "m", 2.0)
    assert answered(client) == ("1", 1.0)
    load(client, "m")
    assert answered(client) == ("2", 2.0)
    assert states(server) == {"m/1": "standby", "m/2": "live"}


def test_a_rollback_goes_to_the_version_that_stayed_resident(tmp_path: Path, serve: Serve) -> None:
    for number in (1.0, 2.0):
        graphs.pack_constant(tmp_path, "m", number)
    server = serve(tmp_path)
    client = connect(server)
    load(client, "m", 1)
    assert answered(client) == ("1", 1.0)
    assert states(server) == {"m/1": "live", "m/2": "standby"}
    # Its directory is not needed any more: what is resident was verified.
    (tmp_path / "m/2/model.onnx").unlink()
    load(client, "m", 2)
    assert answered(client) == ("2", 2.0)


def test_what_was_replaced_twice_is_freed(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    server = serve(tmp_path)
    client = connect(server)
    for number in (2.0, 3.0, 4.0):
        graphs.pack_constant(tmp_path, "m", number)
        load(client, "m")
        assert answered(client) == (str(int(number)), number)
    expected = {"m/1": "unloaded", "m/2": "unloaded", "m/3": "standby", "m/4": "live"}
    assert eventually(lambda: states(server) == expected), states(server)


def test_a_failed_load_leaves_the_old_version_and_stays_visible(
    tmp_path: Path, serve: Serve
) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    server = serve(tmp_path)
    client = connect(server)
    broken = graphs.pack_constant(tmp_path, "m", 2.0).path / "model.onnx"
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(grpc.RpcError) as refused:
        load(client, "m")
    assert refused.value.code() == CODE.INTERNAL
    assert "version 2: 'model.onnx' has" in refused.value.details()
    assert answered(client) == ("1", 1.0)
    for _ in range(2):
        state, reason = index(client)["m/2"]
        assert (state, "'model.onnx' has" in reason) == ("UNAVAILABLE", True)
    assert status(server)["ready"]
    assert client.stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready


def test_an_unloaded_model_is_gone_until_it_is_loaded(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    graphs.pack_constant(tmp_path, "other", 7.0)
    client = connect(serve(tmp_path))
    client.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="m"), timeout=5)
    code, sentence = client.refusal(request("m", models.rows(1)))
    assert (code, sentence) == (
        CODE.UNAVAILABLE,
        "model 'm' is not loaded: no version of it is loaded",
    )
    assert not client.stub.ModelReady(pb.ModelReadyRequest(name="m"), timeout=5).ready
    assert eventually(lambda: index(client)["m/1"] == ("UNAVAILABLE", "unloaded"))
    assert answered(client, "other") == ("1", 7.0)
    load(client, "m")
    assert answered(client) == ("1", 1.0)


def test_what_is_not_in_the_repository_is_not_found(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    client = connect(serve(tmp_path))
    for name, version, sentence in (
        ("nobody", None, "holds no model 'nobody'"),
        ("m", 9, "holds no version 9 of model 'm'"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            load(client, name, version)
        assert refused.value.code() == CODE.NOT_FOUND
        assert sentence in refused.value.details()


def test_a_load_that_would_change_the_contract_is_refused(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    client = connect(serve(tmp_path))
    asked = pb.RepositoryModelLoadRequest(model_name="m")
    asked.parameters["config"].string_param = json.dumps({"max_batch_size": 1})
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.RepositoryModelLoad(asked, timeout=5)
    assert refused.value.code() == CODE.INVALID_ARGUMENT
    assert "would change the model as it was packed" in refused.value.details()


def test_loading_by_call_can_be_switched_off(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    client = connect(serve(tmp_path, config='repository_calls = "off"\n'))
    with pytest.raises(grpc.RpcError) as refused:
        load(client, "m")
    assert refused.value.code() == CODE.PERMISSION_DENIED


def test_several_versions_are_live_if_the_settings_say_so(tmp_path: Path, serve: Serve) -> None:
    for number in (1.0, 2.0, 3.0):
        graphs.pack_constant(tmp_path, "m", number)
    client = connect(serve(tmp_path, config="[model.m]\nversions = [1, 3]\n"))
    assert answered(client) == ("3", 3.0)
    assert answered(client, model_version="1") == ("1", 1.0)
    code, sentence = client.refusal(request("m", models.rows(1), model_version="2"))
    assert code == CODE.UNAVAILABLE
    assert sentence == "model 'm' version 2 is not live (unloaded); versions 1, 3 are"
    told = client.stub.ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=5)
    assert list(told.versions) == ["1", "3"]


def test_a_new_version_is_found_by_looking(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    client = connect(serve(tmp_path, config="watch_seconds = 1\n"))
    graphs.pack_constant(tmp_path, "m", 2.0)
    assert eventually(lambda: answered(client) == ("2", 2.0))


def test_sighup_reads_settings_anew_and_looks_for_versions(tmp_path: Path, serve: Serve) -> None:
    graphs.pack_constant(tmp_path, "m", 1.0)
    server = serve(tmp_path, config="[model.m]\nqueue_rows = 256\n")
    client = connect(server)
    config = tmp_path / "sluicegate.toml"
    graphs.pack_constant(tmp_path, "m", 2.0)
    config.write_text('[model.m]\nversions = "all"\n')
    os.kill(server.pid, signal.SIGHUP)
    assert eventually(lambda: answered(client) == ("2", 2.0))
    assert states(server) == {"m/1": "live", "m/2": "live"}
    # A file that is wrong changes nothing, and the server goes on.
    config.write_text("nonsense = 1\n")
    os.kill(server.pid, signal.SIGHUP)
    assert answered(client) == ("2", 2.0)


def test_swaps_under_load_fail_nobody_and_mix_nothing(tmp_path: Path, serve: Serve) -> None:
    """Callers go on without a break; each answer is wholly of the version that it names."""
    versions = 12
    for number in range(1, versions + 1):
        graphs.pack_constant(tmp_path, "m", float(number))
    server = serve(tmp_path, config="[model.m]\nversions = [1]\n")
    client = connect(server)
    stop = threading.Event()
    seen: list[set[tuple[str, float]]] = []
    failed: list[Any] = []

    def call() -> None:
        mine: set[tuple[str, float]] = set()
        x = models.rows(5)
        while not stop.is_set():
            try:
                answer = client.stub.ModelInfer(request("m", x), timeout=10)
                mine |= {(answer.model_version, value) for value in floats(answer)[:, 0].tolist()}
            except grpc.RpcError as error:
                failed.append(error)
        seen.append(mine)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for version in range(2, versions + 1):
        load(client, "m", version)
        time.sleep(0.01)
    stop.set()
    for caller in callers:
        caller.join()
    assert not failed
    pairs = set().union(*seen)
    assert pairs == {(str(n), float(n)) for n in range(1, versions + 1)}


def test_a_version_that_was_rolled_back_is_not_taken_up_again_by_looking(
    tmp_path: Path, serve: Serve
) -> None:
    for number in (1.0, 2.0):
        graphs.pack_constant(tmp_path, "m", number)
    graphs.pack_constant(tmp_path, "other", 1.0)
    client = connect(serve(tmp_path, config="watch_seconds = 1\n"))
    load(client, "m", 1)
    graphs.pack_constant(tmp_path, "other", 2.0, Wishes())
    assert eventually(lambda: answered(client, "other") == ("2", 2.0))
    assert answered(client) == ("1", 1.0)
