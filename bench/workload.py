"""Rows of features, and texts, as ModelInfer messages in files; the load generator's answers back.

Requests file: for each request a u32 length and that many bytes, a serialized
ModelInferRequest. Responses file: for each answer a u32 index of its request in the requests
file, a u32 gRPC status code, a u32 length and that many bytes, a serialized
ModelInferResponse (empty unless the status is 0). Every u32 is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from gateway.wire import open_inference_pb2

Features = npt.NDArray[np.float32]

OK = 0

_LENGTH = struct.Struct("<I")
_ANSWER = struct.Struct("<III")


class WorkloadError(Exception):
    """A file or message does not have the documented form."""


@dataclass(frozen=True)
class Answer:
    """One answer that the load generator wrote down.

    Attributes:
        index: of its request in the requests file, from 0.
        status: gRPC status code, 0 for OK.
        message: a serialized ModelInferResponse; empty unless the status is 0.
    """

    index: int
    status: int
    message: bytes


@dataclass(frozen=True)
class Scores:
    """The answers to a requests file, row by row.

    Attributes:
        values: float32 [n], the last answer's score of each row; NaN where none came.
        answered: bool [n], whether an OK answer came.
        answers: OK answers read, of all rows.
        unsteady: rows whose answers were not all the same to the last bit.
        digests: the model digests that the answers name.
    """

    values: npt.NDArray[np.float32]
    answered: npt.NDArray[np.bool_]
    answers: int
    unsteady: int
    digests: frozenset[str]


def encode_request(
    model: str,
    x: Features,
    *,
    input_name: str = "features",
    version: str = "",
    request_id: str = "",
) -> bytes:
    """A serialized ModelInferRequest with x as its one input, raw, little-endian, row-major.

    Args:
        model: the model's name.
        x: float32 [rows, f].
        input_name: the input's name in the model's contract.
        version: empty for the version that is live.
        request_id: returned with the answer.

    Raises:
        ValueError: x is not float32 of two dimensions.
    """
    if x.dtype != np.float32 or x.ndim != 2:
        raise ValueError(f"Features must be float32 [rows, f], not {x.dtype} {list(x.shape)}.")
    raw = x.astype("<f4", copy=False).tobytes("C")
    return _request(model, version, request_id, (input_name, "FP32", x.shape), raw)


def encode_text_request(
    model: str,
    texts: Sequence[str],
    *,
    input_name: str = "text",
    version: str = "",
    request_id: str = "",
) -> bytes:
    """A serialized ModelInferRequest with texts as its one input, BYTES [rows, 1], raw.

    Raw elements are a u32 length, little-endian, and that many bytes: a text's UTF-8.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    elements = [text.encode("utf-8") for text in texts]
    raw = b"".join(_LENGTH.pack(len(element)) + element for element in elements)
    return _request(model, version, request_id, (input_name, "BYTES", (len(texts), 1)), raw)


def encode_texts(model: str, texts: Sequence[str], *, rows_per_request: int = 1) -> list[bytes]:
    """Texts as requests of `rows_per_request` texts each, the last maybe fewer.

    Raises:
        ValueError: `rows_per_request` is below 1, or a text has no UTF-8.
    """
    return [
        encode_text_request(model, texts[start : start + rows_per_request])
        for start in _starts(len(texts), rows_per_request)
    ]


def encode_rows(model: str, x: Features, *, rows_per_request: int = 1) -> list[bytes]:
    """x, float32 [n, f], as requests of `rows_per_request` rows each, the last maybe fewer.

    Raises:
        ValueError: x is not float32 of two dimensions, or `rows_per_request` is below 1.
    """
    starts = _starts(len(x), rows_per_request)
    return [encode_request(model, x[start : start + rows_per_request]) for start in starts]


def write_requests(path: Path, requests: Iterable[bytes]) -> int:
    """Writes a requests file; returns how many requests it holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("wb") as file:
        for request in requests:
            file.write(_LENGTH.pack(len(request)))
            file.write(request)
            count += 1
    return count


def read_requests(path: Path) -> Iterator[bytes]:
    """The requests of a requests file, in order.

    Raises:
        WorkloadError: the file ends within a request.
    """
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            (length,) = _unpack(_LENGTH, head, path)
            yield _exactly(file, length, path)


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers of a responses file, in the order they were written.

    Raises:
        WorkloadError: the file ends within an answer.
    """
    with path.open("rb") as file:
        while head := file.read(_ANSWER.size):
            index, status, length = _unpack(_ANSWER, head, path)
            yield Answer(index, status, _exactly(file, length, path))


def decode_answer(message: bytes, *, output: str = "score") -> tuple[npt.NDArray[np.float32], str]:
    """The values of `output`, float32 in its shape, and the digest of the model that answered.

    Takes raw contents as well as typed ones; the digest is empty if the answer names none.

    Raises:
        WorkloadError: no ModelInferResponse, no such output, not FP32, or not as many
            values as its shape has.
    """
    try:
        response = open_inference_pb2.ModelInferResponse.FromString(message)
    except DecodeError as error:
        raise WorkloadError("An answer is no ModelInferResponse.") from error
    names = [tensor.name for tensor in response.outputs]
    if output not in names:
        raise WorkloadError(f"An answer has no output {output!r}, only {names}.")
    place = names.index(output)
    tensor = response.outputs[place]
    if tensor.datatype != "FP32":
        raise WorkloadError(f"Output {output!r} must be FP32, not {tensor.datatype!r}.")
    shape = tuple(int(size) for size in tensor.shape)
    wanted = int(np.prod(shape))
    if response.raw_output_contents:
        raw = b"".join(response.raw_output_contents[place : place + 1])
        if len(raw) != 4 * wanted:
            raise WorkloadError(f"Output {output!r} of shape {shape} has {len(raw)} raw bytes.")
        values = np.frombuffer(raw, dtype="<f4")
    else:
        values = np.array(tensor.contents.fp32_contents, dtype=np.float32)
        if len(values) != wanted:
            raise WorkloadError(f"Output {output!r} of shape {shape} has {len(values)} values.")
    # Reading a map's entry by its key would add it, so it is looked for first.
    named = "sluicegate_digest" in response.parameters
    digest = str(response.parameters["sluicegate_digest"].string_param) if named else ""
    return values.astype(np.float32).reshape(shape), digest


def collect(
    answers: Iterable[Answer], rows: Sequence[int], *, output: str = "score", column: int = 0
) -> Scores:
    """One score a row from the answers to a requests file.

    A request that is answered several times (the load generator goes round the file) counts
    with its last answer; rows whose answers differ are counted.

    Args:
        answers: in any order.
        rows: how many rows each request holds, in the order of the requests file; n is their
            sum.
        output: the output that holds the score.
        column: the score's column in it.

    Raises:
        WorkloadError: an OK answer is malformed, names no request, or has not as many rows as
            its request.
    """
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    values = np.full(int(starts[-1]), np.nan, dtype=np.float32)
    unsteady = np.zeros(len(values), dtype=np.bool_)
    digests: set[str] = set()
    count = 0
    for answer in answers:
        if answer.index >= len(rows):
            raise WorkloadError(f"An answer names request {answer.index} of {len(rows)}.")
        if answer.status != OK:
            continue
        count += 1
        tensor, digest = decode_answer(answer.message, output=output)
        if tensor.ndim != 2 or tensor.shape[0] != rows[answer.index] or column >= tensor.shape[1]:
            raise WorkloadError(
                f"The answer to request {answer.index} has shape {tensor.shape}, but "
                f"{rows[answer.index]} rows with column {column} are expected."
            )
        place = slice(int(starts[answer.index]), int(starts[answer.index + 1]))
        fresh, known = tensor[:, column], values[place]
        unsteady[place] |= ~np.isnan(known) & (known != fresh)
        values[place] = fresh
        digests.add(digest)
    return Scores(
        values=values,
        answered=~np.isnan(values),
        answers=count,
        unsteady=int(np.sum(unsteady)),
        digests=frozenset(digests - {""}),
    )


def _starts(rows: int, rows_per_request: int) -> range:
    if rows_per_request < 1:
        raise ValueError(f"A request needs at least one row, not {rows_per_request}.")
    return range(0, rows, rows_per_request)


def _request(
    model: str, version: str, request_id: str, tensor: tuple[str, str, tuple[int, ...]], raw: bytes
) -> bytes:
    """A serialized request with one raw input `tensor`: its name, datatype and shape."""
    request = open_inference_pb2.ModelInferRequest(
        model_name=model, model_version=version, id=request_id, raw_input_contents=[raw]
    )
    name, datatype, shape = tensor
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(request.SerializeToString(deterministic=True))


def _unpack(form: struct.Struct, head: bytes, path: Path) -> tuple[int, ...]:
    if len(head) != form.size:
        raise WorkloadError(f"{path.name} ends in the middle of a record.")
    return form.unpack(head)


def _exactly(file: BinaryIO, length: int, path: Path) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise WorkloadError(f"{path.name} ends in the middle of a record.")
    return data
