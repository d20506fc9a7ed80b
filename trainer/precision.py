"""How the encoder's graph multiplies and looks up: in float32, or in int8, a scale a token.

Whatever is done to a row must not depend on the other rows of its batch. ONNX Runtime's own
dynamic quantisation takes one scale for the whole batch, so a neighbour's large value makes a
row's steps coarser and can flip its decision. `per_token` takes one scale a token instead:
integers are exact, so a row's answer is the same in any company. docs/adr/0005 has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trainer.graph import Graph
from trainer.minilm import Tensor

# The largest magnitude of an int8 weight. A processor without VNNI adds pairs of products of
# uint8 and int8 in 16 bits and cuts them off at 32,767: with 7 bits, 2 · 255 · 64 stays below
# that, so every processor computes the same integers.
WEIGHT_LIMIT = 64
# Tokens are stored as uint8 about this middle; the magnitudes are up to 127.
TOKEN_LIMIT, TOKEN_MIDDLE = 127, 128
# A token of zeros has no scale of its own.
LEAST_SCALE = 1e-12


class Dense(Protocol):
    """Writes `x @ weight + bias` into a graph."""

    def __call__(self, graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """The name of the product, float32 [batch, tokens, n].

        Args:
            graph: to write into.
            x: name of a float32 value [batch, tokens, k].
            weight: float32 [k, n].
            bias: float32 [n].
            name: of the product; begins the names of all that is written.
        """
        ...


class Lookup(Protocol):
    """Writes `table[ids]` into a graph."""

    def __call__(self, graph: Graph, table: Tensor, ids: str, name: str) -> str:
        """The name of the rows, float32 [batch, tokens, d], of table, float32 [v, d]."""
        ...


def float32_dense(graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
    """`Dense` in float32."""
    product = graph.add("MatMul", [x, graph.constant(f"{name}.weight", weight)], f"{name}.product")
    return graph.add("Add", [product, graph.constant(f"{name}.bias", bias)], name)


def float32_lookup(graph: Graph, table: Tensor, ids: str, name: str) -> str:
    """`Lookup` in float32."""
    return graph.add("Gather", [graph.constant(f"{name}.table", table), ids], name)


def per_token(graph: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
    """`Dense` in int8: each token (row of x) and each column of the weight by its own scale.

    With s the token's largest magnitude over 127 and w a column's over 64:
    y = (round(x / s) · round(weight / w)) · s · w + bias, the product in int32.
    """
    scale, steps = quantised(weight, WEIGHT_LIMIT, axis=0)
    largest = graph.add(
        "ReduceMax",
        [graph.add("Abs", [x], f"{name}.abs"), graph.constant("last_axis", [-1], np.int64)],
        f"{name}.largest",
        keepdims=1,
    )
    raw = graph.add("Mul", [largest, graph.constant("per_step", 1 / TOKEN_LIMIT)], f"{name}.raw")
    token_scale = graph.add("Max", [raw, graph.constant("least", LEAST_SCALE)], f"{name}.scale")
    middle = graph.constant("middle", TOKEN_MIDDLE, np.uint8)
    # A block as long as a token: one scale a token in one pass. Its zero point has its form.
    form = graph.add("Shape", [token_scale], f"{name}.form")
    middles = graph.add("Expand", [middle, form], f"{name}.middles")
    steps_of_x = graph.add(
        "QuantizeLinear",
        [x, token_scale, middles],
        f"{name}.steps",
        axis=-1,
        block_size=weight.shape[0],
    )
    stored = graph.constant(f"{name}.weight", steps, np.int8)
    whole = graph.add("MatMulInteger", [steps_of_x, stored, middle], f"{name}.whole")
    exact = graph.add("Cast", [whole], f"{name}.exact", to=1)
    by_token = graph.add("Mul", [exact, token_scale], f"{name}.by_token")
    columns = graph.constant(f"{name}.weight_scale", scale)
    scaled = graph.add("Mul", [by_token, columns], f"{name}.scaled")
    return graph.add("Add", [scaled, graph.constant(f"{name}.bias", bias)], name)


def int8_lookup(graph: Graph, table: Tensor, ids: str, name: str) -> str:
    """`Lookup` in a table of int8 with one scale a row: a quarter of the file."""
    scale, steps = quantised(table, 127, axis=1)
    stored = graph.constant(f"{name}.table", steps, np.int8)
    rows = graph.add(
        "Cast", [graph.add("Gather", [stored, ids], f"{name}.steps")], f"{name}.exact", to=1
    )
    scales = graph.add("Gather", [graph.constant(f"{name}.scales", scale), ids], f"{name}.scale")
    return graph.add("Mul", [rows, scales], name)


def quantised(weight: Tensor, limit: int, *, axis: int) -> tuple[Tensor, Tensor]:
    """Scales, with `axis` kept as one, and whole numbers in ±`limit`, both float32.

    `weight` is about scale · whole numbers, and zero stays zero.
    """
    largest = np.abs(weight).max(axis=axis, keepdims=True)
    scale = (np.maximum(largest, LEAST_SCALE) / limit).astype(np.float32)
    return scale, np.round(weight / scale)


@dataclass(frozen=True)
class Precision:
    """How a graph multiplies and looks up; `name` is for people."""

    name: str
    dense: Dense
    lookup: Lookup


FLOAT32 = Precision("float32", float32_dense, float32_lookup)
INT8_PER_TOKEN = Precision("int8, a scale a token", per_token, int8_lookup)
