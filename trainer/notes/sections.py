"""MTS-Dialog: what doctor and patient said, and the section of the note that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import InputError
from trainer.recipes.tables import read_columns

TRAIN = "MTS-Dialog-TrainingSet.csv"
VALIDATION = "MTS-Dialog-ValidationSet.csv"
TEST = "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv"
COLUMNS = ("section_header", "section_text", "dialogue")


@dataclass(frozen=True)
class Section:
    """One section: its header's name, its text, and the dialogue that it is of."""

    header: str
    text: str
    dialogue: str


def read(path: Path) -> tuple[Section, ...]:
    """The sections of a file.

    Raises:
        InputError: it cannot be read or lacks a column or a dialogue.
    """
    columns = read_columns(path)
    for column in COLUMNS:
        if column not in columns:
            raise InputError(f"{path} has no column {column!r}.")
    found = tuple(
        Section(h.strip(), " ".join(t.split()), " ".join(d.split()))
        for h, t, d in zip(*(columns[c] for c in COLUMNS), strict=True)
    )
    if empty := [i for i, one in enumerate(found) if not one.header or not one.dialogue]:
        raise InputError(f"{path}, row {empty[0] + 2}: no header or no dialogue.")
    return found


def load(folder: Path) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    """Training sections (with the validation set's) and those to judge by.

    A training section whose dialogue is in the other part is left out.

    Raises:
        InputError: a file cannot be used, or a header is in the test part alone.
    """
    test = read(folder / TEST)
    known = {one.dialogue for one in test}
    train = [*read(folder / TRAIN), *read(folder / VALIDATION)]
    kept = tuple(one for one in train if one.dialogue not in known)
    if strange := {one.header for one in test} - {one.header for one in kept}:
        raise InputError(f"No training section has the header {', '.join(sorted(strange))}.")
    return kept, test


def headers(sections: Sequence[Section]) -> tuple[str, ...]:
    """Their headers, the most frequent first."""
    counts: dict[str, int] = {}
    for one in sections:
        counts[one.header] = counts.get(one.header, 0) + 1
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))
