"""A lane's arrays on the host: what the data plane writes and reads, bucket by bucket.

All buckets share one block of pinned memory for each tensor, as a lane runs one batch at a time. A
bucket's array is the front of the block, so rows are gathered where the device copies them from.
Only a batch whose length is no rung's is copied once more, row by row, into the rung's layout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.engines.contract import BadInput, Bucket, Buffers, EngineError, Model, Tensor
from gateway.engines.tensorrt.ladder import Ladder, is_variable

Array = NDArray[Any]
Allocate = Callable[[int], NDArray[np.uint8]]


def plain(size: int) -> NDArray[np.uint8]:
    """Memory for a lane without a GPU."""
    return np.zeros(size, np.uint8)


def shaped(block: NDArray[np.uint8], tensor: Tensor, bucket: Bucket) -> Array:
    """The front of a block as a bucket's array."""
    shape = tensor.batch_shape(bucket)
    size = int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize
    return block[:size].view(tensor.dtype).reshape(shape)


def _blocks(tensors: Sequence[Tensor], largest: Bucket, make: Allocate) -> list[NDArray[np.uint8]]:
    sizes = [np.prod(t.batch_shape(largest), dtype=np.int64) * t.dtype.itemsize for t in tensors]
    return [make(int(size)) for size in sizes]


@dataclass(frozen=True)
class Held:
    """A bucket's arrays, and those of the rung that it runs in.

    `moves` are pairs of arrays, the rung's and the bucket's, of inputs whose layouts differ, and
    what fills the rung's up.
    """

    buffers: Buffers
    rung: Bucket
    rung_inputs: tuple[Array, ...]
    moves: tuple[tuple[Array, Array, int], ...]
    length: int
    # Inputs whose rows beyond the batch may hold what an earlier one left, and what fills them up.
    fixed: tuple[tuple[Array, int], ...]


class HostArrays:
    """One lane's blocks, and the buckets' arrays in them."""

    def __init__(self, model: Model, ladder: Ladder, allocate: Allocate) -> None:
        self._model, self.ladder = model, ladder
        self.inputs = _blocks(model.inputs, ladder.largest, allocate)
        self.outputs = _blocks(model.outputs, ladder.largest, allocate)
        lengths = [t for t in model.inputs if is_variable(t)]
        self._loose = dict(
            zip([t.name for t in lengths], _blocks(lengths, ladder.largest, plain), strict=True)
        )
        self._held: dict[Bucket, Held] = {}
        # Rows of the fixed inputs' blocks that may be other than zero.
        self._dirty = 0

    def hold(self, bucket: Bucket) -> Held:
        """A bucket's arrays; the same ones each time.

        Raises:
            EngineError: it is more than the lane was opened for.

        """
        held = self._held.get(bucket)
        if held is None:
            held = self._held[bucket] = self._bind(bucket)
        return held

    def _bind(self, bucket: Bucket) -> Held:
        ladder, model = self.ladder, self._model
        if not ladder.holds(bucket) or bucket.rows < 1 or bucket.length < 1:
            raise EngineError(
                f"{bucket} is not within {ladder.largest}, for which the lane is open"
            )
        rung = ladder.rung_for(bucket)
        inputs, rungs, moves, fixed = [], [], [], []
        for tensor, block in zip(model.inputs, self.inputs, strict=True):
            whole, pad = shaped(block, tensor, rung), model.pad.get(tensor.name, 0)
            rungs.append(whole)
            if is_variable(tensor) and bucket.length != rung.length:
                given = shaped(self._loose[tensor.name], tensor, bucket)
                moves.append((whole, given, pad))
            else:
                given = shaped(block, tensor, bucket)
                if tensor.shape[:1] == (-1,):
                    fixed.append((whole, pad))
            inputs.append(given)
        outputs = [
            shaped(block, tensor, bucket)
            for tensor, block in zip(model.outputs, self.outputs, strict=True)
        ]
        buffers = Buffers(tuple(inputs), tuple(outputs))
        return Held(buffers, rung, tuple(rungs), tuple(moves), bucket.length, tuple(fixed))

    def forget(self) -> None:
        """Hold every row for written: somebody else has used the arrays."""
        self._dirty = self.ladder.rows[-1]

    def pad(self, held: Held, bucket: Bucket, rows: int) -> None:
        """Lay the first `rows` rows out as the rung has them, with zeros or the pad around them.

        Raises:
            BadInput: not 1 <= rows <= bucket.rows.

        """
        if not 1 <= rows <= bucket.rows:
            raise BadInput(f"{rows} rows of {bucket}")
        for whole, given, pad in held.moves:
            whole[:rows, : held.length] = given[:rows]
            whole[:rows, held.length :] = pad
            whole[rows:] = pad
        if not self._loose:
            if rows < self._dirty:
                for whole, pad in held.fixed:
                    whole[rows : self._dirty] = pad
            self._dirty = rows
        elif not held.moves and rows < held.rung.rows:
            for whole, pad in held.fixed:
                whole[rows:] = pad
