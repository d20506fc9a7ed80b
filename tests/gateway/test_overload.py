"""What happens when not everybody can be answered."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bench import models
from bench.servers import Contender
from gateway.packing import pack_contract
from tests.calls import Client, connect, floats, model_status, request
from tests.conftest import Serve

CODE = grpc.StatusCode

FALLBACK = (
    models.DELAY % (0, 20_000)
    + f"[fallback]\noutputs = {{ score = [{', '.join(['0.25'] * 32)}] }}\n"
)


def _prioritised(level: int) -> Any:
    message = request("slow", models.rows(1))
    message.parameters["priority"].uint64_param = level
    return message


def test_an_oversize_request_is_run_in_parts_and_answered_whole(client: Client) -> None:
    x = models.rows(2000)
    np.testing.assert_array_equal(client.infer(request("echo", x)), x)


def test_what_was_shed_is_told_when_to_try_again(client: Client) -> None:
    calls = [
        client.stub.ModelInfer.future(request("slow", models.rows(1)), timeout=0.2)
        for _ in range(40)
    ]
    shed = [c for c in calls if c.code() == CODE.RESOURCE_EXHAUSTED]
    assert shed
    for call in shed:
        pushback = dict(call.trailing_metadata())["grpc-retry-pushback-ms"]
        assert 0 < int(pushback) < 1000


def test_what_can_never_be_met_is_told_not_to_try_again(client: Client) -> None:
    # 80 ms; what has not been measured within a second is put to the test instead.
    client.infer(request("slow", models.rows(4)))
    call = client.stub.ModelInfer.future(request("slow", models.rows(4)), timeout=0.05)
    assert call.code() == CODE.RESOURCE_EXHAUSTED
    assert dict(call.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"


def _flood(client: Client, levels: list[int], timeout: float) -> dict[int, list[Any]]:
    codes: dict[int, list[Any]] = {level: [] for level in levels}
    calls = [
        (level, client.stub.ModelInfer.future(_prioritised(level), timeout=timeout))
        for level in levels * 20
    ]
    for level, call in calls:
        codes[level].append(call.code())
    return codes


def test_what_matters_more_is_answered_when_not_all_can_be(tmp_path: Path, serve: Serve) -> None:
    models.pack_delay(tmp_path, "slow", 0, 60_000)
    server = serve(tmp_path)
    # 20 of 60 ms each fit into the deadline, also on a machine that others use; not 40.
    codes = _flood(connect(server), [8, 2], timeout=1.8)
    important, other = codes[2].count(CODE.OK), codes[8].count(CODE.OK)
    assert important >= 17, codes
    assert other < important
    assert model_status(server, "slow")["requests"]["shed_priority"] > 0


def test_a_fallback_answers_in_place_of_an_error_and_says_so(tmp_path: Path, serve: Serve) -> None:
    pack_contract(FALLBACK, "slow", tmp_path)
    server = serve(tmp_path)
    client = connect(server)
    calls = [
        client.stub.ModelInfer.future(request("slow", models.rows(2)), timeout=0.3)
        for _ in range(20)
    ]
    answers = [call.result() for call in calls]
    fallbacks = [a for a in answers if "sluicegate_fallback" in a.parameters]
    assert 0 < len(fallbacks) < len(answers)
    for answer in fallbacks:
        reason = answer.parameters["sluicegate_fallback"].string_param
        assert reason in ("shed_deadline", "expired_in_queue")
        assert answer.parameters["sluicegate_digest"].string_param.startswith("sha256:")
        np.testing.assert_array_equal(floats(answer), np.full((2, 32), 0.25, np.float32))
    told = model_status(server, "slow")
    shed = told["requests"]["shed_deadline"] + told["requests"]["expired_in_queue"]
    assert told["fallbacks"] == len(fallbacks) == shed


def _standing_queue(server: Contender, seconds: float) -> list[Any]:
    client = connect(server)
    calls = [
        client.stub.ModelInfer.future(request("slow", models.rows(1)))
        for _ in range(int(seconds * 50))
    ]
    return [call.code() for call in calls]


def test_a_standing_queue_of_requests_without_a_deadline_is_cut(
    tmp_path: Path, serve: Serve
) -> None:
    models.pack_delay(tmp_path, "slow", 0, 20_000)
    server = serve(tmp_path, config="[model.slow]\nobjective_ms = 1000\n")
    codes = _standing_queue(server, 3)
    told = model_status(server, "slow")["requests"]
    # Three seconds' work at once: one second's fits the objective, of the rest nobody waits for
    # longer than that.
    assert codes.count(CODE.OK) == told["answered"] > 10
    assert told["shed_deadline"] + told["shed_overload"] >= 90
