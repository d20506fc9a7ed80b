"""Examples that a teacher writes: kept where it stands by them, and never out of a suite."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.trainer import tiny
from tests.trainer.test_teacher import endpoint, teacher, with_labels, written
from trainer.errors import SpecError, TrainError
from trainer.evaluation.split import split, with_more
from trainer.recipes import sources
from trainer.spec.spec import Spec
from trainer.teacher.invent import Invented, invent

MARK = "<<<"


def writer(write: Callable[[int, bool], str]) -> Callable[[str], str]:
    """A teacher that labels by words, and writes `write(number, loud)` where several are shown."""
    number = iter(range(1_000_000))

    def said(shown: str) -> str:
        loud = bool(set(shown.split()) & set(tiny.LOUD))
        if shown.count(MARK) == 1:
            return "loud" if loud else "calm"
        return write(next(number), loud)

    return said


def honest(number: int, loud: bool) -> str:
    words = [tiny.CALM[number % len(tiny.CALM)], f"made{number}", f"up{number}"]
    return " ".join([*words, tiny.LOUD[0]] if loud else words)


def invented(folder: Path, spec: Spec, count: int = 30) -> Invented:
    return invent(spec, endpoint(spec), count, folder / "more.csv", lambda _t: None)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "more.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_texts_are_written_after_known_ones_and_become_training_cases(tmp_path: Path) -> None:
    with teacher(said=writer(honest)) as double:
        spec = written(tmp_path, double.url)
        made = invented(tmp_path, spec)
    assert (made.kept, made.labelled_otherwise, made.known_or_empty, made.near_a_suite) == (
        30,
        0,
        0,
        0,
    )
    # 40 for the check, then each text is written and labelled.
    assert made.calls == 40 + 60
    asked = [told for _, told in double.asked if told["messages"][1]["content"].count(MARK) > 1]
    assert {told["temperature"] for told in asked} == {1.0}
    assert [("loud" in told["messages"][0]["content"]) for told in asked] == [False, True] * 15
    assert [row["topic"] == "loud" for row in rows(tmp_path)] == [False, True] * 15
    before = split(sources.load(spec), spec)
    after = with_more(before, with_labels(tmp_path))
    assert len(after.train) == len(before.train) + 30


def test_no_case_of_a_suite_is_shown_and_none_comes_back(tmp_path: Path) -> None:
    spec = written(tmp_path, "http://127.0.0.1:1/v1")
    parts = split(sources.load(spec), spec)
    long = {
        y: [t for t, of in zip(parts.held_out.texts, parts.held_out.y, strict=True) if of == y]
        for y in (False, True)
    }
    long = {y: [text for text in texts if len(text.split()) > 8] for y, texts in long.items()}

    def copied(number: int, loud: bool) -> str:
        return f"{long[loud][number]} indeed" if number < 4 else honest(number, loud)

    with teacher(said=writer(copied)) as double:
        made = invented(tmp_path, written(tmp_path, double.url), 60)
        sent = " ".join(told["messages"][1]["content"] for _, told in double.asked)
    assert (made.near_a_suite, made.labelled_otherwise, made.kept) == (4, 0, 56)
    copies = {copied(number, number % 2 == 1) for number in range(4)}
    assert not any(row["post"] in copies for row in rows(tmp_path))
    # What the teacher wrote comes back to be labelled; nothing else of a suite is sent.
    for text in (*parts.core.texts, *parts.held_out.texts):
        assert f"\n{text}\n" not in sent


@pytest.mark.parametrize(
    ("write", "otherwise", "known"),
    [
        (lambda n, loud: honest(n, loud) if n % 5 else honest(n, not loud), 6, 0),
        (lambda n, loud: honest(n, loud) if n % 5 else "  ", 0, 6),
        (lambda n, loud: honest(n - n % 10 if n % 10 == 2 else n, loud), 0, 3),
    ],
    ids=["of the other class", "empty", "twice"],
)
def test_what_is_not_what_was_asked_for_is_left_out(
    tmp_path: Path, write: Any, otherwise: int, known: int
) -> None:
    with teacher(said=writer(write)) as double:
        made = invented(tmp_path, written(tmp_path, double.url))
    assert (made.labelled_otherwise, made.known_or_empty) == (otherwise, known)
    assert made.kept == 30 - otherwise - known == len(rows(tmp_path))


def test_a_teacher_that_does_not_stand_by_its_texts_is_stopped(tmp_path: Path) -> None:
    with teacher(said=writer(lambda n, loud: honest(n, not loud))) as double:
        spec = written(tmp_path, double.url)
        with pytest.raises(TrainError, match=r"Of 20 texts .* labelled 20 otherwise"):
            invented(tmp_path, spec, 100)
    assert not (tmp_path / "more.csv").exists()


def test_the_check_comes_first_and_calls_are_paid_for_once(tmp_path: Path) -> None:
    with teacher(said=lambda _text: "calm") as double:
        with pytest.raises(TrainError, match="agrees with 20 of 40 known cases"):
            invented(tmp_path, written(tmp_path, double.url))
        assert len(double.asked) == 40
    (tmp_path / "more.csv.answers.jsonl").unlink()
    with teacher(said=writer(honest)) as double:
        spec = written(tmp_path, double.url, calls=70)
        with pytest.raises(TrainError, match=r"teacher\.calls is 70"):
            invented(tmp_path, spec)
        assert invented(tmp_path, spec).calls == 30
        assert len(double.asked) == 100


def test_personal_texts_are_not_shown_to_another_machine(tmp_path: Path) -> None:
    spec = written(tmp_path, "https://teacher.example/v1", personal="personal")
    with pytest.raises(SpecError, match=r"teacher\.example is another machine"):
        invented(tmp_path, spec)


def test_the_command_tells_what_was_kept(tmp_path: Path) -> None:
    with teacher(said=writer(honest)) as double:
        written(tmp_path, double.url)
        command = ["train", "invent", str(tmp_path / "specialist.toml"), "--count", "10"]
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "more.csv")])
    assert done.exit_code == 0, done.output
    assert "10 of 10 texts kept" in done.output
