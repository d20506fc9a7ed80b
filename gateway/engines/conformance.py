"""What every engine must do; any engine can be put through it, also one of another package.

`problems(open_lane, model, largest, rows_of)` returns sentences, none if the engine conforms.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.engines.contract import Bucket, Buffers, EngineError, Lane, Model, Tensor
from gateway.engines.registry import Open

Rows = list[NDArray[Any]]
# (rows, length) -> one array an input
MakeRows = Callable[[int, int], Rows]

# Two orders of summation may differ by this much.
RELATIVE, ABSOLUTE = 1e-3, 1e-4


def problems(open_lane: Open, model: Model, largest: Bucket, rows_of: MakeRows) -> list[str]:
    """What is wrong with an engine, in sentences."""
    lane = open_lane(model, largest, 0)
    try:
        return [*_shapes(lane, model, largest), *_runs(lane, model, largest, rows_of)]
    finally:
        lane.close()
        lane.close()


def _buckets(largest: Bucket) -> Iterator[Bucket]:
    for rows in sorted({1, 2, largest.rows // 2, largest.rows} - {0}):
        for length in sorted({1, largest.length // 2, largest.length} - {0}):
            if rows <= largest.rows:
                yield Bucket(rows, length)


def _shapes(lane: Lane, model: Model, largest: Bucket) -> Iterator[str]:
    if not lane.describe().strip():
        yield "describe() says nothing"
    for bucket in _buckets(largest):
        held = lane.buffers(bucket)
        for what, arrays, tensors in (
            ("input", held.inputs, model.inputs),
            ("output", held.outputs, model.outputs),
        ):
            if len(arrays) != len(tensors):
                yield f"{bucket}: {len(arrays)} {what}s, the model has {len(tensors)}"
            for array, tensor in zip(arrays, tensors, strict=False):
                yield from _array(bucket, what, array, tensor)
        again = lane.buffers(bucket)
        moved = [a.ctypes.data != b.ctypes.data for a, b in _pairs(held, again)]
        if any(moved):
            yield f"{bucket}: the buffers moved between two questions"
    beyond = Bucket(largest.rows + 1, largest.length)
    try:
        lane.buffers(beyond)
        lane.run(beyond, beyond.rows)
    except EngineError:
        return
    yield f"{beyond} is more than the lane was opened for, and was taken"


def _pairs(a: Buffers, b: Buffers) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    yield from zip((*a.inputs, *a.outputs), (*b.inputs, *b.outputs), strict=True)


def _array(bucket: Bucket, what: str, array: NDArray[Any], tensor: Tensor) -> Iterator[str]:
    where = f"{bucket}: {what} '{tensor.name}'"
    if array.dtype != tensor.dtype:
        yield f"{where} is {array.dtype}, expected {tensor.dtype}"
    if array.shape != tensor.batch_shape(bucket):
        yield f"{where} has shape {array.shape}, expected {tensor.batch_shape(bucket)}"
    if not array.flags.c_contiguous:
        yield f"{where} is not contiguous"
    if what == "input" and not array.flags.writeable:
        yield f"{where} cannot be written"


def _run(lane: Lane, bucket: Bucket, inputs: Rows) -> Rows:
    held, rows = lane.buffers(bucket), len(inputs[0])
    for array, given in zip(held.inputs, inputs, strict=True):
        array[:rows] = given
    lane.run(bucket, rows)
    return [array[:rows].copy() for array in held.outputs]


def _runs(lane: Lane, model: Model, largest: Bucket, rows_of: MakeRows) -> Iterator[str]:
    for bucket in _buckets(largest):
        lane.warm(bucket)
        inputs = rows_of(bucket.rows, bucket.length)
        whole = _run(lane, bucket, inputs)
        if not all(_same(a, b) for a, b in zip(whole, _run(lane, bucket, inputs), strict=True)):
            yield f"{bucket}: the same rows have other answers the second time"
        alone = Bucket(1, bucket.length)
        for row in range(bucket.rows):
            one = _run(lane, alone, [array[row : row + 1] for array in inputs])
            if not all(_same(a[row : row + 1], b) for a, b in zip(whole, one, strict=True)):
                yield f"{bucket}: row {row} has another answer than alone"
                break
        if bucket.rows > 1:
            part = _run(lane, bucket, [array[:-1] for array in inputs])
            if not all(_same(a[:-1], b) for a, b in zip(whole, part, strict=True)):
                yield f"{bucket}: {bucket.rows - 1} rows of it have other answers than all"
    for rows in (0, largest.rows + 1):
        try:
            lane.run(largest, rows)
        except EngineError:
            continue
        yield f"{rows} rows of {largest} were run"


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if np.issubdtype(a.dtype, np.floating):
        return bool(np.allclose(a, b, RELATIVE, ABSOLUTE, equal_nan=True))
    return bool(np.array_equal(a, b))
