"""Fitting a head on texts: the tiny encoder stands for the published one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tiny
from trainer.encoder import to_onnx
from trainer.inference import feed, key, run, run_once, same_length, session
from trainer.precision import INT8_PER_TOKEN
from trainer.quality import decide
from trainer.text import FittedText, candidates, fit, rows_to_compute
from trainer.tokens import bare, encode


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def fitted(cache: Path) -> FittedText:
    return fit(tiny.dataset(), tiny.encoder(), cache=cache)


def test_the_head_tells_the_classes_apart(fitted: FittedText) -> None:
    assert fitted.quality.auc > 0.9
    assert fitted.agreement.same_decisions == 60
    assert set(fitted.cv_auc) == set(candidates())


def test_the_packed_graph_decides_the_held_out_texts_as_measured(fitted: FittedText) -> None:
    ids = encode(fitted.tokenizer, fitted.held_out_texts, fitted.max_tokens, fitted.max_bytes)
    assert [own.tolist() for own in ids] == [own.tolist() for own in fitted.held_out_ids]
    opened = session(fitted.onnx)
    alone = np.concatenate([opened.run(None, feed([own]))[0] for own in ids])[:, 0]
    np.testing.assert_allclose(alone, fitted.held_out_scores, atol=1e-6)
    assert decide(alone, fitted.threshold).tolist() == (
        decide(fitted.held_out_scores, fitted.threshold).tolist()
    )


def test_the_tokeniser_to_pack_has_no_settings_of_its_own(fitted: FittedText) -> None:
    assert fitted.tokenizer == bare(tiny.tokenizer())


def test_the_threshold_is_one_that_float32_holds(fitted: FittedText) -> None:
    assert float(np.float32(fitted.threshold)) == fitted.threshold


def test_texts_with_the_tokens_of_a_training_text_are_counted(fitted: FittedText) -> None:
    # Short texts of five words repeat.
    assert 0 < fitted.seen_share < 1
    assert fitted.quality_unseen is not None
    assert fitted.quality_unseen.rows == round(60 * (1 - fitted.seen_share))


def test_fitting_again_computes_nothing_and_gives_the_same(
    fitted: FittedText, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.inference.run", lambda *_: pytest.fail("computed again"))
    again = fit(tiny.dataset(), tiny.encoder(), cache=cache)
    assert (again.onnx, again.threshold) == (fitted.onnx, fitted.threshold)


def test_progress_adds_up_to_all_rows(tmp_path: Path) -> None:
    told: list[int] = []
    fit(tiny.dataset(), tiny.encoder(), cache=tmp_path, advance=told.append)
    assert sum(told) == rows_to_compute(tiny.dataset()) == 280


def test_fitting_sees_no_held_out_label(fitted: FittedText, cache: Path) -> None:
    plain = tiny.dataset()
    y = plain.y.copy()
    y[plain.parts.held_out] = 1 - y[plain.parts.held_out]
    other = fit(replace(plain, y=y), tiny.encoder(), cache=cache)
    assert (other.onnx, other.threshold) == (fitted.onnx, fitted.threshold)
    assert other.quality.auc < 0.1


def test_rows_of_one_length_go_together_and_none_is_lost() -> None:
    ids = [np.zeros(length, np.int64) for length in (3, 5, 3, 3, 5, 1, 3, 3)]
    batches = list(same_length(ids, 3))
    assert batches == [[1, 4], [0, 2, 3], [6, 7], [5]]


def test_answers_come_back_in_the_order_of_the_texts() -> None:
    ids = encode(tiny.tokenizer(), ["tea", "rain drum tea", "drum", "tea tea rain", "rain"])
    graph = to_onnx(tiny.encoder())
    alone = np.concatenate([run(graph, [own]) for own in ids])
    np.testing.assert_allclose(run(graph, ids), alone, atol=1e-6)


def test_kept_answers_are_those_of_this_graph_and_these_tokens(tmp_path: Path) -> None:
    one, two = encode(tiny.tokenizer(), ["tea", "rain"])
    graph, other = to_onnx(tiny.encoder()), to_onnx(tiny.encoder(), precision=INT8_PER_TOKEN)
    assert (
        len({key(graph, [one]), key(graph, [two]), key(graph, [one, two]), key(other, [one])}) == 4
    )
    first = run_once(graph, [one], tmp_path)
    assert run_once(graph, [one], tmp_path).tolist() == first.tolist()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_row_that_is_longer_than_its_place_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens cannot be padded to 2"):
        feed([np.zeros(3, np.int64)], 2)
