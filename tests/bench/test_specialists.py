"""The demo's specialists: what is packed of them, and what is asked of each row."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import specialists
from bench.setting import Say
from bench.specialists import (
    CREDIT_RISK,
    SENSITIVE_CONTENT,
    SITE_RISK,
    Specialist,
    pack,
    posts,
    requests,
)
from gateway.wire import open_inference_pb2
from tests.trainer import tiny
from trainer import tabular, text
from trainer.datasets import Dataset
from trainer.quality import Costs
from trainer.tabular import FittedTable
from trainer.text import FittedText


@pytest.fixture(scope="module")
def fitted_table() -> FittedTable:
    random = np.random.default_rng(3)
    x = random.normal(0, 1, (80, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int8)
    return tabular.fit(Dataset("made", ("a", "b", "c"), x, y, ("no", "yes"), Costs(4.0, 1.0)))


@pytest.fixture(scope="module")
def fitted_text(tmp_path_factory: pytest.TempPathFactory) -> FittedText:
    return text.fit(tiny.dataset(), tiny.encoder(), cache=tmp_path_factory.mktemp("cache"))


def read(data: bytes) -> open_inference_pb2.ModelInferRequest:
    request = open_inference_pb2.ModelInferRequest()
    request.ParseFromString(data)
    return request


@pytest.mark.parametrize("specialist", [SITE_RISK, CREDIT_RISK, SENSITIVE_CONTENT])
def test_every_held_out_row_is_asked_for(specialist: Specialist) -> None:
    held_out = {"site-risk": 375, "credit-risk": 300, "sensitive-content": 1000}
    assert specialist.sends > held_out[specialist.name]


def test_a_table_is_packed_with_its_decision(fitted_table: FittedTable, tmp_path: Path) -> None:
    pack(SITE_RISK, fitted_table, tmp_path)
    contract = tomllib.loads((tmp_path / "site-risk" / "1" / "contract.toml").read_text())
    assert contract["decision"]["threshold"] == fitted_table.threshold
    assert contract["decision"]["labels"] == ["no", "yes"]


def test_a_text_specialist_is_packed_with_its_tokeniser_and_its_limits(
    fitted_text: FittedText, tmp_path: Path
) -> None:
    pack(SENSITIVE_CONTENT, fitted_text, tmp_path)
    folder = tmp_path / "sensitive-content" / "1"
    contract = tomllib.loads((folder / "contract.toml").read_text())
    assert (folder / "model.onnx").read_bytes() == fitted_text.onnx
    assert (folder / "tokenizer.json").read_bytes() == fitted_text.tokenizer
    assert contract["decision"]["threshold"] == fitted_text.threshold
    assert contract["decision"]["labels"] == ["calm", "loud"]
    limits = {key: contract["text"][key] for key in ("max_tokens", "max_bytes")}
    assert limits == {"max_tokens": 64, "max_bytes": 2048}


def test_rows_are_asked_as_features_and_texts_as_bytes(
    fitted_table: FittedTable, fitted_text: FittedText
) -> None:
    rows = [read(data) for data in requests(SITE_RISK, fitted_table)]
    assert [r.inputs[0].datatype for r in rows] == ["FP32"] * len(fitted_table.held_out_y)
    texts = [read(data) for data in requests(SENSITIVE_CONTENT, fitted_text)]
    assert [r.inputs[0].datatype for r in texts] == ["BYTES"] * len(fitted_text.held_out_y)
    assert texts[0].raw_input_contents[0][4:].decode() == fitted_text.held_out_texts[0]


def test_fitting_posts_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    @contextmanager
    def step(name: str) -> Iterator[Say]:
        shown.append(name)
        yield shown.append

    dataset = replace(tiny.dataset(), name="newsgroups")
    monkeypatch.setattr(specialists, "load_posts", lambda: dataset)
    monkeypatch.setattr(specialists, "load_encoder", tiny.encoder)
    monkeypatch.setattr("trainer.inference.default_cache", lambda: tmp_path)
    assert isinstance(posts(step), FittedText)
    assert shown[:2] == ["fetch the newsgroups set", "fetch the text encoder"]
    assert shown[-1].endswith("280 of 280")
