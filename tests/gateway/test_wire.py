"""What a client of the Open Inference Protocol sees."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import models
from bench.servers import Contender
from gateway.wire import open_inference_pb2 as pb
from tests.calls import Client, floats, model_status, raw_call, request

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def offline(repository: Path) -> Any:
    return onnxruntime.InferenceSession(str(repository / "tabular/1/model.onnx"))


def test_rows_are_decided_as_onnx_runtime_decides_them_offline(
    client: Client, offline: Any
) -> None:
    for count in (1, 2, 63, 64, 256):
        x = models.rows(count, seed=count)
        (expected,) = offline.run(["score"], {"features": x})
        np.testing.assert_allclose(client.infer(request("tabular", x)), expected, rtol=1e-5)


def test_typed_contents_and_raw_bytes_give_the_same_answer(client: Client) -> None:
    x = models.rows(3)
    typed = pb.ModelInferRequest(model_name="tabular")
    tensor = typed.inputs.add(name="features", datatype="FP32", shape=x.shape)
    tensor.contents.fp32_contents.extend(x.ravel().tolist())
    np.testing.assert_array_equal(client.infer(typed), client.infer(request("tabular", x)))


def test_an_answer_names_model_version_id_and_digest(client: Client, server: Contender) -> None:
    answer = client.stub.ModelInfer(request("tabular", models.rows(2), id="größe-7"), timeout=5)
    assert (answer.model_name, answer.model_version, answer.id) == ("tabular", "1", "größe-7")
    digest = answer.parameters["sluicegate_digest"].string_param
    assert digest == model_status(server, "tabular")["digest"]
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("score", "FP32", [2, 1])


def test_only_the_requested_outputs_are_sent(client: Client) -> None:
    wanted = request("echo", models.rows(1))
    wanted.outputs.add(name="score")
    assert [o.name for o in client.stub.ModelInfer(wanted, timeout=5).outputs] == ["score"]


def test_many_concurrent_callers_each_get_their_own_rows(client: Client) -> None:
    x = models.rows(2000)
    calls = [client.stub.ModelInfer.future(request("echo", row[None]), timeout=30) for row in x]
    for row, call in zip(x, calls, strict=True):
        np.testing.assert_array_equal(floats(call.result())[0], row)


def test_metadata_and_config_tell_the_tensors(client: Client) -> None:
    told = client.stub.ModelMetadata(pb.ModelMetadataRequest(name="tabular"), timeout=5)
    assert (told.name, list(told.versions), told.platform) == (
        "tabular",
        ["1"],
        "onnxruntime_onnx",
    )
    assert [(t.name, t.datatype, list(t.shape)) for t in told.inputs] == [
        ("features", "FP32", [-1, 32])
    ]
    config = client.stub.ModelConfig(pb.ModelConfigRequest(name="tabular"), timeout=5).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (256, [32])
    server = client.stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    assert server.name == "sluicegate"


def test_live_and_ready_are_true_and_an_unknown_model_is_not_ready(client: Client) -> None:
    assert client.stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    assert client.stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    ready = {
        name: client.stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=5).ready
        for name in ("tabular", "nobody")
    }
    assert ready == {"tabular": True, "nobody": False}


def test_health_answers_for_server_and_models(client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)

    def ask(service: str) -> Any:
        return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status

    serving = health_pb2.HealthCheckResponse.SERVING
    assert ask("") == ask("inference.GRPCInferenceService") == ask("tabular") == serving
    with pytest.raises(grpc.RpcError) as refused:
        ask("nobody")
    assert refused.value.code() == CODE.NOT_FOUND


def _bad(**changes: Any) -> Any:
    """A good request of two rows with parts replaced; None takes a part away."""
    good = request("tabular", models.rows(2))
    tensor = good.inputs[0]
    for key, value in changes.items():
        if key == "shape":
            del tensor.shape[:]
            tensor.shape.extend(value)
        elif key in ("name", "datatype"):
            setattr(tensor, key, value)
        elif key == "raw":
            del good.raw_input_contents[:]
            good.raw_input_contents.extend(value)
        elif key == "timeout":
            good.parameters["timeout"].CopyFrom(value)
        else:
            setattr(good, key, value)
    return good


BAD: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "unknown model": ({"model_name": "nobody"}, CODE.NOT_FOUND, "no model 'nobody'"),
    "no model": ({"model_name": ""}, CODE.INVALID_ARGUMENT, "model_name is empty"),
    "unknown version": ({"model_version": "9"}, CODE.NOT_FOUND, "no version '9'"),
    "wrong name": ({"name": "x"}, CODE.INVALID_ARGUMENT, "no input 'x'"),
    "wrong type": ({"datatype": "FP64"}, CODE.INVALID_ARGUMENT, "sent as 'FP64'"),
    "wrong rank": ({"shape": [64]}, CODE.INVALID_ARGUMENT, "1 dimensions"),
    "wrong shape": ({"shape": [2, 31]}, CODE.INVALID_ARGUMENT, "takes [-1, 32]"),
    "negative shape": ({"shape": [-2, 32]}, CODE.INVALID_ARGUMENT, "shape [-2, 32]"),
    "empty batch": ({"shape": [0, 32], "raw": [b""]}, CODE.INVALID_ARGUMENT, "has no rows"),
    "too many rows": ({"shape": [16_385, 32]}, CODE.INVALID_ARGUMENT, "at most 16384"),
    "absurd rows": ({"shape": [2**62, 32]}, CODE.INVALID_ARGUMENT, "at most 16384"),
    "short raw": ({"raw": [b"123"]}, CODE.INVALID_ARGUMENT, "3 raw bytes"),
    "no content": ({"raw": []}, CODE.INVALID_ARGUMENT, "neither contents nor raw"),
    "two raws": ({"raw": [b"", b""]}, CODE.INVALID_ARGUMENT, "2 raw_input_contents"),
    "negative time-out": (
        {"timeout": pb.InferParameter(int64_param=-1)},
        CODE.INVALID_ARGUMENT,
        "'timeout' must be",
    ),
    "time-out in words": (
        {"timeout": pb.InferParameter(string_param="soon")},
        CODE.INVALID_ARGUMENT,
        "'timeout' must be",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_sentence_and_its_neighbours_are_answered(
    client: Client, case: str
) -> None:
    """The neighbours go to the model that the bad request is meant for."""
    changes, code, sentence = BAD[case]
    x = models.rows(20)
    expected = client.infer(request("tabular", x))
    before = [client.stub.ModelInfer.future(request("tabular", r[None]), timeout=10) for r in x]
    got_code, got_sentence = client.refusal(_bad(**changes))
    after = [client.stub.ModelInfer.future(request("tabular", r[None]), timeout=10) for r in x]
    assert (got_code, sentence in got_sentence) == (code, True), got_sentence
    for score, first, second in zip(expected, before, after, strict=True):
        np.testing.assert_allclose(floats(first.result())[0], score, rtol=1e-5)
        np.testing.assert_allclose(floats(second.result())[0], score, rtol=1e-5)


def test_contents_and_raw_together_are_refused(client: Client) -> None:
    both = request("tabular", models.rows(1))
    both.inputs[0].contents.fp32_contents.append(1.0)
    assert client.refusal(both) == (
        CODE.INVALID_ARGUMENT,
        "input 'features' is sent twice: in contents and in raw_input_contents",
    )


def _raw_call(client: Client, method: str, message: bytes, **options: Any) -> Any:
    call = client.channel.unary_unary(method)
    with pytest.raises(grpc.RpcError) as refused:
        call(message, timeout=10, **options)
    return refused.value


INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize("message", [b"\xff\xff\xff\xff", b"\x0a\x7ftoo short", b"\x2a\x03\x08"])
def test_malformed_protobuf_is_refused(client: Client, message: bytes) -> None:
    refused = _raw_call(client, INFER, message)
    assert refused.code() == CODE.INVALID_ARGUMENT
    assert "not a ModelInferRequest" in refused.details()


def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(client: Client) -> None:
    refused = _raw_call(client, INFER, bytes(5 << 20))
    assert refused.code() == CODE.RESOURCE_EXHAUSTED
    assert "larger than 4194304 bytes" in refused.details()
    assert client.infer(request("tabular", models.rows(1))).shape == (1, 1)


def test_millions_of_empty_entries_are_refused_before_they_take_memory(client: Client) -> None:
    refused = _raw_call(client, INFER, b"\x2a\x00" * (2 << 20))
    assert refused.code() == CODE.INVALID_ARGUMENT
    assert "more than 1024" in refused.details()


def test_an_output_asked_for_twice_is_refused(client: Client) -> None:
    greedy = request("echo", models.rows(1))
    for _ in range(2):
        greedy.outputs.add(name="score")
    assert client.refusal(greedy)[1] == "output 'score' is asked for twice"


def test_a_sentence_that_quotes_the_caller_is_cut(client: Client) -> None:
    code, sentence = client.refusal(_bad(name="x" * 100_000))
    assert (code, len(sentence) < 1_100) == (CODE.INVALID_ARGUMENT, True)


def test_a_compressed_request_is_answered_compressed(client: Client) -> None:
    x = models.rows(64)
    answers = [
        client.stub.ModelInfer(request("echo", x), timeout=5, compression=compression)
        for compression in (grpc.Compression.Gzip, None)
    ]
    assert answers[0] == answers[1]


def test_garbage_that_says_gzip_is_refused(server: Contender) -> None:
    for headers, code, sentence in (
        ({"grpc-encoding": "gzip"}, 3, "says gzip and is not"),
        ({"grpc-encoding": "snappy"}, 12, "gzip is understood"),
        ({}, 12, "grpc-encoding says nothing"),
    ):
        got, told = raw_call(server, b"garbage", headers, compressed=True)
        assert (got, sentence in told) == (code, True), told


def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    unknown = _raw_call(client, "/inference.GRPCInferenceService/ModelGuess", b"")
    assert (unknown.code(), "ModelGuess" in unknown.details()) == (CODE.UNIMPLEMENTED, True)


def test_an_absurdly_long_time_out_is_taken_for_what_it_is(client: Client) -> None:
    wanted = request("echo", models.rows(1))
    wanted.parameters["timeout"].int64_param = 2**62
    assert client.infer(wanted, timeout=1e6).shape == (1, 32)
