"""ModelStreamInfer: many requests over one call."""

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from bench import models
from gateway.wire import open_inference_pb2 as pb
from tests.calls import Client, floats, request


def _feed(requests: "queue.Queue[Any]") -> Iterator[Any]:
    while (item := requests.get()) is not None:
        yield item


def test_answers_come_in_the_order_of_the_requests(client: Client) -> None:
    x = models.rows(300)
    asked = (request("echo", row[None], id=str(n)) for n, row in enumerate(x))
    answers = list(client.stub.ModelStreamInfer(asked, timeout=30))
    assert [a.infer_response.id for a in answers] == [str(n) for n in range(300)]
    got = np.concatenate([floats(a.infer_response) for a in answers])
    np.testing.assert_array_equal(got, x)


def test_a_request_that_fails_is_told_so_and_the_stream_goes_on(client: Client) -> None:
    good = request("echo", models.rows(1), id="good")
    bad = request("nobody", models.rows(1), id="bad")
    first, second, third = client.stub.ModelStreamInfer(iter([good, bad, good]), timeout=10)
    assert (first.error_message, third.error_message) == ("", "")
    assert "there is no model 'nobody'" in second.error_message
    assert second.infer_response.id == "bad"


def test_an_answer_does_not_wait_for_the_next_request(client: Client) -> None:
    requests: queue.Queue[Any] = queue.Queue()
    answers = client.stub.ModelStreamInfer(_feed(requests), timeout=30)
    for turn in range(20):
        requests.put(request("echo", models.rows(1), id=str(turn)))
        assert next(answers).infer_response.id == str(turn)
    requests.put(None)
    assert next(answers, None) is None


def test_the_streams_deadline_holds_for_each_request(client: Client) -> None:
    requests: queue.Queue[Any] = queue.Queue()
    answers = client.stub.ModelStreamInfer(_feed(requests), timeout=0.1)
    # 20 ms a row: six of them do not fit into what is left.
    requests.put(request("slow", models.rows(6)))
    with pytest.raises(grpc.RpcError) as late:
        for answer in answers:
            assert "cannot answer within" in answer.error_message
    requests.put(None)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_broken_message_ends_the_stream_with_a_sentence(client: Client) -> None:
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    call = client.channel.stream_stream(method)
    answers = [
        pb.ModelStreamInferResponse.FromString(a) for a in call(iter([b"\xff\xff"]), timeout=5)
    ]
    assert "not a ModelInferRequest" in answers[0].error_message
