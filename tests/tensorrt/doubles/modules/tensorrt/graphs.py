"""Graphs as ONNX Runtime reads them, in the names of the double of `tensorrt`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensorrt.names import DataType

NUMPY = {
    DataType.FLOAT: np.dtype(np.float32),
    DataType.HALF: np.dtype(np.float16),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT32: np.dtype(np.int32),
    DataType.INT64: np.dtype(np.int64),
    DataType.BOOL: np.dtype(np.bool_),
}
ONNX = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int8)": DataType.INT8,
    "tensor(int32)": DataType.INT32,
    "tensor(int64)": DataType.INT64,
    "tensor(bool)": DataType.BOOL,
}


def fails(what: str) -> bool:
    return what in os.environ.get("TENSORRT_DOUBLE_FAIL", "").split(",")


def session_of(
    graph: bytes, weights: dict[str, NDArray[Any]] | None = None
) -> tuple[Any, list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Neither options nor session keep what they are given.
    kept = []
    for name, value in (weights or {}).items():
        kept.append(onnxruntime.OrtValue.ortvalue_from_numpy(value))
        options.add_initializer(name, kept[-1])
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(graph, options, providers=providers)
    return session, kept


class Tensor:
    def __init__(self, value: Any) -> None:
        self.name, self.dtype = value.name, ONNX[value.type]
        self.symbols = list(value.shape)
        self.shape = tuple(d if isinstance(d, int) else -1 for d in value.shape)
