"""Comparing precisions: the variants on the tiny encoder, and the verdict on made-up scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from onnxruntime.quantization import CalibrationMethod

from bench import precision
from bench.precision import Scored, compared, scores, timed
from bench.scenario import Scenario
from bench.variants import Variant, block_wise, dynamic, static, stored_int8
from tests.trainer import tiny
from trainer.encoder import Head, to_onnx
from trainer.graph import Graph, float32
from trainer.inference import session
from trainer.precision import FLOAT32, INT8_PER_TOKEN, Precision, float32_lookup
from trainer.tokens import encode

HEAD = Head(np.linspace(-6, 6, tiny.WIDTH, dtype=np.float32)[:, None], np.array([0.3], np.float32))


def ids(count: int = 64, tokens: int = 12) -> list[npt.NDArray[np.int64]]:
    random = np.random.default_rng(3)
    return [random.integers(4, len(tiny.WORDS), tokens, dtype=np.int64) for _ in range(count)]


def plain() -> bytes:
    return to_onnx(tiny.encoder(), HEAD, FLOAT32)


def test_a_scale_a_batch_moves_scores_by_their_company_and_a_scale_a_token_does_not() -> None:
    batchwise = scores(Variant("batch", dynamic(plain())), ids())
    tokenwise = scores(Variant("token", to_onnx(tiny.encoder(), HEAD, INT8_PER_TOKEN)), ids())
    assert np.abs(batchwise.alone - batchwise.beside).max() > 1e-3
    assert np.abs(tokenwise.alone - tokenwise.beside).max() < 1e-6


@pytest.mark.parametrize("method", [CalibrationMethod.MinMax, CalibrationMethod.Percentile])
def test_static_scores_are_near_float32_and_independent(method: CalibrationMethod) -> None:
    found = scores(Variant("static", static(plain(), ids(), method)), ids())
    exact = scores(Variant("float32", plain()), ids())
    assert np.abs(found.alone - exact.alone).mean() < 0.1
    np.testing.assert_allclose(found.alone, found.beside, atol=1e-6)


def test_stored_int8_scores_are_near_float32() -> None:
    graph = to_onnx(tiny.encoder(), HEAD, Precision("stored", stored_int8, float32_lookup))
    found, exact = scores(Variant("s", graph), ids()), scores(Variant("float32", plain()), ids())
    assert np.abs(found.alone - exact.alone).max() < 0.05


@pytest.mark.parametrize(("bits", "error"), [(8, 0.02), (4, 0.25)])
def test_block_wise_weights_multiply_as_they_were(bits: int, error: float) -> None:
    random = np.random.default_rng(4)
    weight = random.normal(0, 1, (64, 6)).astype(np.float32)
    bias = random.normal(0, 1, 6).astype(np.float32)
    x = random.normal(0, 1, (2, 5, 64)).astype(np.float32)
    graph = Graph()
    block_wise(graph, "x", weight, bias, "y", bits=bits, block=32)
    model = graph.model(
        "one", [float32("x", "batch", "tokens", 64)], float32("y", 2, 5, 6), opset=21
    )
    (found,) = session(model).run(None, {"x": x})
    wrong = np.abs(found - (x @ weight + bias)).mean() / np.abs(x @ weight).mean()
    assert wrong < error


def test_flips_and_changes_are_counted_against_the_row_alone() -> None:
    def array(*values: float) -> npt.NDArray[np.float32]:
        return np.array(values, np.float32)

    found = Scored(array(0.1, 0.4, 0.6, 0.9), array(0.1, 0.5, 0.4, 0.9), array(0.1, 0.4, 0.6, 0.2))
    y = np.array([0, 0, 1, 1], np.int8)
    told = compared(found, array(0.1, 0.6, 0.6, 0.9), 0.5, y)
    assert told["auc"] == 1.0
    assert told["decided_as_float32"] == 0.75
    assert (told["flips_beside"], told["flips_padded"]) == (2, 1)
    assert told["largest_change_from_float32"] == pytest.approx(0.2)
    assert told["largest_change_beside"] == pytest.approx(0.2)
    assert told["largest_change_padded"] == pytest.approx(0.7)


def test_every_variant_has_a_window_a_repeat_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "SHAPES", ((1, 4), (3, 4)))
    s = Scenario("s", "precision", "t", repeats=2, duration_s=0)
    full = encode(tiny.tokenizer(), ["tea rain tea rain"] * 3)
    found = timed(s, lambda _: None, [Variant("a", plain()), Variant("b", plain())], full)
    assert {key: len(values) for key, values in found.items()} == {
        (name, shape): 2 for name in "ab" for shape in ((1, 4), (3, 4))
    }
