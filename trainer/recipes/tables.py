"""A table in a file, CSV or TSV, packed by gzip or not: columns of numbers, names or one text."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import InputError
from trainer.examples import Examples, Floats
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Spec

# A column with more different names than this is an identifier, not a feature.
MOST_LEVELS = 200
# One field at most; a post of a newsgroup has 200 kB.
LONGEST_FIELD = 16 * 1024 * 1024

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


def load(spec: Spec) -> Loaded:
    """The cases of `data.path`.

    Raises:
        InputError: a column is missing, a number is none or not finite, the label has one value,
            ids occur twice.
    """
    if spec.task == "sections":
        from trainer.notes.sections import load_table  # noqa: PLC0415

        return load_table(spec)
    data = spec.data
    path = spec.path(data.path)
    columns = read_columns(path)
    named = [data.label, data.id, data.text, data.split_by]
    named += [*data.drop, *data.categorical, *data.protected, *data.slices]
    for column in named:
        if column and column not in columns:
            raise InputError(
                f"{path} has no column {column!r}, but has {', '.join(list(columns)[:40])}."
            )
    y = labels(columns[data.label], data.positive, data.label)
    aside = {data.label, data.id, data.text, *data.drop, *data.protected}
    names, x = (
        ((), np.zeros((len(y), 0), np.float32))
        if data.text
        else features(columns, [c for c in columns if c not in aside], data.categorical)
    )
    slices = {c: tuple(columns[c]) for c in dict.fromkeys([*data.slices, *data.protected])}
    ids = tuple(columns[data.id]) if data.id else tuple(str(row) for row in range(len(y)))
    if len(set(ids)) != len(ids):
        raise InputError(f"{path}: a value of {data.id!r} occurs twice, but it must name one case.")
    by = data.split_by
    return Loaded(
        Examples(
            ids=ids,
            x=x,
            texts=tuple(columns[data.text]) if data.text else (),
            y=y,
            value=np.ones(len(y)),
            names=names,
            slices=slices,
        ),
        order=numbers(by, columns[by]) if data.split == "time" else None,
        groups=tuple(columns[by]) if data.split == "group" else None,
        protected=data.protected,
    )


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
    columns: Columns, wanted: Sequence[str], categorical: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Names and values, float32 [n, f]; a column of names is one feature a value (`column=name`).

    Raises:
        InputError: a value is no finite number, or a column has too many names.
    """
    names: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    for column in wanted:
        if column not in categorical:
            names.append(column)
            parts.append(numbers(column, columns[column]).astype(np.float32)[:, np.newaxis])
            continue
        levels, codes = np.unique(np.array(columns[column]), return_inverse=True)
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
