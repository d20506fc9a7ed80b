"""The encoder's graph against the same written in numpy, and that rows keep to themselves."""

from __future__ import annotations

from math import erf

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from tests.trainer import tiny
from trainer.encoder import EPSILON, Head, to_onnx
from trainer.fused import to_fused_onnx
from trainer.inference import feed, session
from trainer.precision import (
    FLOAT32,
    INT8_PER_TOKEN,
    TOKEN_LIMIT,
    TOKEN_MIDDLE,
    WEIGHT_LIMIT,
    Precision,
    quantised,
)

Wide = npt.NDArray[np.float64]
PRECISIONS = pytest.mark.parametrize("precision", [FLOAT32, INT8_PER_TOKEN], ids=lambda p: p.name)
HEAD = Head(np.linspace(-6, 6, tiny.WIDTH, dtype=np.float32)[:, None], np.array([0.3], np.float32))


def rows(*lengths: int, seed: int = 1) -> list[npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, len(tiny.WORDS), length, dtype=np.int64) for length in lengths]


def embeddings(ids: list[npt.NDArray[np.int64]], precision: Precision, tokens: int) -> Wide:
    graph = to_onnx(tiny.encoder(), precision=precision)
    (found,) = session(graph).run(None, feed(ids, tokens))
    return np.asarray(found, np.float64)


def scores(ids: list[npt.NDArray[np.int64]], precision: Precision, tokens: int) -> Wide:
    (found,) = session(to_onnx(tiny.encoder(), HEAD, precision)).run(None, feed(ids, tokens))
    return np.asarray(found, np.float64)


def reference(ids: npt.NDArray[np.int64]) -> Wide:
    """One row's embedding, token by token and head by head in float64, from the description."""
    weights = {name: tensor.astype(np.float64) for name, tensor in tiny.weights().items()}

    def linear(x: Wide, name: str) -> Wide:
        found: Wide = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return found

    def normal(x: Wide, name: str) -> Wide:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        found: Wide = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return found

    gelu = np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normal(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = tiny.WIDTH // tiny.HEADS
    for layer in range(tiny.LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.empty_like(x)
        for head in range(tiny.HEADS):
            part = slice(head * size, (head + 1) * size)
            match = np.exp(q[:, part] @ k[:, part].T / np.sqrt(size))
            mixed[:, part] = match / match.sum(-1, keepdims=True) @ v[:, part]
        y = linear(mixed, f"{name}.attention.output.dense")
        y = normal(y + x, f"{name}.attention.output.LayerNorm")
        z = linear(gelu(linear(y, f"{name}.intermediate.dense")), f"{name}.output.dense")
        x = normal(z + y, f"{name}.output.LayerNorm")
    mean = x.mean(0)
    found: Wide = mean / np.linalg.norm(mean)
    return found


def test_the_float32_graph_computes_what_is_described_padded_or_not() -> None:
    ids = rows(1, 7, 20, 12)
    expected = np.array([reference(row) for row in ids])
    np.testing.assert_allclose(embeddings(ids, FLOAT32, 20), expected, atol=2e-6)
    np.testing.assert_allclose(embeddings(ids, FLOAT32, tiny.PLACES), expected, atol=2e-6)


def test_the_int8_graph_points_the_same_way() -> None:
    ids = rows(1, 7, 20, 12)
    cosines = np.sum(embeddings(ids, INT8_PER_TOKEN, 20) * [reference(row) for row in ids], axis=1)
    assert cosines.min() > 0.995


@PRECISIONS
def test_the_score_is_a_logistic_regression_on_the_embedding(precision: Precision) -> None:
    ids = rows(3, 9, 14)
    logits = embeddings(ids, precision, 14) @ HEAD.weight + HEAD.bias
    np.testing.assert_allclose(scores(ids, precision, 14), 1 / (1 + np.exp(-logits)), atol=2e-6)


@PRECISIONS
def test_a_rows_score_is_its_own_in_any_company(precision: Precision) -> None:
    ids = rows(*[9] * 16)
    together = scores(ids, precision, 9)
    alone = np.concatenate([scores([row], precision, 9) for row in ids])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    padded = scores([*ids, *rows(20)], precision, tiny.PLACES)[:16]
    np.testing.assert_allclose(padded, alone, atol=1e-6)


@PRECISIONS
def test_a_row_of_nothing_but_padding_harms_nobody(precision: Precision) -> None:
    (row,) = rows(9)
    found = scores([row, np.array([], np.int64)], precision, 9)
    np.testing.assert_allclose(found[:1], scores([row], precision, 9), atol=1e-6)
    assert np.isfinite(found).all()


@PRECISIONS
def test_the_graph_has_the_documented_inputs_and_output(precision: Precision) -> None:
    graph = onnx.load_from_string(to_onnx(tiny.encoder(), HEAD, precision)).graph

    def form(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]

    whole, single = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    assert [form(value) for value in graph.input] == [
        ("input_ids", whole, ["batch", "tokens"]),
        ("attention_mask", whole, ["batch", "tokens"]),
    ]
    assert [form(value) for value in graph.output] == [("score", single, ["batch", 1])]


@PRECISIONS
def test_the_same_weights_give_the_same_bytes(precision: Precision) -> None:
    assert to_onnx(tiny.encoder(), HEAD, precision) == to_onnx(tiny.encoder(), HEAD, precision)


def test_quantised_weights_are_within_half_a_step_and_the_limit() -> None:
    weight = np.random.default_rng(2).normal(0, 1, (40, 6)).astype(np.float32)
    weight[:, 3] = 0
    scale, steps = quantised(weight, 64, axis=0)
    assert scale.shape == (1, 6)
    assert np.abs(steps).max(axis=0).tolist() == [64, 64, 64, 0, 64, 64]
    assert (np.abs(steps * scale - weight) <= scale / 2 * (1 + 1e-5)).all()


def test_no_processor_can_overflow_a_pair_of_products() -> None:
    largest_token = TOKEN_MIDDLE + TOKEN_LIMIT
    assert 2 * largest_token * WEIGHT_LIMIT < 2**15


def test_in_onnx_runtimes_own_operators_it_is_the_same_encoder() -> None:
    ids = rows(3, 9, 1, 6)
    fused = session(to_fused_onnx(tiny.encoder(), HEAD, np.float32))
    (found,) = fused.run(None, feed(ids, 9))
    np.testing.assert_allclose(found, scores(ids, FLOAT32, 9), atol=2e-6)
    half = onnx.load_from_string(to_fused_onnx(tiny.encoder(), HEAD))
    products = [i for i in half.graph.initializer if len(i.dims) == 2 and "head" not in i.name]
    assert {i.data_type for i in products} == {onnx.TensorProto.FLOAT16}
