"""What cannot be used is told in one clear sentence before anything is fitted."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.trainer.tables import signer, spec_of, write_spec, write_table
from trainer.cli.progress import folder_of
from trainer.errors import InputError, SpecError, TrainError
from trainer.evaluation import suite as suites
from trainer.examples import of_rows
from trainer.loop import prepare
from trainer.propose.candidate import pack
from trainer.recipes.shipped import recipe, recipes
from trainer.recipes.sources import sources
from trainer.spec.read import parse_spec, read_spec
from trainer.spec.spec import Spec
from trainer.specialise.bases import resolve
from trainer.specialise.model import Model
from trainer.specialise.trial import Trial, run


def lock(spec: Spec, tmp_path: Path) -> None:
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), signer())


def edited(tmp_path: Path, column: str, row: int, value: str) -> Spec:
    write_table(tmp_path / "data.csv")
    lines = [line.split(",") for line in (tmp_path / "data.csv").read_text().splitlines()]
    lines[row][lines[0].index(column)] = value
    (tmp_path / "data.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    return spec_of(tmp_path)


def test_missing_data(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    (tmp_path / "data.csv").unlink()
    with pytest.raises(InputError, match=r"data\.csv cannot be read: No such file"):
        lock(spec, tmp_path)


def test_data_that_is_no_text(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        lock(spec, tmp_path)


def test_a_packed_file_that_is_cut_short(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, path='path = "data.csv.gz"')
    data = gzip.compress((tmp_path / "data.csv").read_bytes())
    (tmp_path / "data.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        lock(spec, tmp_path)


def test_a_label_column_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column 'lable', but has id, f0"):
        lock(spec_of(tmp_path, label='label = "lable"'), tmp_path)


def test_one_class_only(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, label='label = "label"\npositive = "yes"')
    with pytest.raises(InputError, match="has one class only: its values are 0, 1"):
        lock(spec, tmp_path)


def test_a_value_that_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'f2', row 18: 'many' is no number"):
        lock(edited(tmp_path, "f2", 17, "many"), tmp_path)


@pytest.mark.parametrize("value", ["nan", "inf", "1e60"])
def test_a_number_that_is_not_finite(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=f"row 18: '{value}', but every number must be finite"):
        lock(edited(tmp_path, "f2", 17, value), tmp_path)


def test_an_id_that_occurs_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="occurs twice, but it must name one case"):
        lock(edited(tmp_path, "id", 17, "c3"), tmp_path)


def test_equal_rows_on_both_sides_of_the_split(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    lines = (tmp_path / "data.csv").read_text().splitlines()
    twice = [f"again-{line}" for line in lines[1:200]]
    (tmp_path / "data.csv").write_text("\n".join([*lines, *twice]) + "\n")
    with pytest.raises(InputError, match="same input as a case on another side of the split"):
        lock(spec, tmp_path)
    lock(replace(spec, data=replace(spec.data, duplicates="drop")), tmp_path)


def test_too_few_cases(tmp_path: Path) -> None:
    write_table(tmp_path / "data.csv", rows=90)
    with pytest.raises(InputError, match="fewest that tell anything"):
        lock(spec_of(tmp_path), tmp_path)


def test_a_suite_with_too_few_cases(tmp_path: Path) -> None:
    write_table(tmp_path / "data.csv", rows=300)
    with pytest.raises(InputError, match=r"suite has \d+ cases, but 100 are the fewest"):
        lock(spec_of(tmp_path), tmp_path)


def test_a_suite_without_enough_of_a_kind() -> None:
    examples = of_rows(np.arange(200.0)[:, None], np.r_[np.ones(5), np.zeros(195)], ["f"])
    kinds = ("true_positive",) * 5 + ("true_negative",) * 195
    with pytest.raises(InputError, match="5 of 200 cases of the kind true_positive"):
        suites.check(suites.Suite("core", 1, examples, kinds))


def test_a_base_model_without_weights(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(InputError, match=r"has no config\.json"):
        resolve("base", tmp_path)
    (base / "config.json").write_text("{}")
    (base / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no weights: expected model\.safetensors"):
        resolve("base", tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        resolve("nowhere", tmp_path)


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "cuda", lambda: False)
    spec = spec_of(tmp_path)
    with pytest.raises(InputError, match="no GPU is to be seen"):
        lock(replace(spec, specialise=replace(spec.specialise, device="cuda")), tmp_path)


def test_a_method_for_another_task(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'prices' is not for the task 'binary'"):
        lock(spec_of(tmp_path, methods='methods = ["prices"]'), tmp_path)


def test_a_method_for_texts_on_rows_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cases are rows of numbers"):
        lock(spec_of(tmp_path, methods='methods = ["ngrams"]'), tmp_path)


def test_a_method_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="names 'magic', but there are boosting"):
        lock(spec_of(tmp_path, methods='methods = ["magic"]'), tmp_path)


def test_an_incumbent_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no model directory with a decision"):
        prepare.incumbent(tmp_path, spec_of(tmp_path))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("nam = 1", "nam is not known; did you mean name?"),
        ('name = "a b"', "name must be letters, digits"),
        ("[data]\nsplit = 3", "data.split must be text"),
        ('[data]\nsplit = "fair"', "data.split must be one of random, time, group, given"),
        ("[evaluate]\nconfidence = 2.0", "evaluate.confidence is 2.0, but must be 0.5 to 0.9999"),
        ("[evaluate]\n[[evaluate.gates]]\nmetric='f1'\nlimit=1", "evaluate.gates.metric must be"),
        ("[evaluate]\n[[evaluate.gates]]\nmetric='auc'", "evaluate.gates.limit is missing"),
        ("[evaluate]\n[[evaluate.gates]]\nmetric='surplus'\nlimit=1", "has no meaning for binary"),
        ("[evaluate]\n", "nothing is asked of a candidate"),
        ("= 3", "is no TOML"),
    ],
)
def test_a_file_with_a_mistake_names_the_key(line: str, sentence: str) -> None:
    parts = {
        "name": 'name = "x"\n',
        "data": '[data]\npath="d"\nlabel="l"\n',
        "evaluate": "[evaluate]\n[[evaluate.gates]]\nmetric='auc'\nlimit=0.5\n",
    }
    for key in parts:
        if line.startswith((f"{key} =", f"[{key}]")):
            parts[key] = line + "\n"
    if not any(line + "\n" == part for part in parts.values()):
        parts["name"] += line + "\n"
    with pytest.raises(SpecError) as refused:
        parse_spec("".join(parts.values()), "specialist.toml", Path())
    assert sentence in str(refused.value)


def test_what_init_writes_can_be_read(tmp_path: Path) -> None:
    out = tmp_path / "specialist.toml"
    done = CliRunner().invoke(
        app, ["train", "init", "--name", "fraud", "--out", str(out), "--json"]
    )
    assert (done.exit_code, json.loads(done.stdout)["path"]) == (0, str(out))
    assert read_spec(out).name == "fraud"
    again = CliRunner().invoke(app, ["train", "init", "--name", "x", "--out", str(out)])
    assert again.exit_code == 2


def test_every_recipe_can_be_read() -> None:
    assert len(recipes()) >= 6
    for name in recipes():
        assert recipe(name, Path()).data.source in sources()


def test_a_fit_that_dies_is_told_and_stops_nothing(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(60, 2))
    train = of_rows(rows, rows[:, 0] > 0, ["a", "b"])
    outcome = run(Trial("boosting", {}, np.ones(60), 2, 1, nice=0), train)
    assert outcome.fitted is None
    assert "learning_rate" in outcome.failed or "ended with" in outcome.failed
    slow = run(Trial("boosting", {}, np.ones(60), 2, 1, nice=0, seconds=0.01), train)
    assert slow.failed == "It took longer than 0.01 s."


def test_a_repository_that_cannot_be_written(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    (tmp_path / "models").write_text("a file")
    with pytest.raises(TrainError, match="cannot be packed"):
        pack(read_spec(path), Model(b"no graph"), 0.5)
