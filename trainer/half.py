"""The encoder's products in 16-bit floats, for GPUs: precision lives in the graph.

TensorRT 11 takes every precision from the graph. Products, which are nearly all of the work, are in
float16 or bfloat16; sums that need the digits (residuals, normalisation, softmax, mean, head) stay
in float32, and so do inputs and outputs.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from trainer.graph import Graph
from trainer.minilm import Tensor
from trainer.precision import Precision


class HalfDense:
    """`Dense` whose product is in a 16-bit float, and whose bias is added in float32."""

    def __init__(self, element: int, dtype: npt.DTypeLike) -> None:
        self._element, self._dtype = element, dtype

    def __call__(self, graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """The name of the product; as `Dense` says."""
        narrow = graph.add("Cast", [x], f"{name}.narrow", to=self._element)
        stored = graph.constant(f"{name}.weight", weight, self._dtype)
        product = graph.add("MatMul", [narrow, stored], f"{name}.product")
        wide = graph.add("Cast", [product], f"{name}.wide", to=TensorProto.FLOAT)
        return graph.add("Add", [wide, graph.constant(f"{name}.bias", bias)], name)


class HalfLookup:
    """`Lookup` in a table of a 16-bit float: half of the file."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = dtype

    def __call__(self, graph: Graph, table: Tensor, ids: str, name: str) -> str:
        """The name of the rows; as `Lookup` says."""
        rows = graph.add(
            "Gather", [graph.constant(f"{name}.table", table, self._dtype), ids], f"{name}.narrow"
        )
        return graph.add("Cast", [rows], name, to=TensorProto.FLOAT)


FLOAT16 = Precision("float16", HalfDense(TensorProto.FLOAT16, np.float16), HalfLookup(np.float16))
BFLOAT16 = Precision(
    "bfloat16",
    HalfDense(TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    HalfLookup(ml_dtypes.bfloat16),
)
