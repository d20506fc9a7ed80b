"""Texts labelled by a teacher, after it was shown that it can: a check on cases that are known.

The check asks for training cases, as many of each class; cases of the suites are never sent. What
counts is the lower bound of its agreement (Clopper and Pearson, one-sided 95%); an answer that
names no label is a disagreement. Every answer is kept by what it follows from, so a call that was
paid for is not made again, and a run that was ended goes on.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError, SpecError, TrainError
from trainer.evaluation.split import split
from trainer.examples import Examples
from trainer.loop.diagnose import lower
from trainer.recipes import sources
from trainer.recipes.tables import read_columns
from trainer.spec.spec import Spec
from trainer.teacher.answers import Answers, beside
from trainer.teacher.ask import Endpoint

LEVEL = 0.95
# A run that gets so many answers in a row that name no label is talking to the wrong model.
MOST_SILENT = 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Feasible:
    """What the check found.

    Attributes:
        cases, agreed, silent: asked, as they are known, and without a label.
        low: the lower bound of the agreement.
        limit: what is asked of it.
        seconds: a call takes, in the median.
    """

    cases: int
    agreed: int
    silent: int
    low: float
    limit: float
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether labels of this teacher may be used."""
        return self.low >= self.limit


@dataclass(frozen=True)
class Labelled:
    """What came of it: the check, texts labelled, left without a label, and calls made now."""

    check: Feasible
    labelled: int
    silent: int
    calls: int


def label(spec: Spec, endpoint: Endpoint, unlabelled: Path, out: Path, say: Say) -> Labelled:
    """Check the teacher, then label a table's texts; `out` is `data.more` of the same spec.

    Args:
        spec: with `[teacher]`, and data with texts.
        endpoint: the teacher.
        unlabelled: a table with the column `data.text`.
        out: a table with that column and `data.label`, and `out`.answers.jsonl beside it.
        say: is told how far it is.

    Raises:
        SpecError: texts may not be sent there, or there are none.
        InputError: a file or an answer cannot be used.
        TrainError: the teacher is not good enough, or the budget is used up.
    """
    check_means(spec, endpoint)
    texts = _texts(spec, unlabelled)
    known = split(sources.load(spec), spec).train
    answers = Answers(beside(out), endpoint, spec.teacher.model, spec.teacher.calls)
    check = feasible(spec, answers, known, say)
    say(
        f"check: {check.agreed} of {check.cases} known cases agree, at least {check.low:.3f}; "
        f"{len(texts):,} texts take about {len(texts) * check.seconds:,.0f} s"
    )
    found, silent = _all(answers, texts, say)
    write(spec, out, found)
    return Labelled(check, len(found), silent, answers.calls)


def feasible(spec: Spec, answers: Answers, known: Examples, say: Say) -> Feasible:
    """Ask for known training cases, as many of each class.

    Raises:
        TrainError: the teacher agrees with too few of them, or the budget is used up.
        InputError: it gives no answer.
    """
    random = np.random.default_rng([spec.seed, 2])
    half = spec.teacher.check // 2
    rows = [random.permutation(np.flatnonzero(known.y == y))[:half] for y in (0.0, 1.0)]
    some = known.take(np.concatenate(rows))
    found = []
    for number, (text, y) in enumerate(zip(some.texts, some.y, strict=True), 1):
        say(f"check, {number} of {len(some)}")
        found.append((answers.of(text), y))
    agreed = sum(asked.label == y for asked, y in found)
    check = Feasible(
        cases=len(found),
        agreed=agreed,
        silent=sum(asked.label is None for asked, _ in found),
        low=lower(agreed, len(found), LEVEL),
        limit=spec.teacher.agreement,
        seconds=float(np.median([asked.seconds for asked, _ in found])),
    )
    if not check.holds:
        raise TrainError(
            f"The teacher agrees with {check.agreed} of {check.cases} known cases, so with at "
            f"least {check.low:.3f} of all; teacher.agreement is {check.limit:g}. "
            f"{check.silent} answers named no label. Nothing was labelled."
        )
    return check


def check_means(spec: Spec, endpoint: Endpoint) -> None:
    """Raise where texts may not be sent there, or the specialist has none."""
    if not spec.data.text or spec.task != "binary":
        raise SpecError("A teacher labels texts of two classes: data.text names their column.")
    private = spec.data.personal_data in ("personal", "special")
    if private and not endpoint.local and not spec.teacher.may_send:
        raise SpecError(
            f"data.personal_data is {spec.data.personal_data!r}, and {endpoint.host} is another "
            "machine: say teacher.may_send = true if the texts may be sent there."
        )


def _texts(spec: Spec, path: Path) -> list[str]:
    columns = read_columns(path)
    if spec.data.text not in columns:
        raise InputError(f"{path} has no column {spec.data.text!r}.")
    return list(dict.fromkeys(text for text in columns[spec.data.text] if text.strip()))


def _all(answers: Answers, texts: Sequence[str], say: Say) -> tuple[list[tuple[str, int]], int]:
    found: list[tuple[str, int]] = []
    silent = in_a_row = 0
    for number, text in enumerate(texts, 1):
        say(f"text {number:,} of {len(texts):,}")
        asked = answers.of(text)
        if asked.label is None:
            silent, in_a_row = silent + 1, in_a_row + 1
            if in_a_row >= MOST_SILENT:
                raise TrainError(
                    f"{in_a_row} answers in a row named no label; the last was {asked.said[:80]!r}."
                )
            continue
        in_a_row = 0
        found.append((text, asked.label))
    return found, silent


def write(spec: Spec, out: Path, found: Sequence[tuple[str, int]]) -> None:
    """Write texts and classes as a table that `data.more` takes, whole or not at all."""
    other = "0" if spec.data.positive != "0" else "other"
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([spec.data.text, spec.data.label])
            rows.writerows([text, spec.data.positive if y else other] for text, y in found)
        partial.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.") from error
