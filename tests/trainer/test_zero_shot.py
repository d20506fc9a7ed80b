"""The base model untrained, as a baseline: which directories it reads, and its place in reports."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tiny
from trainer.errors import InputError
from trainer.evaluation.plain import baselines
from trainer.evaluation.zero_shot import zero_shot
from trainer.examples import of_texts
from trainer.quality import auc
from trainer.spec.spec import Data, Decide, Evaluate, Spec, Specialise

WORDS = (" ".join(tiny.CALM), " ".join(tiny.LOUD))


def directory(folder: Path, prefix: str = "", kind: str = "bert") -> Path:
    """The tiny encoder as a Hugging Face directory, written without the format's own package."""
    folder.mkdir()
    head, body = {}, b""
    for name, value in tiny.weights().items():
        data = np.ascontiguousarray(value, "<f4").tobytes()
        head[prefix + name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    told = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(told)) + told + body)
    (folder / "tokenizer.json").write_bytes(tiny.tokenizer())
    config = {"model_type": kind, "num_attention_heads": tiny.HEADS}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_texts_are_ordered_by_the_words_of_the_classes(tmp_path: Path) -> None:
    data = tiny.dataset()
    found = zero_shot(str(directory(tmp_path / "base")), WORDS, data.texts)
    assert found is not None
    assert auc(found, data.y) > 0.6
    turned = zero_shot(str(tmp_path / "base"), WORDS[::-1], data.texts)
    assert turned is not None
    assert auc(turned, data.y) == pytest.approx(1 - auc(found, data.y))


def test_a_model_for_a_task_is_read_by_its_encoder(tmp_path: Path) -> None:
    plain = zero_shot(str(directory(tmp_path / "plain")), WORDS, ("tea drum",))
    task = zero_shot(str(directory(tmp_path / "task", prefix="bert.")), WORDS, ("tea drum",))
    assert plain is not None
    assert task is not None
    assert plain == pytest.approx(task)


def test_another_kind_of_model_has_no_such_baseline_and_a_broken_one_is_an_error(
    tmp_path: Path,
) -> None:
    assert zero_shot(str(directory(tmp_path / "gpt", kind="gpt2")), WORDS, ("tea",)) is None
    (directory(tmp_path / "broken") / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="broken cannot be read"):
        zero_shot(str(tmp_path / "broken"), WORDS, ("tea",))


def test_the_report_has_it_where_there_is_a_base_by_labels_or_by_descriptions(
    tmp_path: Path,
) -> None:
    data = tiny.dataset()
    examples = of_texts(data.texts, data.y.astype(float))
    spec = Spec(
        "posts",
        Data(),
        Evaluate(),
        specialise=Specialise(base="base"),
        decide=Decide(labels=WORDS),
        folder=str(tmp_path),
    )
    directory(tmp_path / "base")
    by_labels = baselines(examples, examples, spec)["the base model, untrained"]
    described = replace(spec, decide=Decide(labels=("0", "1"), descriptions=WORDS))
    by_words = baselines(examples, examples, described)["the base model, untrained"]
    assert np.array_equal(by_labels, by_words)
    without = replace(spec, specialise=Specialise())
    assert list(baselines(examples, examples, without)) == ["TF-IDF and logistic regression"]
