"""The text encoder in the precisions that were compared; docs/adr/0005 has what came of it.

All have the same weights and the same float32 head. Only the weights' matrices differ, and in
the last one the table of words as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from trainer.encoder import Head, to_onnx
from trainer.graph import CONTRIB, Graph
from trainer.inference import BATCH, feed, same_length
from trainer.minilm import Encoder, Tensor
from trainer.precision import (
    FLOAT32,
    INT8_PER_TOKEN,
    Dense,
    Precision,
    float32_lookup,
    quantised,
)
from trainer.tokens import Ids

# MatMulNBits: activations in int8, one scale a block of a token (4), not float32 (0).
INT8_ACTIVATIONS = 4


@dataclass(frozen=True)
class Variant:
    """A graph of the encoder with its head, and what it is called."""

    name: str
    graph: bytes


def variants(encoder: Encoder, head: Head, calibration: Sequence[Ids]) -> Iterator[Variant]:
    """Every precision, float32 first and the default last.

    Args:
        encoder: the published one.
        head: fitted to its float32 embeddings.
        calibration: training texts' tokens, for static quantisation; all of one length, a
            multiple of `BATCH` of them, as the percentile's calibration needs equal batches.
    """
    by_hand: dict[str, Dense] = {
        "int8 weights (DequantizeLinear)": stored_int8,
        "8-bit weights (MatMulNBits)": partial(block_wise, bits=8, block=128),
        "4-bit weights (MatMulNBits)": partial(block_wise, bits=4, block=32),
    }
    plain = to_onnx(encoder, head, FLOAT32)
    yield Variant(FLOAT32.name, plain)
    for name, dense in by_hand.items():
        yield Variant(name, to_onnx(encoder, head, Precision(name, dense, float32_lookup)))
    yield Variant("static int8, min-max", static(plain, calibration, CalibrationMethod.MinMax))
    clipped = static(plain, calibration, CalibrationMethod.Percentile)
    yield Variant("static int8, 99.99th percentile", clipped)
    yield Variant("dynamic int8, a scale a batch", dynamic(plain))
    yield Variant(INT8_PER_TOKEN.name, to_onnx(encoder, head, INT8_PER_TOKEN))


def stored_int8(graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
    """`Dense` with an int8 weight, a scale a column, that is made float32 before it is used.

    So it is written. ONNX Runtime makes a MatMulNBits of it: 8 bits, blocks of 32, activations
    in int8.
    """
    scale, steps = quantised(weight, 127, axis=0)
    stored = graph.constant(f"{name}.weight", steps, np.int8)
    scales = graph.constant(f"{name}.scale", scale[0])
    whole = graph.add("DequantizeLinear", [stored, scales], f"{name}.dequantised", axis=1)
    product = graph.add("MatMul", [x, whole], f"{name}.product")
    return graph.add("Add", [product, graph.constant(f"{name}.bias", bias)], name)


def block_wise(
    graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str, *, bits: int, block: int
) -> str:
    """`Dense` by ONNX Runtime's MatMulNBits: a scale a column and `block` weights of it.

    The weight is stored by column, unsigned about the middle; of two 4-bit ones in a byte the
    first is the lower half.
    """
    k, n = weight.shape
    blocks = weight.T.reshape(n, k // block, block)
    middle = 1 << (bits - 1)
    scale, steps = quantised(blocks, middle - 1, axis=2)
    stored = (steps + middle).astype(np.uint8)
    if bits == 4:
        stored = (stored[..., 0::2] + 16 * stored[..., 1::2]).astype(np.uint8)
    inputs = [
        x,
        graph.constant(f"{name}.weight", stored, np.uint8),
        graph.constant(f"{name}.scale", scale[..., 0]),
        "",
        "",
        graph.constant(f"{name}.bias", bias),
    ]
    return graph.add(
        "MatMulNBits",
        inputs,
        name,
        domain=CONTRIB,
        K=k,
        N=n,
        bits=bits,
        block_size=block,
        accuracy_level=INT8_ACTIVATIONS,
    )


def dynamic(graph: bytes) -> bytes:
    """ONNX Runtime's dynamic quantisation: activations by the largest value in the batch."""
    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder, "plain.onnx"), Path(folder, "made.onnx")
        plain.write_bytes(graph)
        quantize_dynamic(
            plain,
            made,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=_products(graph),
        )
        return made.read_bytes()


def static(graph: bytes, calibration: Sequence[Ids], method: CalibrationMethod) -> bytes:
    """Static quantisation with Q/DQ nodes: a scale an activation, found on calibration texts."""
    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder, "plain.onnx"), Path(folder, "made.onnx")
        plain.write_bytes(graph)
        # The calibration tells its steps on standard output, where the table goes.
        with redirect_stdout(StringIO()):
            quantize_static(
                plain,
                made,
                _Calibration(calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=_products(graph),
                calibrate_method=method,
                extra_options={"CalibPercentile": 99.99},
            )
        return made.read_bytes()


def _products(graph: bytes) -> list[str]:
    """The names of the multiplications by weights: not those of attention with itself."""
    nodes = onnx.load_from_string(graph).graph.node
    return [node.name for node in nodes if node.name.endswith(".product")]


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # of an untyped package
    def __init__(self, ids: Sequence[Ids]) -> None:
        self._feeds = (feed([ids[row] for row in batch]) for batch in same_length(ids, BATCH))

    def get_next(self) -> dict[str, npt.NDArray[np.int64]] | None:
        """The next batch, or None after the last."""
        return next(self._feeds, None)
