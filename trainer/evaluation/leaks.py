"""Whether a case of a suite is in the training data: word for word, or in long runs of its words.

A case leaks if its input is a training input, or if `share` of its runs of `words` words occur in
one training text. Texts shorter than one run count by equality alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from trainer.examples import Examples

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
    where: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(train.texts):
        for run in runs(text, words):
            where[run].append(number)
    found = []
    for name, text in zip(suite.ids, suite.texts, strict=True):
        own = runs(text, words)
        if not own or name in exact:
            continue
        hits: dict[int, int] = defaultdict(int)
        for run in own:
            for number in where.get(run, ()):
                hits[number] += 1
        if hits and max(hits.values()) >= share * len(own):
            found.append(name)
    return Leaks(len(suite), exact, tuple(found))


def runs(text: str, words: int) -> frozenset[int]:
    """The runs of so many words of a text, each as a number."""
    found = _WORD.findall(text.lower())
    return frozenset(hash(tuple(found[at : at + words])) for at in range(len(found) - words + 1))
