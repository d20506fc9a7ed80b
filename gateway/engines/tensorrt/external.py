"""Whether an ONNX graph keeps weights in other files, and in which.

Libraries open such files by themselves, past the verification: so they get only files of the model
directory, written out anew from the bytes that were verified. Only the fields on the way to a
tensor are read; their numbers are those of onnx.proto.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.engines.contract import EngineError

# For each message, its fields that lead on to a tensor: number -> message.
_PATHS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
DEEPEST = 64


def _number(data: memoryview, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each field that has a length."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        kind = key & 7
        if kind == 0:
            _, at = _number(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _number(data, at)
            if at + size > len(data):
                raise ValueError
            yield key >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError


def _named(data: memoryview, message: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise ValueError
    if message == "entry":
        entry = {number: bytes(value) for number, value in _fields(data)}
        if entry.get(1) == b"location":
            yield entry.get(2, b"").decode()
        return
    paths = _PATHS[message]
    for number, inner in _fields(data):
        if number in paths:
            yield from _named(inner, paths[number], depth + 1)


def external_files(graph: bytes, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The files of the model that its graph keeps weights in, in order.

    Raises:
        EngineError: the bytes are no graph, or name a file that the model has not.

    """
    try:
        names = sorted(set(_named(memoryview(graph), "model", 0)))
    except (ValueError, IndexError) as error:
        raise EngineError("the graph is no ONNX file") from error
    for name in names:
        if name not in files:
            raise EngineError(
                f"the graph keeps weights in '{name}', which is not a file of the model"
            )
    return tuple(names)
