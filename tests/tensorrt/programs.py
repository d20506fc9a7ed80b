"""What the tests' processes run: small programs on the doubles, printing JSON or nothing."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench import models
from gateway.engines import Bucket, EngineError, Lane, Model, Tensor
from gateway.engines.conformance import Rows
from tests import graphs

FEATURES = Tensor("features", "FP32", (-1, 32))
SCORE = Tensor("score", "FP32", (-1, 1))
LARGEST = Bucket(8)


def perceptron(**files: bytes) -> Model:
    """The 32-feature network."""
    graph = models.perceptron().SerializeToString()
    return Model((FEATURES,), (SCORE,), {"model.onnx": graph, **files}, "model.onnx")


def words(folder: Path) -> Model:
    """A text model: the sum of its tokens."""
    graph = graphs.token_sum(folder / "words.onnx").read_bytes()
    contract = b'[text]\nmask = "attention_mask"\n'
    inputs = tuple(Tensor(n, "INT64", (-1, -1)) for n in ("input_ids", "attention_mask"))
    outputs = tuple(Tensor(n, "FP32", (-1, 1)) for n in ("score", "length"))
    return Model(inputs, outputs, {"model.onnx": graph, "contract.toml": contract}, "model.onnx")


def rows_of(rows: int, length: int) -> Rows:
    """Rows for the network."""
    return [models.rows(rows)]


def tokens_of(rows: int, length: int) -> Rows:
    """Token ids and masks of rows with different lengths."""
    chance = np.random.default_rng(rows * 1000 + length)
    ids = chance.integers(1, 500, (rows, length))
    mask = np.arange(length) < chance.integers(1, length + 1, (rows, 1))
    return [np.where(mask, ids, 0), mask.astype(np.int64)]


COUNTED = ("streams", "events", "graphs", "executables", "buffers", "pinned", "device_bytes")


def driver() -> ctypes.CDLL:
    """The driver double, to ask it what it has seen."""
    library = ctypes.CDLL("libcuda.so.1")
    for name in ("busy_ns", "waits", "launches", "live"):
        getattr(library, f"driver_double_{name}").restype = ctypes.c_int64
    return library


def live() -> dict[str, int]:
    """What is held of the device, by kind; kinds of which nothing is are left out."""
    library = driver()
    counts = {name: library.driver_double_live(i) for i, name in enumerate(COUNTED)}
    return {name: count for name, count in counts.items() if count}


def expected(model: Model, inputs: Rows, **more: NDArray[Any]) -> list[NDArray[Any]]:
    """ONNX Runtime's own outputs."""
    session = onnxruntime.InferenceSession(
        model.files["model.onnx"], providers=["CPUExecutionProvider"]
    )
    given = {t.name: array for t, array in zip(model.inputs, inputs, strict=True)}
    answers: list[NDArray[Any]] = session.run([t.name for t in model.outputs], given | more)
    return answers


def run(lane: Lane, inputs: Rows, bucket: Bucket | None = None) -> list[NDArray[Any]]:
    """Rows through a lane, in a bucket of their number or a greater one."""
    bucket = bucket or Bucket(len(inputs[0]))
    held, rows = lane.buffers(bucket), len(inputs[0])
    for array, given in zip(held.inputs, inputs, strict=True):
        array[:rows] = given
    lane.run(bucket, rows)
    return [array[:rows].copy() for array in held.outputs]


def refusal(action: Callable[[], object]) -> str:
    """The kind and the sentence of the engine's error."""
    try:
        action()
    except EngineError as error:
        return f"{error.kind}: {error}"
    return "no error"


def toml(text: str) -> bytes:
    """An engine.toml."""
    return f'format = "sluicegate.engine/1"\n{text}'.encode()
