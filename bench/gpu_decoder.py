"""Graphs of decoders used as classifiers, with seeded weights, in two spellings.

`PLAIN` is written in ONNX's own operators, for TensorRT and for the reference on the CPU. `FUSED`
is the same network in ONNX Runtime's operators for attention and normalisation, as its users export
decoders for a GPU. Weights are the same for the same seed, apart from the order of columns.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LENGTH = 128
OPSET = 21
# Random numbers that all matrices are cut from.
BLOCK = 1 << 24


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
TINY = Decoder(32, 2, 4, 2, 16, 48, 50, 8)
LARGE = Decoder(2560, 36, 32, 8, 128, 9728, 151_936)


class _Writer:
    """A graph under construction whose weights are seeded halves."""

    def __init__(self, seed: int, largest: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._chance = np.random.default_rng(seed)
        # Cut from one block: drawing four billion numbers would take minutes.
        numbers = self._chance.standard_normal(min(BLOCK, largest), np.float32)
        self._block = numbers.astype(np.float16)
        self._count = 0

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        return self.add_all(op, inputs, 1, **attributes)[0]

    def add_all(self, op: str, inputs: list[str], outputs: int, **attributes: Any) -> list[str]:
        self._count += 1
        names = [f"{op}_{self._count}" + (f".{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, names[0], **attributes))
        return names

    def own(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """An operator of ONNX Runtime's own."""
        return self.add_all(op, inputs, outputs, domain="com.microsoft", **attributes)

    def hold(self, value: Any, dtype: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def values(self, *shape: int) -> NDArray[np.float16]:
        start = int(self._chance.integers(0, len(self._block)))
        made = np.resize(np.roll(self._block, start), shape)
        made *= np.float16(1 / np.sqrt(shape[0]))
        return made

    def matrix(self, *shape: int) -> str:
        return self.hold(self.values(*shape), np.float16)

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


def _plain(w: _Writer, d: Decoder) -> str:
    """The last position, normalised, in ONNX's own operators; sums in float32."""
    x = w.wide(w.add("Gather", [w.matrix(d.words, d.width), "input_ids"]))
    for _ in range(d.layers):
        x = w.add("Add", [x, w.wide(_attention(w, w.normal(x, d.width), d))])
        x = w.add("Add", [x, w.wide(_network(w, w.normal(x, d.width), d))])
    last = w.add("Gather", [x, w.hold(d.length - 1, np.int64)], axis=1)
    return w.normal(last, d.width)


def _fused(w: _Writer, d: Decoder) -> str:
    """The same in ONNX Runtime's operators; all in float16."""
    ones, small = w.hold(np.ones(d.width), np.float16), {"epsilon": 1e-6}
    angles = np.arange(d.length)[:, None] / 1e6 ** (np.arange(0, d.head, 2) / d.head)
    cos, sin = (w.hold(f(angles), np.float16) for f in (np.cos, np.sin))
    rows = w.add("Gather", [w.add("Shape", ["input_ids"]), w.ints(0)])
    lengths = w.add("Expand", [w.hold([d.length - 1], np.int32), rows])
    total = w.hold(d.length, np.int32)
    sizes = {"num_heads": d.heads, "kv_num_heads": d.groups, "do_rotary": 1}
    x = w.add("Gather", [w.matrix(d.words, d.width), "input_ids"])
    normal = w.add("SimplifiedLayerNormalization", [x, ones], axis=-1, **small)
    for _ in range(d.layers):
        split = [w.values(d.width, n * d.head) for n in (d.heads, d.groups, d.groups)]
        packed = w.add("MatMul", [normal, w.hold(np.concatenate(split, 1), np.float16)])
        given = [packed, "", "", "", "", lengths, total, cos, sin]
        mixed, *_ = w.own("GroupQueryAttention", given, 3, **sizes)
        attention = w.dense(mixed, d.heads * d.head, d.width)
        skip = [x, attention, ones]
        normal, _, _, x = w.own("SkipSimplifiedLayerNormalization", skip, 4, **small)
        gate, up = w.dense(normal, d.width, d.inner), w.dense(normal, d.width, d.inner)
        (open_,) = w.own("QuickGelu", [gate], alpha=1.0)
        network = w.dense(w.add("Mul", [open_, up]), d.inner, d.width)
        normal, _, _, x = w.own("SkipSimplifiedLayerNormalization", [x, network, ones], 4, **small)
    return w.add("Gather", [normal, w.hold(d.length - 1, np.int64)], axis=1)


SPELLINGS = {"plain": _plain, "fused": _fused}


def write_decoder(d: Decoder, spelling: str, folder: Path, seed: int = 0) -> None:
    """Write model.onnx: int64 `input_ids` [n, length] to float32 `score` [n, 1].

    `spelling` is "plain" or "fused". Weights lie in weights.bin beside the graph, since a graph's
    own may have 2 GB at most.
    """
    w = _Writer(seed, 16 * d.width * d.inner)
    logit = w.dense(SPELLINGS[spelling](w, d), d.width, 1)
    w.nodes.append(helper.make_node("Sigmoid", [w.wide(logit)], ["score"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        w.nodes,
        "decoder",
        [value("input_ids", TensorProto.INT64, ["n", d.length])],
        [value("score", TensorProto.FLOAT, ["n", 1])],
        w.weights,
    )
    operators = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=operators[: 1 + (spelling == "fused")])
    model.ir_version = 10
    onnx.save_model(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=1024,
    )
