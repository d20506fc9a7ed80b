"""Sections of notes: what is read, and what is refused before anything is loaded."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import InputError, SpecError
from trainer.evaluation import suite as suites
from trainer.evaluation.metrics import Answer, Scored, measure
from trainer.examples import Examples
from trainer.notes import judge, sections, settings
from trainer.notes.method import DECODER_LORA
from trainer.notes.sections import Section
from trainer.notes.settings import Fit
from trainer.quality import Costs
from trainer.recipes import sources
from trainer.recipes.shipped import recipe
from trainer.spec.read import parse_spec
from trainer.spec.spec import Spec

Row = tuple[str, str, str]
COUGH = ("CC", "Cough.", "Doctor: Why?\nPatient: I cough.")


def written(folder: Path, name: str, rows: list[Row]) -> None:
    with (folder / name).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["ID", "section_header", "section_text", "dialogue"])
        out.writerows([i, *row] for i, row in enumerate(rows))


def four(folder: Path, held_out: list[Row]) -> Spec:
    """The published set's files; `ALLERGY` must not be missed."""
    given = recipe("clinical_notes", folder)
    there = folder / given.data.path
    there.mkdir(parents=True, exist_ok=True)
    written(
        there, sections.TRAIN[0], [COUGH, ("ALLERGY", "None.", "Doctor: Pollen?  Patient: No.")]
    )
    written(there, sections.TRAIN[1], [("ROS", "Well.", "Doctor: Well?")])
    written(there, sections.CORE, [("CC", "Pain.", "Hello.")])
    written(there, sections.HELD_OUT, held_out)
    return replace(given, data=replace(given.data, positive="ALLERGY"))


def test_the_published_parts_are_the_split(tmp_path: Path) -> None:
    loaded = sources.load(four(tmp_path, [("ROS", "None.", "Doctor: Fever?")]))
    found = sections.sections_of(loaded.examples)
    assert found[0] == Section("CC", "Cough.", "Doctor: Why? Patient: I cough.")
    assert loaded.given is not None
    assert loaded.given.tolist() == [0, 0, 0, 1, 2]
    assert loaded.examples.y.tolist() == [0, 1, 0, 0, 0]
    assert loaded.examples.slices["header"] == ("CC", "ALLERGY", "ROS", "CC", "ROS")
    assert sections.headers(found) == ("CC", "ROS", "ALLERGY")
    assert sections.critical(loaded.examples) == ("ALLERGY",)


def test_a_header_that_nobody_could_learn_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No training section has the header LABS"):
        sources.load(four(tmp_path, [("LABS", "None.", "Hello.")]))


def test_a_section_without_a_dialogue_is_told_by_its_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 3: no header or no dialogue"):
        sources.load(four(tmp_path, [("CC", "Pain.", "Hello."), ("CC", "Pain.", "  ")]))


def test_headers_that_are_not_there_or_are_all_of_them_are_refused() -> None:
    some = [Section("CC", "Cough.", "Why?"), Section("ROS", "Well.", "Well?")]
    with pytest.raises(InputError, match="names the header 'LABS', but there are CC, ROS"):
        sections.cases(some, "CC, LABS")
    with pytest.raises(InputError, match="names every header"):
        sections.cases(some, "CC,ROS")


def test_sections_stay_what_they_are_in_files_and_suites() -> None:
    some = [Section(f"H{i % 4}", f"text {i}\tof it", f"dialogue {i}") for i in range(120)]
    cases = sections.cases(some, "H0, H1")
    again = Examples.from_bytes(cases.to_bytes())
    assert sections.sections_of(again) == tuple(some)
    suite = suites.draw("core", 1, cases, np.linspace(0, 1, 120), 200, 7)
    assert suites.from_bytes(suites.to_bytes(suite), "it").digest == suite.digest
    other = replace(cases, said=("H0\nanother", *cases.said[1:]))
    assert other.digest != cases.digest
    assert cases.take([3]).said == (f"H3\n{some[3].text}",)


SECTIONS = """
name = "n"
task = "sections"
[data]
path = "p.csv"
label = "l"
text = "t"
note = "s"
[[evaluate.gates]]
metric = "header_accuracy"
limit = 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('note = "s"', "", "needs data.text and data.note"),
        ('"sections"', '"binary"', "data.note has no meaning for binary"),
        ('"header_accuracy"', '"auc"', "the metric auc has no meaning for sections"),
        ('note = "s"', 'note = "s"\nmore = "m.csv"', "sections need their notes"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert parse_spec(SECTIONS, "it", tmp_path).task == "sections"
    with pytest.raises(SpecError, match=sentence):
        parse_spec(SECTIONS.replace(old, new, 1), "it", tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rank", 0, "parameters.rank is 0, but must be at least 1"),
        ("text_tokens", 2, "parameters.text_tokens is 2, but must be at least 4"),
        ("header_weight", 1.5, "header_weight is 1.5, but must be 0 to 1"),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(
    name: str, value: float, sentence: str
) -> None:
    with pytest.raises(SpecError, match=sentence):
        settings.fit_of(dict(DECODER_LORA.first) | {name: value}, "cpu")
    with pytest.raises(InputError, match=r"needs specialise\.base"):
        settings.check("", "cpu", DECODER_LORA.first)


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
    settings.check_device(Fit(bf16=True), base)
    tight = Fit(checkpointing=True)
    monkeypatch.setattr(settings, "_free_memory", lambda: 20.0 * 2**30)
    settings.check_device(tight, base)
    monkeypatch.setattr(settings, "_free_memory", lambda: 8.0 * 2**30)
    with pytest.raises(InputError, match=r"has 8.0 GiB free\.$"):
        settings.check_device(replace(tight, bf16=True), base)


def test_figures_are_of_all_tokens_and_of_the_headers_that_must_not_be_missed() -> None:
    scores = np.zeros((4, len(Answer)))
    scores[:, Answer.RIGHT] = [1, 0, 1, 1]
    scores[:, Answer.NATS], scores[:, Answer.TOKENS] = [2, 30, 0, 0], [1, 9, 5, 5]
    y = np.array([1.0, 1.0, 0.0, 0.0])
    of = Scored(scores, y, np.ones(4), -1.0, Costs(1, 1))
    assert measure("header_accuracy", of) == 0.75
    assert measure("critical_recall", of) == 0.5
    assert measure("nats_a_token", of) == pytest.approx(1.6)
    assert of.right.tolist() == [True, False, True, True]


def test_the_header_named_is_the_likeliest_one() -> None:
    right, margin, looks = judge.named(np.log([0.2, 0.7, 0.1]) - 3, "abc", {"b", "c"}, "b")
    assert right == 1.0
    assert margin == pytest.approx(np.log(3.5))
    assert looks == pytest.approx(0.8)
    assert judge.named(np.log([0.2, 0.7, 0.1]), "abc", {"b"}, "a")[0] == 0.0
