"""Deadlines, cancellation and shedding, with a model of 20 ms a row.

No test measures time: they look at outcomes, at order, and at what was computed.
"""

from typing import Any

import grpc
import pytest

from bench import models
from bench.servers import Contender
from tests.calls import Client, eventually, model_status, raw_call, request, rows_run

CODE = grpc.StatusCode
ROW = models.rows(1)


def _queued(server: Contender) -> int:
    return int(model_status(server, "slow")["queued_requests"])


def _pending(server: Contender) -> int:
    """Calls of the slow model that wait or run."""
    return int(model_status(server, "slow")["pending_requests"])


def _counts(server: Contender) -> dict[str, int]:
    counts: dict[str, int] = model_status(server, "slow")["requests"]
    return counts


def test_a_deadline_that_cannot_be_met_is_refused_and_not_computed(
    client: Client, server: Contender
) -> None:
    # What has not run within a second is put to the test instead.
    client.infer(request("slow", ROW))
    before, shed = rows_run(server, "slow"), _counts(server)["shed_deadline"]
    wanted = request("slow", ROW)
    # By the parameter, so that the client itself does not end the call first.
    wanted.parameters["timeout"].int64_param = 5_000
    code, sentence = client.refusal(wanted)
    assert code == CODE.RESOURCE_EXHAUSTED
    assert "cannot answer within 5.000 ms" in sentence
    assert rows_run(server, "slow") == before
    assert _counts(server)["shed_deadline"] == shed + 1


def test_the_lesser_of_header_and_parameter_counts(client: Client) -> None:
    wanted = request("slow", ROW)
    wanted.parameters["timeout"].int64_param = 60_000_000
    assert client.infer(wanted, timeout=5).shape == (1, 32)
    wanted.parameters["timeout"].int64_param = 1_000
    code, _ = client.refusal(wanted, timeout=5)
    assert code == CODE.RESOURCE_EXHAUSTED


def test_under_overload_nothing_is_computed_that_is_not_answered_or_late(
    client: Client, server: Contender
) -> None:
    before, counts = rows_run(server, "slow"), _counts(server)
    calls = []
    for _ in range(60):
        wanted = request("slow", ROW)
        wanted.parameters["timeout"].int64_param = 100_000
        calls.append(client.stub.ModelInfer.future(wanted, timeout=30))
    codes = [call.code() for call in calls]
    after = _counts(server)
    gained = {key: after[key] - counts[key] for key in after}
    assert set(codes) <= {CODE.OK, CODE.RESOURCE_EXHAUSTED, CODE.DEADLINE_EXCEEDED}
    assert codes.count(CODE.OK) == gained["answered"] >= 1
    assert gained["shed_deadline"] >= 1
    assert sum(gained.values()) == 60, "every request ends exactly once"
    assert rows_run(server, "slow") - before == gained["answered"] + gained["late"]


def test_a_cancelled_call_leaves_the_queue_and_is_not_computed(
    client: Client, server: Contender
) -> None:
    cancelled = _counts(server)["cancelled"]
    before = rows_run(server, "slow")
    first = client.stub.ModelInfer.future(request("slow", models.rows(8)), timeout=30)
    # It is on the lane once it has arrived and is no longer queued.
    assert eventually(lambda: _pending(server) == 1 and _queued(server) == 0)
    calls = [client.stub.ModelInfer.future(request("slow", ROW), timeout=30) for _ in range(5)]
    assert eventually(lambda: _queued(server) == 5)
    for call in calls:
        call.cancel()
    assert eventually(lambda: _counts(server)["cancelled"] == cancelled + 5)
    assert _queued(server) == 0
    assert first.result() is not None
    assert rows_run(server, "slow") == before + 8


def test_the_earliest_deadline_is_served_first(client: Client, server: Contender) -> None:
    finished: list[str] = []

    def send(name: str, rows: int, timeout_us: int) -> Any:
        wanted = request("slow", models.rows(rows))
        wanted.parameters["timeout"].int64_param = timeout_us
        call = client.stub.ModelInfer.future(wanted, timeout=30)
        call.add_done_callback(lambda _: finished.append(name))
        return call

    calls = [send("holds the lane", 10, 20_000_000)]
    assert eventually(lambda: _pending(server) == 1 and _queued(server) == 0)
    for name, timeout_us in (("third", 9_000_000), ("second", 6_000_000), ("first", 3_000_000)):
        calls.append(send(name, 1, timeout_us))
    for call in calls:
        call.result()
    assert eventually(lambda: len(finished) == 4)
    assert finished == ["holds the lane", "first", "second", "third"]


def test_a_call_that_ends_itself_at_its_deadline_is_not_counted_as_cancelled(
    client: Client, server: Contender
) -> None:
    """gRPC clients reset the stream at their deadline: that is lateness, not a change of mind."""
    before = _counts(server)
    calls = [client.stub.ModelInfer.future(request("slow", ROW), timeout=0.1) for _ in range(20)]
    codes = [call.code() for call in calls]
    assert set(codes) <= {CODE.OK, CODE.RESOURCE_EXHAUSTED, CODE.DEADLINE_EXCEEDED}
    assert eventually(lambda: sum(_counts(server).values()) == sum(before.values()) + 20)
    assert _counts(server)["cancelled"] == before["cancelled"]


@pytest.mark.parametrize("header", ["", "5", "5x", "-1m", "123456789m", "1.5S"])
def test_a_malformed_grpc_timeout_is_refused(server: Contender, header: str) -> None:
    message = request("echo", ROW).SerializeToString()
    status, sentence = raw_call(server, message, {"grpc-timeout": header})
    assert (status, "expected up to 8 digits" in sentence) == (3, True)


def test_a_time_out_of_nothing_is_a_deadline_exceeded(server: Contender) -> None:
    message = request("echo", ROW).SerializeToString()
    status, sentence = raw_call(server, message, {"grpc-timeout": "0m"})
    assert status == 4, sentence


def test_a_message_that_never_comes_ends_with_its_deadline(server: Contender) -> None:
    status, sentence = raw_call(server, None, {"grpc-timeout": "50m"})
    assert (status, "did not arrive in time" in sentence) == (4, True)
