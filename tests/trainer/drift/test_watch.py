"""Watching a log: quiet is quiet, a shift asks for a run, and what was logged can be learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from trainer.errors import InputError
from trainer.recipes import decisions
from trainer.spec.read import parse_spec

pa = pytest.importorskip("pyarrow", reason="the trainer extra is not installed")

SPEC = """
name = "fraud"
[data]
source = "decisions"
path = "log"
label = "label"
latest = 300
[evaluate]
[[evaluate.gates]]
metric = "auc"
limit = 0.7
"""


def write_log(folder: Path, n: int, moved_from: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(1)
    x = random.normal(size=(n, 3)).astype(np.float32)
    x[moved_from:, 1] += 1.5
    score = 1 / (1 + np.exp(-x[:, 0]))
    ids = [f"r{i}" for i in range(n)]
    columns = {
        "request_id": ids,
        "time_ns": list(range(n)),
        "model": ["fraud"] * n,
        "digest": ["sha256:" + "0" * 64] * n,
        "latency_us": [80.0] * n,
        "input:features": x.tolist(),
        "output:score": [[float(s)] for s in score],
    }
    outcomes = {
        "request_id": ids[::2],
        "time_ns": list(range(len(ids[::2]))),
        "label": [float(v) for v in x[::2, 0] > 0],
    }
    for name, held in (("decisions-1", columns), ("feedback-1", outcomes)):
        table = pa.table(held)
        with pa.ipc.new_file(folder / f"{name}.arrow", table.schema) as out:
            out.write_table(table)


def ask(tmp_path: Path) -> tuple[int, dict[str, object]]:
    (tmp_path / "specialist.toml").write_text(SPEC)
    words = ["train", "watch", str(tmp_path / "specialist.toml"), "--log", str(tmp_path / "log")]
    words += ["--reference", "500", "--every", "20000", "--json"]
    done = CliRunner().invoke(app, words)
    return done.exit_code, json.loads(done.stdout)


def test_a_quiet_log_asks_for_nothing(tmp_path: Path) -> None:
    write_log(tmp_path / "log", 1500, 1500)
    code, told = ask(tmp_path)
    assert (code, told["alarm"]) == (0, None)
    assert not (tmp_path / "runs" / "fraud" / "run-wanted.json").exists()


def test_a_shift_asks_for_a_run_and_says_why(tmp_path: Path) -> None:
    write_log(tmp_path / "log", 1500, 1000)
    code, told = ask(tmp_path)
    assert code == 1
    assert told["columns"][0]["column"] == "feature 1"  # type: ignore[index]
    wanted = json.loads((tmp_path / "runs" / "fraud" / "run-wanted.json").read_text())
    assert wanted["alarm"]["column"] == "feature 1"
    assert wanted["reason"].startswith("drift: feature 1 changed")
    assert wanted["labelled_since"] > 100


def test_a_log_that_is_too_short_is_told(tmp_path: Path) -> None:
    write_log(tmp_path / "log", 400, 400)
    code, told = ask(tmp_path)
    assert code == 1
    assert "The log has 400 requests" in str(told["error"])


def test_the_newest_labelled_requests_are_learnt_from_and_equals_stay_together(
    tmp_path: Path,
) -> None:
    write_log(tmp_path / "log", 1000, 1000)
    found = decisions.load(parse_spec(SPEC, "specialist.toml", tmp_path))
    assert len(found.examples) == 300
    assert found.examples.ids[-1] == "r998"
    assert found.groups is not None
    assert len(set(found.groups)) == 300
    with pytest.raises(InputError, match="has no decisions-"):
        decisions.load(parse_spec(SPEC, "specialist.toml", tmp_path / "log"))
