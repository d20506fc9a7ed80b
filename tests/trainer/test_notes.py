"""Sections of notes: what is read, what a recipe refuses before anything is loaded."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import InputError, SpecError
from trainer.notes import judge, sections, settings
from trainer.notes.sections import Section
from trainer.notes.settings import Fit


def written(folder: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    with (folder / name).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["ID", "section_header", "section_text", "dialogue"])
        out.writerows([i, *row] for i, row in enumerate(rows))


def three(folder: Path, test: list[tuple[str, str, str]]) -> None:
    written(folder, sections.TRAIN, [("CC", "Cough.", "Doctor: Why?\nPatient: I cough.")] * 2)
    written(
        folder,
        sections.VALIDATION,
        [("ROS", "No fever.", "Doctor: Fever?  Patient: No."), ("ROS", "Well.", "Doctor: Well?")],
    )
    written(folder, sections.TEST, test)


def test_sections_are_read_and_what_is_in_the_test_is_not_learnt(tmp_path: Path) -> None:
    three(tmp_path, [("ROS", "None.", "Doctor: Fever? Patient: No."), ("CC", "Pain.", "Hello.")])
    train, test = sections.load(tmp_path)
    cough = Section("CC", "Cough.", "Doctor: Why? Patient: I cough.")
    assert train == (cough, cough, Section("ROS", "Well.", "Doctor: Well?"))
    assert len(test) == 2
    assert sections.headers([*train, *test]) == ("CC", "ROS")


def test_a_header_that_nobody_could_learn_is_told(tmp_path: Path) -> None:
    three(tmp_path, [("LABS", "None.", "Hello.")])
    with pytest.raises(InputError, match="No training section has the header LABS"):
        sections.load(tmp_path)


def test_a_section_without_a_dialogue_is_told_by_its_row(tmp_path: Path) -> None:
    three(tmp_path, [("CC", "Pain.", "Hello."), ("CC", "Pain.", "  ")])
    with pytest.raises(InputError, match="row 3: no header or no dialogue"):
        sections.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ranks = 8", r"fit\.ranks is not known; did you mean rank"),
        ("rank = 0", r"fit\.rank is 0, but must be 1 to 1024"),
        ('dtype = "int4"', r"fit\.dtype must be one of float32, bfloat16"),
        ('gradient_checkpointing = "yes"', "must be true or false"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "notes.toml"
    path.write_text(f'name = "n"\ndata = "d"\n[fit]\n{line}\n')
    with pytest.raises(SpecError, match=sentence):
        settings.read(path)


def test_the_recipe_that_comes_along_can_be_read() -> None:
    found = settings.read(settings.FOLDER / "clinical_notes.toml")
    assert found.fit.base == "smollm2"


def directory(folder: Path, mib: int, dtype: str = "float16") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"dtype": dtype}))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(mib << 20)
    return folder


def test_a_gpu_that_is_not_there_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "cuda", lambda: False)
    with pytest.raises(InputError, match="torch sees no GPU here"):
        settings.check_device(Fit(device="cuda"), directory(tmp_path / "b", 1))


def test_a_base_that_does_not_fit_is_told_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four billion weights of two bytes each; in float32, with activations, 32 GiB and more.
    base = directory(tmp_path / "four-billion", 8 << 10)
    monkeypatch.setattr(settings, "_free_memory", lambda: 24.0 * 2**30)
    with pytest.raises(
        InputError, match=r"four-billion in float32 needs about 32.0 GiB.*needs less"
    ):
        settings.check_device(Fit(), base)
    settings.check_device(Fit(dtype="bfloat16"), base)
    tight = Fit(gradient_checkpointing=True)
    monkeypatch.setattr(settings, "_free_memory", lambda: 20.0 * 2**30)
    settings.check_device(tight, base)
    monkeypatch.setattr(settings, "_free_memory", lambda: 8.0 * 2**30)
    with pytest.raises(InputError, match=r"has 8.0 GiB free\.$"):
        settings.check_device(replace(tight, dtype="bfloat16"), base)


def test_shares_are_of_all_tokens_and_intervals_hold_them() -> None:
    nats, tokens = np.array([2.0, 30.0]), np.array([1.0, 9.0])
    found = judge.mean(nats, tokens, 200, 0.95, 1)
    assert found.value == pytest.approx(3.2)
    assert found.low <= 3.2 <= found.high
    assert judge.accuracy(np.array([True, False, True, True]), 200, 0.95, 1).value == 0.75
