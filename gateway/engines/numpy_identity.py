"""The smallest engine: gives its inputs back. To read, and to try the conformance test with."""

import numpy as np

from gateway.engines.contract import Bucket, Buffers, EngineError, Model


class NumpyLane:
    """Copies inputs to outputs."""

    def __init__(self, model: Model, largest: Bucket) -> None:
        self._model, self._largest = model, largest
        self._buffers: dict[Bucket, Buffers] = {}

    def buffers(self, bucket: Bucket) -> Buffers:
        """Arrays of their own for each bucket."""
        if bucket.rows > self._largest.rows or bucket.length > self._largest.length:
            raise EngineError(f"{bucket} is more than this lane was opened for: {self._largest}")
        if bucket not in self._buffers:
            self._buffers[bucket] = Buffers.zeros(self._model, bucket)
        return self._buffers[bucket]

    def run(self, bucket: Bucket, rows: int) -> None:
        """Copy `rows` rows."""
        if not 1 <= rows <= bucket.rows:
            raise EngineError(f"{rows} rows of {bucket}")
        held = self.buffers(bucket)
        for given, taken in zip(held.inputs, held.outputs, strict=True):
            np.copyto(taken[:rows], given[:rows].reshape(taken[:rows].shape))

    def warm(self, bucket: Bucket) -> None:
        """Run it once."""
        self.run(bucket, bucket.rows)

    def describe(self) -> str:
        """Name and version."""
        return f"numpy {np.__version__}"

    def close(self) -> None:
        """Let go of the arrays."""
        self._buffers.clear()


def open_lane(model: Model, largest: Bucket, lane: int) -> NumpyLane:
    """Open a model whose outputs have its inputs' types and sizes.

    Raises:
        EngineError: they have not.

    """
    for given, taken in zip(model.inputs, model.outputs, strict=False):
        same = given.datatype == taken.datatype and given.shape[1:] == taken.shape[1:]
        if not same or len(model.inputs) != len(model.outputs):
            raise EngineError("engine numpy gives its inputs back: outputs must match")
    return NumpyLane(model, largest)
