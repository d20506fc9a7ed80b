"""A BERT encoder in ONNX Runtime's own operators, for its CUDA provider.

On a GPU the time of a small model is that of its launches: of the graph in standard operators
(trainer/encoder.py) some two hundred, of this one about fifty. Inputs, outputs and weights are the
same. All but the mean over tokens and the head is in float16, or float32 where that is asked for
(the CPU runs no other).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from trainer.encoder import EPSILON, IDS, MASK, MASKED, Head, layers, scored
from trainer.graph import CONTRIB, Graph, int64
from trainer.minilm import Encoder, Tensor


def to_fused_onnx(encoder: Encoder, head: Head, dtype: npt.DTypeLike = np.float16) -> bytes:
    """The classifier's graph: as `to_onnx` with a head, int64 `input_ids` and `attention_mask`
    [batch, tokens] to float32 `score` [batch, 1].
    """
    graph = _Graph(encoder, dtype)
    inputs = [int64(IDS, "batch", "tokens"), int64(MASK, "batch", "tokens")]
    mask = graph.add("Cast", [MASK], "mask", to=TensorProto.INT32)
    x = graph.embeddings()
    for number in range(layers(encoder.weights)):
        x = graph.layer(f"encoder.layer.{number}", x, mask)
    wide = graph.add("Cast", [x], "wide", to=TensorProto.FLOAT)
    kept = graph.add("Cast", [MASK], "kept", to=TensorProto.FLOAT)
    return scored(graph, inputs, wide, kept, head)


class _Graph(Graph):
    def __init__(self, encoder: Encoder, dtype: npt.DTypeLike) -> None:
        super().__init__()
        self._encoder, self._dtype = encoder, dtype

    def _own(self, op: str, inputs: list[str], name: str, **attributes: float) -> str:
        return self.add(op, inputs, name, domain=CONTRIB, **attributes)

    def _held(self, name: str, value: Tensor | None = None) -> str:
        value = self._encoder.weights[name] if value is None else value
        return self.constant(name, value, self._dtype)

    def _matrix(self, name: str) -> str:
        return self._held(f"{name}.weight", self._encoder.weights[f"{name}.weight"].T)

    def embeddings(self) -> str:
        name, weights = "embeddings", self._encoder.weights
        ids = self.add("Cast", [IDS], "ids", to=TensorProto.INT32)
        # Token types are all zero: theirs is added to the positions'.
        places = weights[f"{name}.position_embeddings.weight"]
        places = places + weights[f"{name}.token_type_embeddings.weight"][0]
        given = [
            ids,
            "",
            self._held(f"{name}.word_embeddings.weight"),
            self._held("positions", places),
            "",
            self._held(f"{name}.LayerNorm.weight"),
            self._held(f"{name}.LayerNorm.bias"),
        ]
        made = [name, "embeddings.lengths"]
        op = "EmbedLayerNormalization"
        self.append(helper.make_node(op, given, made, name, domain=CONTRIB, epsilon=EPSILON))
        return name

    def layer(self, name: str, x: str, mask: str) -> str:
        """One layer, [batch, tokens, d] to the same."""
        weights, dense = self._encoder.weights, f"{name}.attention.output.dense"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        matrix = np.concatenate([weights[f"{part}.weight"].T for part in parts], 1)
        offset = np.concatenate([weights[f"{part}.bias"] for part in parts])
        given = [
            x,
            self._held(f"{name}.qkv.weight", matrix),
            self._held(f"{name}.qkv.bias", offset),
        ]
        sizes = {"num_heads": self._encoder.heads, "mask_filter_value": MASKED}
        attended = self._own("Attention", [*given, mask], f"{name}.attended", **sizes)
        y = self.add("MatMul", [attended, self._matrix(dense)], f"{name}.attention.product")
        y = self._residual(x, y, f"{name}.attention.output")
        up, down = f"{name}.intermediate.dense", f"{name}.output.dense"
        z = self.add("MatMul", [y, self._matrix(up)], f"{name}.up")
        z = self._own("BiasGelu", [z, self._held(f"{up}.bias")], f"{name}.gelu")
        z = self.add("MatMul", [z, self._matrix(down)], f"{name}.down")
        return self._residual(y, z, f"{name}.output")

    def _residual(self, x: str, product: str, name: str) -> str:
        norm = f"{name}.LayerNorm"
        given = [product, x, self._held(f"{norm}.weight"), self._held(f"{norm}.bias")]
        offset = self._held(f"{name}.dense.bias")
        return self._own("SkipLayerNormalization", [*given, offset], norm, epsilon=EPSILON)
