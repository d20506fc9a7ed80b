"""The engine contract in Python; its Rust twin is gateway/dataplane/src/engine/mod.rs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Open Inference names; BF16 has no numpy type and travels as its bits.
DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": np.bool_,
        "UINT8": np.uint8,
        "UINT16": np.uint16,
        "UINT32": np.uint32,
        "UINT64": np.uint64,
        "INT8": np.int8,
        "INT16": np.int16,
        "INT32": np.int32,
        "INT64": np.int64,
        "FP16": np.float16,
        "BF16": np.uint16,
        "FP32": np.float32,
        "FP64": np.float64,
    }.items()
}


class EngineError(Exception):
    """This batch or this model failed; the lane goes on."""

    kind = "failed"


class BadInput(EngineError):  # noqa: N818 - the contract's name for it
    """The input is at fault; another input may work."""

    kind = "bad_input"


class DeviceLost(EngineError):  # noqa: N818 - the contract's name for it
    """The device is gone; the lane cannot go on."""

    kind = "device_lost"


@dataclass(frozen=True)
class Bucket:
    """The shape of a batch: rows, and tokens a row (1 where every shape is fixed)."""

    rows: int
    length: int = 1


@dataclass(frozen=True)
class Tensor:
    """One input or output of the engine.

    `shape` begins with -1, the batch, unless the model is not batched; a second -1 is the length of
    a text in tokens. Of BYTES `max_bytes` is the most bytes of one string.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    max_bytes: int | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy's type of one element; a string is its `length` and `bytes`, zeros behind it."""
        if self.max_bytes is not None:
            return np.dtype([("length", "<u4"), ("bytes", np.uint8, (self.max_bytes,))])
        return DTYPES[self.datatype]

    def batch_shape(self, bucket: Bucket) -> tuple[int, ...]:
        """The dimensions of a batch."""
        sizes = {0: bucket.rows}
        return tuple(
            sizes.get(i, bucket.length) if size == -1 else size for i, size in enumerate(self.shape)
        )


@dataclass(frozen=True)
class Model:
    """A verified model: its tensors as the engine takes them, and the bytes that were verified.

    Attributes:
        inputs, outputs: in the contract's order.
        files: the model directory, by path.
        graph: which of them is the graph.
        name: the model's, for the engine's own words.
        pad: of a text what fills a row beyond its tokens, by input; zero in the others.
        options: what the operator says to this engine (`[engines.NAME]`); None where no data plane
            opens it.
        stand_in: whether the data plane's ONNX Runtime can run the graph while a lane is not ready.

    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: Mapping[str, bytes]
    graph: str | None = None
    name: str = ""
    pad: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None
    stand_in: bool = False


@dataclass(frozen=True)
class Buffers:
    """C-contiguous arrays in the contract's order, of a bucket's batch shapes."""

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]

    @staticmethod
    def zeros(model: Model, bucket: Bucket) -> "Buffers":
        """Plain memory for a bucket."""

        def make(tensors: tuple[Tensor, ...]) -> tuple[NDArray[Any], ...]:
            return tuple(np.zeros(t.batch_shape(bucket), t.dtype) for t in tensors)

        return Buffers(make(model.inputs), make(model.outputs))


class Lane(Protocol):
    """One model on one lane; used by one thread at a time."""

    def buffers(self, bucket: Bucket) -> Buffers:
        """What `run` reads and writes for this bucket: asked once a bucket, kept for good.

        The arrays stay where they are until the lane is closed; rows are gathered into them
        without Python's lock.
        """
        ...

    def run(self, bucket: Bucket, rows: int) -> None:
        """Run the first `rows` rows of the bucket's buffers, 1 <= rows <= bucket.rows.

        Releases Python's lock while it waits.

        Raises:
            BadInput: the input is at fault.
            EngineError: this batch failed.
            DeviceLost: the device is gone.

        """
        ...

    def warm(self, bucket: Bucket) -> None:
        """Make the first real batch of this bucket as fast as the rest."""
        ...

    def describe(self) -> str:
        """Name and version of what runs the model."""
        ...

    def close(self) -> None:
        """Free what the lane holds; no call comes after. May be called twice."""
        ...


# (engine, note, ready): name and version of what runs the model, one sentence if that is not what
# was asked for, and whether this lane runs batches itself.
Tell = Callable[[str, str | None, bool], None]


class ChangingLane(Lane, Protocol):
    """A lane that may become something else while it serves; both members are optional."""

    @property
    def ready(self) -> bool:
        """Whether the lane runs batches itself, asked once, when it has been opened.

        If not, and `Model.stand_in`, the data plane's own ONNX Runtime runs the model's graph over
        copies of the lane's rows until the lane tells that it is ready.
        """
        ...

    def watch(self, tell: Tell) -> None:
        """Call `tell` now, and each time what it tells has changed; any thread may."""
        ...
