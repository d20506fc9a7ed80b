"""Whether a case of a suite is in the training data: word for word, or in long runs of its words.

A case leaks if its input is a training input, or if `share` of its runs of `words` words occur in
one training text. Texts shorter than one run count by equality alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trainer.examples import Examples, Index

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Leaks:
    """What was found: ids of cases with an equal training input, and with long runs of one."""

    cases: int
    exact: tuple[str, ...]
    runs: tuple[str, ...]


def scan(train: Examples, suite: Examples, *, words: int, share: float) -> Leaks:
    """Look for every case of a suite in the training data."""
    known = set(train.input_keys())
    exact = tuple(i for i, key in zip(suite.ids, suite.input_keys(), strict=True) if key in known)
    if not suite.texts:
        return Leaks(len(suite), exact, ())
    inside = _inside(train.texts, suite.texts, words, share)
    equal = set(exact)
    held = zip(suite.ids, inside, strict=True)
    return Leaks(len(suite), exact, tuple(name for name, by in held if by and name not in equal))


def clear_of(train: Examples, suites: Iterable[Examples], *, words: int, share: float) -> Index:
    """int64 [m]: the training rows in whose text no case of a suite lies in long runs."""
    clear = np.ones(len(train), np.bool_)
    for suite in suites:
        for rows in _inside(train.texts, suite.texts, words, share):
            clear[list(rows)] = False
    return np.flatnonzero(clear)


def _inside(
    train: Iterable[str], suite: Iterable[str], words: int, share: float
) -> list[frozenset[int]]:
    """For each text of a suite the numbers of the training texts that hold `share` of its runs."""
    where: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(train):
        for run in runs(text, words):
            where[run].append(number)
    found = []
    for text in suite:
        own = runs(text, words)
        hits: dict[int, int] = defaultdict(int)
        for run in own:
            for number in where.get(run, ()):
                hits[number] += 1
        found.append(frozenset(n for n, count in hits.items() if count >= share * len(own)))
    return found


def runs(text: str, words: int) -> frozenset[int]:
    """The runs of so many words of a text, each as a number."""
    found = _WORD.findall(text.lower())
    return frozenset(hash(tuple(found[at : at + words])) for at in range(len(found) - words + 1))
