"""Requests and answers on their way into files and back."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import (
    Answer,
    WorkloadError,
    collect,
    decode_answer,
    encode_request,
    encode_rows,
    encode_text_request,
    encode_texts,
    read_answers,
    read_requests,
    write_requests,
)
from gateway.wire import open_inference_pb2


def features(*rows: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32)


def response(*scores: float, digest: str = "sha256:ab", raw: bool = True) -> bytes:
    message = open_inference_pb2.ModelInferResponse(model_name="m")
    other = message.outputs.add(name="other", datatype="FP32", shape=[1])
    tensor = message.outputs.add(name="score", datatype="FP32", shape=[len(scores), 1])
    if raw:
        message.raw_output_contents.extend(
            [struct.pack("<f", 9), struct.pack(f"<{len(scores)}f", *scores)]
        )
    else:
        other.contents.fp32_contents.append(9)
        tensor.contents.fp32_contents.extend(scores)
    if digest:
        message.parameters["sluicegate_digest"].string_param = digest
    return bytes(message.SerializeToString())


def test_a_request_names_its_model_and_carries_little_endian_rows() -> None:
    data = encode_request("m", features((1.0, -2.5), (0.0, 3.0)), version="4", request_id="r")
    request = open_inference_pb2.ModelInferRequest.FromString(data)
    (tensor,) = request.inputs
    assert (request.model_name, request.model_version, request.id) == ("m", "4", "r")
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("features", "FP32", [2, 2])
    assert request.raw_input_contents == [struct.pack("<4f", 1.0, -2.5, 0.0, 3.0)]


def test_rows_in_column_order_are_sent_in_row_order() -> None:
    x = features((1.0, 2.0), (3.0, 4.0))
    assert encode_request("m", np.asfortranarray(x)) == encode_request("m", x)


@pytest.mark.parametrize("x", [np.zeros((2, 2)), np.zeros(2, np.float32)])
def test_features_of_another_type_or_form_are_refused(x: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match=r"float32 \[rows, f\]"):
        encode_request("m", x)


@given(st.integers(0, 20), st.integers(1, 7))
def test_every_row_is_in_exactly_one_request(rows: int, rows_per_request: int) -> None:
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    messages = [
        open_inference_pb2.ModelInferRequest.FromString(data)
        for data in encode_rows("m", x, rows_per_request=rows_per_request)
    ]
    assert b"".join(m.raw_input_contents[0] for m in messages) == x.astype("<f4").tobytes()
    sizes = [m.inputs[0].shape[0] for m in messages]
    assert sizes[:-1] == [rows_per_request] * (len(sizes) - 1)


def test_requests_without_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        encode_rows("m", features((1.0,)), rows_per_request=0)
    with pytest.raises(ValueError, match="at least one row"):
        encode_texts("m", ["a"], rows_per_request=0)


def test_texts_are_sent_as_length_and_utf_8_in_turn() -> None:
    data = encode_text_request("m", ["tea", "", "é😀"], version="4", request_id="r")
    request = open_inference_pb2.ModelInferRequest.FromString(data)
    (tensor,) = request.inputs
    assert (request.model_name, request.model_version, request.id) == ("m", "4", "r")
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("text", "BYTES", [3, 1])
    assert request.raw_input_contents == [
        b"\x03\0\0\0tea" + b"\0\0\0\0" + b"\x06\0\0\0\xc3\xa9\xf0\x9f\x98\x80"
    ]


def test_a_text_without_utf_8_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_text_request("m", ["\ud83d"])


@given(st.lists(st.text(max_size=9), max_size=20), st.integers(1, 7))
def test_every_text_is_in_exactly_one_request(texts: list[str], rows_per_request: int) -> None:
    messages = [
        open_inference_pb2.ModelInferRequest.FromString(data)
        for data in encode_texts("m", texts, rows_per_request=rows_per_request)
    ]
    raw = b"".join(m.raw_input_contents[0] for m in messages)
    found = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        found.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    assert found == texts
    sizes = [m.inputs[0].shape[0] for m in messages]
    assert sum(sizes) == len(texts)
    assert sizes[:-1] == [rows_per_request] * (len(sizes) - 1)


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_a_requests_file_gives_back_what_was_written(requests: list[bytes]) -> None:
    # Not tmp_path: hypothesis runs many examples in one test.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "requests.bin"
        assert write_requests(path, iter(requests)) == len(requests)
        assert list(read_requests(path)) == requests


def test_a_requests_file_is_length_and_message_in_turn(tmp_path: Path) -> None:
    write_requests(tmp_path / "r", [b"abc", b""])
    assert (tmp_path / "r").read_bytes() == b"\x03\0\0\0abc\0\0\0\0"


def test_answers_are_index_status_length_and_message_in_turn(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(
        struct.pack("<III", 7, 0, 2) + b"hi" + struct.pack("<III", 1, 8, 0)
    )
    assert list(read_answers(tmp_path / "a")) == [Answer(7, 0, b"hi"), Answer(1, 8, b"")]


@pytest.mark.parametrize("kept", [1, 11, 13])
def test_a_file_that_ends_within_a_record_is_refused(kept: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes((struct.pack("<III", 7, 0, 2) + b"hi")[:kept])
    with pytest.raises(WorkloadError, match="middle of a record"):
        list(read_answers(tmp_path / "a"))
    (tmp_path / "r").write_bytes((struct.pack("<I", 20) + bytes(20))[:kept])
    with pytest.raises(WorkloadError, match="middle of a record"):
        list(read_requests(tmp_path / "r"))


@pytest.mark.parametrize("raw", [True, False])
def test_an_output_is_found_by_its_name_with_raw_or_typed_contents(raw: bool) -> None:
    scores, digest = decode_answer(response(0.25, 0.5, raw=raw))
    assert scores.tolist() == [[0.25], [0.5]]
    assert scores.dtype == np.float32
    assert digest == "sha256:ab"
    assert decode_answer(response(0.25, digest=""))[1] == ""


def spoiled(**fields: object) -> bytes:
    message = open_inference_pb2.ModelInferResponse.FromString(response(0.25))
    for name, value in fields.items():
        setattr(message.outputs[1], name, value)
    return bytes(message.SerializeToString())


def short() -> bytes:
    message = open_inference_pb2.ModelInferResponse.FromString(response(0.25))
    message.raw_output_contents[1] = b"\0\0\0"
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff", "no ModelInferResponse"),
        (spoiled(name="scores"), "no output 'score'"),
        (spoiled(datatype="FP64"), "must be FP32"),
        (short(), "3 raw bytes"),
    ],
)
def test_a_malformed_answer_is_refused(message: bytes, reason: str) -> None:
    with pytest.raises(WorkloadError, match=reason):
        decode_answer(message)


def test_answers_in_any_order_come_back_row_by_row() -> None:
    answers = [Answer(1, 0, response(0.75)), Answer(0, 0, response(0.25, 0.5))]
    scores = collect(answers, [2, 1])
    assert scores.values.tolist() == [0.25, 0.5, 0.75]
    assert scores.answered.tolist() == [True, True, True]
    assert (scores.answers, scores.unsteady) == (2, 0)
    assert scores.digests == {"sha256:ab"}


def test_a_row_without_an_ok_answer_is_not_answered() -> None:
    scores = collect([Answer(0, 8, b""), Answer(1, 0, response(0.5))], [1, 1])
    assert scores.answered.tolist() == [False, True]
    assert scores.answers == 1


def test_rows_that_are_answered_differently_are_counted_once() -> None:
    answers = [Answer(0, 0, response(0.5, v)) for v in (0.25, 0.25, 0.5, 0.25)]
    scores = collect(answers, [2])
    assert scores.unsteady == 1
    assert scores.values.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("answer", [Answer(2, 0, response(0.5)), Answer(0, 0, response(0.5, 0.5))])
def test_an_answer_that_fits_no_request_is_refused(answer: Answer) -> None:
    with pytest.raises(WorkloadError):
        collect([answer], [1, 1])
