"""Synthetic examples: texts that a teacher writes, kept where it labels them as it was asked to.

The teacher has to show first that it knows the classes (`label.feasible`). Each text is written
after three training cases of its class, drawn by seed; cases of the suites are never sent. The same
teacher then labels it, without being told what it was to be; it is left out where the label is
another, where it is a known case, or where it has too much of a suite's case in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import TrainError
from trainer.evaluation.leaks import scan
from trainer.evaluation.split import Parts, split
from trainer.examples import of_texts
from trainer.recipes import sources
from trainer.spec.spec import Spec
from trainer.teacher.answers import Answers, beside
from trainer.teacher.ask import Endpoint
from trainer.teacher.label import Feasible, Say, check_means, feasible, write

LIKE = 3
# After so many texts it is known whether a teacher writes what it is asked for.
ENOUGH = 20


@dataclass(frozen=True)
class Invented:
    """What came of it: the check, texts kept, and why the others were not; calls made now."""

    check: Feasible
    kept: int
    labelled_otherwise: int
    known_or_empty: int
    near_a_suite: int
    calls: int


def invent(spec: Spec, endpoint: Endpoint, count: int, out: Path, say: Say) -> Invented:
    """Have `count` texts written, as many of each class; `out` is `data.more` of the same spec.

    Args:
        spec: with `[teacher]`, and data with texts.
        endpoint: the teacher.
        count: texts to ask for; fewer are kept.
        out: a table with the columns `data.text` and `data.label`, `out`.answers.jsonl beside it.
        say: is told how far it is.

    Raises:
        SpecError: texts may not be sent there, or there are none.
        InputError: a file or an answer cannot be used.
        TrainError: the teacher is not good enough, writes other texts than it is asked for, or the
            budget is used up.
    """
    check_means(spec, endpoint)
    parts = split(sources.load(spec), spec)
    answers = Answers(beside(out), endpoint, spec.teacher.model, spec.teacher.calls)
    check = feasible(spec, answers, parts.train, say)
    rows = [np.flatnonzero(parts.train.y == y) for y in (0.0, 1.0)]
    taken = {text.strip() for text in parts.train.texts}
    found: list[tuple[str, int]] = []
    otherwise = known = 0
    for number in range(count):
        say(f"text {number + 1:,} of {count:,}")
        y = number % 2
        chance = np.random.default_rng([spec.seed, 3, number])
        some = chance.choice(rows[y], min(LIKE, len(rows[y])), replace=False)
        text = answers.invented(y, [parts.train.texts[row] for row in some], number)
        if not text or text in taken:
            known += 1
            continue
        taken.add(text)
        if answers.of(text).label != y:
            otherwise += 1
            if otherwise >= ENOUGH and otherwise > len(found):
                raise TrainError(
                    f"Of {number + 1} texts that the teacher wrote it labelled {otherwise} "
                    "otherwise than it was asked for. Nothing was written."
                )
            continue
        found.append((text, y))
    fresh = _without_leaks(spec, parts, found)
    write(spec, out, fresh)
    return Invented(
        check=check,
        kept=len(fresh),
        labelled_otherwise=otherwise,
        known_or_empty=known,
        near_a_suite=len(found) - len(fresh),
        calls=answers.calls,
    )


def _without_leaks(spec: Spec, parts: Parts, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those that no case of a suite lies in, wholly or in part; a run would stop at one."""
    if not _leaks(spec, parts, found):
        return found
    return [one for one in found if not _leaks(spec, parts, [one])]


def _leaks(spec: Spec, parts: Parts, found: list[tuple[str, int]]) -> bool:
    words, share = spec.evaluate.leak_words, spec.evaluate.leak_share
    made = of_texts([text for text, _ in found], [y for _, y in found])
    leaks = [scan(made, suite, words=words, share=share) for suite in (parts.core, parts.held_out)]
    return any(each.exact or each.runs for each in leaks)
