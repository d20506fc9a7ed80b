"""Sections of notes as cases: a dialogue, and the header and text of the note that came of it.

A case's `texts` is the dialogue, `said` its header, a line feed and its text; `y` is 1 for a header
that must not be missed. A slice `header` tells figures by header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError
from trainer.examples import Examples, Index, of_texts
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import read_columns
from trainer.spec.spec import Data, Spec

# MTS-Dialog's parts. One test set is core, the other is held out.
TRAIN = ("MTS-Dialog-TrainingSet.csv", "MTS-Dialog-ValidationSet.csv")
CORE = "MTS-Dialog-TestSet-2-MEDIQA-Sum-2023.csv"
HELD_OUT = "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv"
HEADER = "header"


@dataclass(frozen=True)
class Section:
    """One section: its header's name, its text, and the dialogue that it is of."""

    header: str
    text: str
    dialogue: str


def read(path: Path, data: Data) -> tuple[tuple[Section, ...], dict[str, list[str]]]:
    """The sections of a table, and its columns.

    Raises:
        InputError: it cannot be read or lacks a column, a header or a dialogue.
    """
    columns = read_columns(path)
    for column in (data.label, data.note, data.text, data.id, data.split_by, *data.slices):
        if column and column not in columns:
            raise InputError(f"{path} has no column {column!r}.")
    found = tuple(
        Section(_line(h), _line(t), _line(d))
        for h, t, d in zip(*(columns[c] for c in (data.label, data.note, data.text)), strict=True)
    )
    if empty := [i for i, one in enumerate(found) if not one.header or not one.dialogue]:
        raise InputError(f"{path}, row {empty[0] + 2}: no header or no dialogue.")
    return found, columns


def load_table(spec: Spec) -> Loaded:
    """The sections of `data.path`.

    Raises:
        InputError: as `read`, an id occurs twice, or a header of `data.positive` does not.
    """
    data = spec.data
    path = spec.path(data.path)
    found, columns = read(path, data)
    ids = columns[data.id] if data.id else [str(i) for i in range(len(found))]
    if len(set(ids)) != len(ids):
        raise InputError(f"{path}: a value of {data.id!r} occurs twice, but it must name one case.")
    if data.split == "time":
        raise InputError('Sections are split by "random" or "group", not by "time".')
    return Loaded(
        cases(found, data.positive, ids, {name: columns[name] for name in data.slices}),
        groups=tuple(columns[data.split_by]) if data.split == "group" else None,
    )


def load_mts_dialog(spec: Spec) -> Loaded:
    """MTS-Dialog, whose own parts are the split.

    Raises:
        InputError: a file cannot be used, or a header is in a test part alone.
    """
    folder = spec.path(spec.data.path)
    parts = [(0, name) for name in TRAIN] + [(1, CORE), (2, HELD_OUT)]
    found: list[Section] = []
    ids: list[str] = []
    given: list[int] = []
    for side, name in parts:
        sections, _ = read(folder / name, spec.data)
        found += sections
        ids += [f"{name.removesuffix('.csv')}-{i}" for i in range(len(sections))]
        given += [side] * len(sections)
    sides: Index = np.array(given, np.int64)
    known = {one.header for one, side in zip(found, given, strict=True) if side == 0}
    if strange := sorted({one.header for one in found} - known):
        raise InputError(f"No training section has the header {', '.join(strange)}.")
    return Loaded(cases(found, spec.data.positive, ids), given=sides)


def cases(
    sections: Sequence[Section],
    positive: str,
    ids: Sequence[str] | None = None,
    slices: dict[str, list[str]] | None = None,
) -> Examples:
    """Sections as cases.

    Args:
        sections: n.
        positive: the headers that must not be missed, with commas between.
        ids, slices: as in `Examples`.

    Raises:
        InputError: no section has such a header, or every one has.
    """
    critical = {name.strip() for name in positive.split(",")}
    there = {one.header for one in sections}
    if missing := sorted(critical - there):
        raise InputError(
            f"data.positive names the header {missing[0]!r}, but there are "
            f"{', '.join(sorted(there)[:40])}."
        )
    if not there - critical:
        raise InputError("data.positive names every header; some must be of the other kind.")
    told = {HEADER: [one.header for one in sections]} | (slices or {})
    return of_texts(
        [one.dialogue for one in sections],
        [float(one.header in critical) for one in sections],
        ids=ids,
        slices=told,
        said=[f"{one.header}\n{one.text}" for one in sections],
    )


def sections_of(examples: Examples) -> tuple[Section, ...]:
    """What `cases` made cases of."""
    parts = (said.partition("\n") for said in examples.said)
    return tuple(
        Section(header, text, dialogue)
        for (header, _, text), dialogue in zip(parts, examples.texts, strict=True)
    )


def headers(sections: Sequence[Section]) -> tuple[str, ...]:
    """Their headers, the most frequent first."""
    counts: dict[str, int] = {}
    for one in sections:
        counts[one.header] = counts.get(one.header, 0) + 1
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def critical(examples: Examples) -> tuple[str, ...]:
    """The headers that must not be missed, of these cases."""
    of = zip(sections_of(examples), examples.y, strict=True)
    return tuple(sorted({one.header for one, y in of if y == 1}))


def _line(text: str) -> str:
    return " ".join(text.split())
