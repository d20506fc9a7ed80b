"""Tables in files, CSV or TSV, packed by gzip or not: columns of numbers, names or one text.

A folder of tables is read a file at a time, in the order of their names; see
`trainer.recipes.blocks`.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import InputError
from trainer.examples import Examples, Floats
from trainer.recipes.blocks import Blocks, one_by_one
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Spec

# A column with more different names than this is an identifier, not a feature.
MOST_LEVELS = 200
# One field at most; a post of a newsgroup has 200 kB.
LONGEST_FIELD = 16 * 1024 * 1024
ENDINGS = (".csv", ".tsv", ".tab")

Columns = dict[str, list[str]]


def read_columns(path: Path) -> Columns:
    """Every column of a table by its name, as text.

    Raises:
        InputError: the file is missing, unreadable or empty, or a row has another length.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {why}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}).") from error
    name = path.name.removesuffix(".gz")
    csv.field_size_limit(LONGEST_FIELD)
    tabs = name.endswith((".tsv", ".tab"))
    lines = csv.reader(
        text.splitlines() if tabs else text.splitlines(keepends=True),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    try:
        header = next(lines, [])
        rows = [row for row in lines if row]
    except csv.Error as error:
        raise InputError(f"{path} is no table: {error}.") from error
    if not header or not rows:
        raise InputError(f"{path} has no rows.")
    if len(set(header)) != len(header):
        raise InputError(f"{path} has two columns of one name.")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}: {len(row)} fields, but the header has {len(header)}."
            )
    return {column: [row[i] for row in rows] for i, column in enumerate(header)}


@dataclass(frozen=True)
class Columned:
    """How the columns of a table are read, a block at a time.

    Attributes:
        needed: have to be there.
        text: are kept as they are; every other one is numbers.
        dropped: are not kept.
        both: of the text ones, those that have to be numbers as well.
        only: if any, no others are kept.
    """

    needed: tuple[str, ...]
    text: frozenset[str]
    dropped: frozenset[str]
    both: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()

    def __call__(self, path: Path) -> Any:
        """An Arrow table: text as strings, numbers as float64.

        Raises:
            InputError: as `read_columns`, a column is missing, or a number is none or not finite.
        """
        import pyarrow as pa  # noqa: PLC0415

        columns = read_columns(path)
        for column in self.needed:
            if column and column not in columns:
                raise InputError(
                    f"{path} has no column {column!r}, but has {', '.join(list(columns)[:40])}."
                )
        try:
            for name in self.both:
                numbers(name, columns[name])
            held = {
                name: pa.array(values, pa.large_string())
                if name in self.text
                else pa.array(numbers(name, values))
                for name, values in columns.items()
                if name not in self.dropped and (not self.only or name in self.only)
            }
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return pa.table(held)


def files_of(path: Path) -> tuple[Path, ...]:
    """The tables that a path names: itself, or those of a folder by their names.

    Raises:
        InputError: a folder has none.
    """
    if not path.is_dir():
        return (path,)
    found = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith(ENDINGS))
    if not found:
        raise InputError(f"{path} has no table: no file ends in {', '.join(ENDINGS)}.")
    return tuple(found)


def load(spec: Spec, blocks: Blocks = one_by_one) -> Loaded:
    """The cases of `data.path`, a table or a folder of tables with the same columns.

    Raises:
        InputError: a column is missing, a number is none or not finite, the label has one value,
            ids occur twice.
    """
    if spec.task == "sections":
        from trainer.notes.sections import load_table  # noqa: PLC0415

        return load_table(spec)
    data = spec.data
    path = spec.path(data.path)
    by_time = data.split_by if data.split == "time" else ""
    aside = {data.label, data.id, data.text, *data.drop, *data.protected}
    words = {data.label, data.id, data.text, *data.categorical, *data.protected, *data.slices}
    words |= {data.split_by} - {by_time}
    table = _together(files_of(path), aside, words, by_time, spec, blocks)
    y = labels(table.column(data.label).to_pylist(), data.positive, data.label)
    names, x = (
        ((), np.zeros((len(y), 0), np.float32))
        if data.text
        else features(table, [c for c in table.column_names if c not in aside], data.categorical)
    )

    def column(name: str) -> tuple[str, ...]:
        return tuple(table.column(name).to_pylist())

    slices = {c: column(c) for c in dict.fromkeys([*data.slices, *data.protected])}
    ids = column(data.id) if data.id else tuple(str(row) for row in range(len(y)))
    if len(set(ids)) != len(ids):
        raise InputError(f"{path}: a value of {data.id!r} occurs twice, but it must name one case.")
    return Loaded(
        Examples(
            ids=ids,
            x=x,
            texts=column(data.text) if data.text else (),
            y=y,
            value=np.ones(len(y)),
            names=names,
            slices=slices,
        ),
        order=table.column(by_time).to_numpy() if by_time else None,
        groups=column(data.split_by) if data.split == "group" else None,
        protected=data.protected,
    )


def _together(
    paths: Sequence[Path],
    aside: set[str],
    words: set[str],
    by_time: str,
    spec: Spec,
    blocks: Blocks,
) -> Any:
    """The tables of all files as one.

    Raises:
        InputError: as `Columned`, or a file has other columns than the first.
    """
    import pyarrow as pa  # noqa: PLC0415

    data = spec.data
    needed = [data.label, data.id, data.text, data.split_by]
    needed += [*data.drop, *data.categorical, *data.protected, *data.slices]
    kept = words | {by_time}
    how = Columned(tuple(needed), frozenset(words - {by_time}), frozenset(aside - kept))
    if data.text:
        # Of a table of texts no other column is looked at.
        how = replace(how, only=frozenset(kept))
    else:
        values = {*data.slices, data.split_by} - {"", by_time, *aside, *data.categorical}
        how = replace(how, both=frozenset(values))
    found: list[Any] = []
    for path, table in zip(paths, blocks(paths, how), strict=True):
        if found and table.column_names != found[0].column_names:
            raise InputError(f"{path} has other columns than {paths[0]}.")
        found.append(table)
    return pa.concat_tables(found)


def labels(values: Sequence[str], positive: str, column: str) -> Floats:
    """float64 [n]: 1 where the value is the positive one.

    Raises:
        InputError: the column has one class only.
    """
    y = np.array([value == positive for value in values], np.float64)
    if not 0 < y.sum() < len(y):
        found = ", ".join(sorted(set(values))[:5])
        raise InputError(
            f"The label {column!r} has one class only: its values are {found}, and the positive "
            f"one is {positive!r}."
        )
    return y


def features(
    table: Any, wanted: Sequence[str], categorical: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Names and values, float32 [n, f]; a column of names is one feature a value (`column=name`).

    Raises:
        InputError: a column has too many names, or none is left.
    """
    names: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    for column in wanted:
        if column not in categorical:
            names.append(column)
            held = table.column(column)
            # A column that is a slice, too, is kept as it was written.
            values = numbers(column, held.to_pylist()) if _is_text(held) else held.to_numpy()
            parts.append(values.astype(np.float32)[:, np.newaxis])
            continue
        found = np.array(table.column(column).to_pylist())
        levels, codes = np.unique(found, return_inverse=True)
        if len(levels) > MOST_LEVELS:
            raise InputError(
                f"Column {column!r} has {len(levels)} different names, but {MOST_LEVELS} are the "
                "most that become features."
            )
        names += [f"{column}={level}" for level in levels]
        parts.append(np.eye(len(levels), dtype=np.float32)[codes])
    if not parts:
        raise InputError("No column is left to learn from.")
    return tuple(names), np.ascontiguousarray(np.concatenate(parts, axis=1))


def _is_text(column: Any) -> bool:
    return str(column.type) == "large_string"


def numbers(column: str, values: Sequence[str]) -> Floats:
    """float64 [n].

    Raises:
        InputError: a value is no number, or NaN or infinite as float32; it says in which row.
    """
    try:
        found = np.array([float(value) for value in values], np.float64)
    except ValueError:
        bad = next(i for i, value in enumerate(values) if not _is_number(value))
        raise InputError(
            f"Column {column!r}, row {bad + 2}: {values[bad]!r} is no number; name the column "
            "under data.categorical or data.drop if it holds names."
        ) from None
    with np.errstate(over="ignore"):
        finite = np.isfinite(found.astype(np.float32))
    if not finite.all():
        bad = int(np.argmin(finite))
        raise InputError(
            f"Column {column!r}, row {bad + 2}: {values[bad]!r}, but every number must be finite."
        )
    return found


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
