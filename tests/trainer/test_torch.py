"""What needs torch: LoRA and its merged graph, checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer import tiny
from trainer.errors import InputError, TrainError
from trainer.examples import Examples, of_texts
from trainer.specialise import fused, lora
from trainer.specialise.methods import Task, method
from trainer.specialise.trial import Trial, run

pytestmark = pytest.mark.trainer


def base(folder: Path) -> Path:
    """A tiny encoder as a Hugging Face directory."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - not in every environment

    found = folder / "base"
    found.mkdir()
    save_file(tiny.weights(), found / "model.safetensors")
    (found / "tokenizer.json").write_bytes(tiny.tokenizer())
    config = {
        "model_type": "bert",
        "vocab_size": len(tiny.WORDS),
        "hidden_size": tiny.WIDTH,
        "num_hidden_layers": tiny.LAYERS,
        "num_attention_heads": tiny.HEADS,
        "intermediate_size": tiny.INNER,
        "max_position_embeddings": tiny.PLACES,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (found / "config.json").write_text(json.dumps(config))
    return found


def posts(n: int = 160) -> Examples:
    random = np.random.default_rng(4)
    y = np.arange(n) % 2
    texts = [
        " ".join([*random.choice(tiny.CALM, 4), *random.choice(tiny.LOUD if one else tiny.CALM, 2)])
        for one in y
    ]
    return of_texts(texts, y, ids=[str(i) for i in range(n)])


def task(tmp_path: Path, name: str = "text_lora", **more: float) -> Task:
    small = {"epochs": 4, "rate": 0.02, "max_tokens": 12, "batch": 16} | more
    train = posts()
    return Task(
        train, np.ones(len(train)), dict(method(name).first) | small, 2, 7, base=str(base(tmp_path))
    )


def test_the_merged_graph_scores_as_torch_does_and_has_learnt(tmp_path: Path) -> None:
    made = lora.fit(task(tmp_path))
    known = np.isfinite(made.fold_scores)
    assert made.difference < 1e-4
    assert 0.1 < known.mean() < 0.9
    y = posts().y
    scores = made.model.scores(posts())
    assert scores[y == 1].mean() - scores[y == 0].mean() > 0.5


def test_the_joined_graph_scores_as_its_parts_do(tmp_path: Path) -> None:
    more = {"joining": 40, "encoder_cases": 100, "encoder_tokens": 6, "buckets_log2": 10}
    made = fused.fit(task(tmp_path, "text_fused", **more))
    assert made.difference < 1e-3
    assert np.isfinite(made.fold_scores).sum() == 40


def test_the_same_fit_twice_is_the_same(tmp_path: Path) -> None:
    one = lora.fit(task(tmp_path))
    other = lora.fit(one_task(tmp_path))
    assert one.model.digest == other.model.digest


def one_task(tmp_path: Path) -> Task:
    train = posts()
    small = {"epochs": 4, "rate": 0.02, "max_tokens": 12, "batch": 16}
    first = dict(method("text_lora").first) | small
    return Task(train, np.ones(len(train)), first, 2, 7, base=str(tmp_path / "base"))


def test_a_fit_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lora.fit(task(tmp_path))
    kept = tmp_path / "kept"
    kept.mkdir()
    broken = replace(
        one_task(tmp_path),
        checkpoint=str(kept),
        parameters=one_task(tmp_path).parameters | {"checkpoint_steps": 3},  # type: ignore[operator]
    )
    calls = 0
    batch_of = lora.batch_of

    def dies(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return batch_of(*args)

    monkeypatch.setattr(lora, "batch_of", dies)
    with pytest.raises(KeyboardInterrupt):
        lora.fit(broken)
    assert list(kept.glob("*.pt"))
    monkeypatch.setattr(lora, "batch_of", batch_of)
    again = lora.fit(broken)
    assert again.model.digest == whole.model.digest


def test_a_loss_that_is_not_finite_ends_the_fit(tmp_path: Path) -> None:
    given = task(tmp_path)
    with pytest.raises(TrainError, match="The fit diverged: the loss of step 0"):
        lora.fit(replace(given, weights=np.full(160, np.inf)))


def test_a_base_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = base(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="only 'bert' is exported"):
        lora.fit(one_task(tmp_path))


def test_a_fit_behind_the_fence_can_use_torch(tmp_path: Path) -> None:
    given = task(tmp_path)
    outcome = run(
        Trial("text_lora", given.parameters, given.weights, 2, 7, nice=0, base=given.base), posts()
    )
    assert outcome.failed == ""
    assert outcome.fitted is not None
