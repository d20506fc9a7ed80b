"""The graphs that a GPU is timed with: a tabular network, a text encoder, decoders as classifiers.

Decoders have random weights, which is the same to a clock. Their sizes are those of common open
models of half a billion and of four billion parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench import models
from gateway.engines import Bucket, Model, Tensor
from trainer.encoder import Head, to_onnx
from trainer.half import FLOAT16
from trainer.minilm import load_encoder

SCORE = (Tensor("score", "FP32", (-1, 1)),)
LENGTH = 128
OPSET = 21


@dataclass(frozen=True)
class Decoder:
    """Sizes of a decoder: grouped queries, rotary positions, gated feed-forward network."""

    width: int
    layers: int
    heads: int
    groups: int
    head: int
    inner: int
    words: int
    length: int = LENGTH

    @property
    def parameters(self) -> int:
        """Numbers in its tables and matrices."""
        attention = self.width * self.head * (2 * self.heads + 2 * self.groups)
        layer = attention + 3 * self.width * self.inner + 2 * self.width
        return self.words * self.width + self.layers * layer + 2 * self.width


SMALL = Decoder(896, 24, 14, 2, 64, 4864, 151_936)
# For tests: whether it runs, not how fast.
TINY = Decoder(16, 2, 4, 2, 4, 24, 50, 8)
LARGE = Decoder(2560, 36, 32, 8, 128, 9728, 151_936)


@dataclass(frozen=True)
class Shape:
    """A model to time; `weight_bytes` is what every batch reads of the device's memory at least."""

    name: str
    model: Model
    largest: Bucket
    weight_bytes: int
    tokenizer: bytes | None = None
    # Tokens of a row, where rows are texts.
    lengths: tuple[int, ...] = (1,)


class _Writer:
    """A graph under construction whose weights are seeded halves."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._chance = np.random.default_rng(seed)
        self._count = 0

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        name = f"{op}_{self._count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def hold(self, value: Any, dtype: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def matrix(self, *shape: int) -> str:
        values = self._chance.standard_normal(shape, np.float32) / np.sqrt(shape[0])
        return self.hold(values, np.float16)

    def ints(self, *values: int) -> str:
        return self.hold(values, np.int64)

    def dense(self, x: str, rows: int, columns: int) -> str:
        """Product in halves of a float16 value."""
        return self.add("MatMul", [x, self.matrix(rows, columns)])

    def narrow(self, x: str) -> str:
        return self.add("Cast", [x], to=TensorProto.FLOAT16)

    def wide(self, x: str) -> str:
        return self.add("Cast", [x], to=TensorProto.FLOAT)

    def normal(self, x: str, width: int) -> str:
        """Root mean square normalisation in float32, as halves."""
        square = self.add("Mul", [x, x])
        mean = self.add("ReduceMean", [square, self.ints(-1)], keepdims=1)
        root = self.add("Sqrt", [self.add("Add", [mean, self.hold(1e-6, np.float32)])])
        scaled = self.add(
            "Mul", [self.add("Div", [x, root]), self.hold(np.ones(width), np.float32)]
        )
        return self.narrow(scaled)

    def turned(self, x: str, d: Decoder) -> str:
        """Rotary positions of [n, heads, length, head]."""
        angles = np.arange(d.length)[:, None] / 1e6 ** (np.arange(0, d.head, 2) / d.head)
        both = np.concatenate([angles, angles], 1)
        half = self.ints(d.head // 2), self.ints(0), self.ints(d.head), self.ints(3)
        first = self.add("Slice", [x, half[1], half[0], half[3]])
        second = self.add("Slice", [x, half[0], half[2], half[3]])
        swapped = self.add("Concat", [self.add("Neg", [second]), first], axis=3)
        cos, sin = (self.hold(f(both), np.float16) for f in (np.cos, np.sin))
        return self.add("Add", [self.add("Mul", [x, cos]), self.add("Mul", [swapped, sin])])


def _split(w: _Writer, x: str, heads: int, d: Decoder) -> str:
    shaped = w.add("Reshape", [x, w.ints(-1, d.length, heads, d.head)])
    return w.add("Transpose", [shaped], perm=[0, 2, 1, 3])


def _attention(w: _Writer, x: str, d: Decoder) -> str:
    q = w.turned(_split(w, w.dense(x, d.width, d.heads * d.head), d.heads, d), d)
    k = w.turned(_split(w, w.dense(x, d.width, d.groups * d.head), d.groups, d), d)
    v = _split(w, w.dense(x, d.width, d.groups * d.head), d.groups, d)
    each = d.heads // d.groups
    q = w.add("Reshape", [q, w.ints(-1, d.groups, each * d.length, d.head)])
    match = w.add("MatMul", [q, w.add("Transpose", [k], perm=[0, 1, 3, 2])])
    match = w.add("Reshape", [match, w.ints(-1, d.heads, d.length, d.length)])
    later = np.triu(np.full((d.length, d.length), -1e4, np.float32), 1)
    scaled = w.add("Mul", [w.wide(match), w.hold(d.head**-0.5, np.float32)])
    share = w.add("Softmax", [w.add("Add", [scaled, w.hold(later, np.float32)])], axis=-1)
    grouped = w.add("Reshape", [w.narrow(share), w.ints(-1, d.groups, each * d.length, d.length)])
    mixed = w.add("MatMul", [grouped, v])
    mixed = w.add("Reshape", [mixed, w.ints(-1, d.heads, d.length, d.head)])
    joined = w.add("Transpose", [mixed], perm=[0, 2, 1, 3])
    flat = w.add("Reshape", [joined, w.ints(-1, d.length, d.heads * d.head)])
    return w.dense(flat, d.heads * d.head, d.width)


def _network(w: _Writer, x: str, d: Decoder) -> str:
    gate, up = w.dense(x, d.width, d.inner), w.dense(x, d.width, d.inner)
    open_ = w.add("Mul", [gate, w.add("Sigmoid", [gate])])
    return w.dense(w.add("Mul", [open_, up]), d.inner, d.width)


def decoder(d: Decoder, folder: Path, seed: int = 0) -> dict[str, bytes]:
    """The graph's files: int64 `input_ids` [n, length] to float32 `score` [n, 1].

    Weights lie in a file beside the graph, since a graph's own may have 2 GB at most.
    """
    w = _Writer(seed)
    x = w.wide(w.add("Gather", [w.matrix(d.words, d.width), "input_ids"]))
    for _ in range(d.layers):
        x = w.add("Add", [x, w.wide(_attention(w, w.normal(x, d.width), d))])
        x = w.add("Add", [x, w.wide(_network(w, w.normal(x, d.width), d))])
    last = w.add("Gather", [x, w.hold(d.length - 1, np.int64)], axis=1)
    logit = w.dense(w.normal(last, d.width), d.width, 1)
    w.nodes.append(helper.make_node("Sigmoid", [w.wide(logit)], ["score"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        w.nodes,
        "decoder",
        [value("input_ids", TensorProto.INT64, ["n", d.length])],
        [value("score", TensorProto.FLOAT, ["n", 1])],
        w.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.save_model(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=1024,
    )
    return {name: (folder / name).read_bytes() for name in ("model.onnx", "weights.bin")}


DECODERS = (("decoder-tiny", TINY, 8), ("decoder-0.5b", SMALL, 8), ("decoder-4b", LARGE, 8))


def shapes(names: tuple[str, ...], folder: Path) -> Iterator[Shape]:
    """The shapes of these names: tabular, encoder, decoder-tiny, decoder-0.5b, decoder-4b."""
    if "tabular" in names:
        graph = models.perceptron().SerializeToString()
        features = (Tensor("features", "FP32", (-1, models.FEATURES)),)
        model = Model(features, SCORE, {"model.onnx": graph}, "model.onnx")
        yield Shape("tabular", model, Bucket(64), len(graph))
    if "encoder" in names:
        encoder = load_encoder()
        width = encoder.weights["embeddings.word_embeddings.weight"].shape[1]
        weight = np.random.default_rng(0).standard_normal((width, 1)).astype(np.float32)
        graph = to_onnx(encoder, Head(weight, np.zeros(1, np.float32)), FLOAT16)
        names_ = ("input_ids", "attention_mask")
        inputs = tuple(Tensor(name, "INT64", (-1, -1)) for name in names_)
        model = Model(inputs, SCORE, {"model.onnx": graph}, "model.onnx")
        lengths = (16, 32, 64, 128)
        yield Shape("encoder", model, Bucket(64, 128), len(graph), encoder.tokenizer, lengths)
    for name, size, rows in DECODERS:
        if name in names:
            files = decoder(size, folder)
            ids = (Tensor("input_ids", "INT64", (-1, size.length)),)
            model = Model(ids, SCORE, files, "model.onnx")
            yield Shape(name, model, Bucket(rows), 2 * size.parameters)
