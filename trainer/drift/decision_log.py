"""Reads the gateway's decision log: Arrow IPC files in a folder, outcomes joined by request.

`decisions-*.arrow`, one row a row of a logged request: `request_id` (text), `row` (its number in
the request; 0 where the column is absent), `time_ns` (int64, since 1970), `model` and `digest`
(text), `latency_us` (double), `input:NAME` and `output:NAME` (lists of numbers, or text for a BYTES
input; an input is absent or null where the policy keeps none). `feedback-*.arrow`: `request_id`,
`row`, `time_ns`, `label` (double). The last word on a row counts. A file says in its schema of
which model it is; one without its footer is left for later. docs/decisions.md has the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError
from trainer.examples import Examples, Floats, Matrix
from trainer.recipes.blocks import Blocks, one_by_one

REQUIRED = ("request_id", "time_ns", "model", "digest", "latency_us")
MODEL = b"sluicegate.model"
# Metadata of a table in the place of a file that is not whole yet.
UNREAD = b"sluicegate.unread"


@dataclass(frozen=True)
class Decisions:
    """Logged requests of one model, in the order of their time.

    Attributes:
        ids: n request ids; `ID/ROW` for rows after a request's first.
        time_ns: int64 [n].
        digests: n digests of the model that answered.
        x: float32 [n, f], the input; f is 0 for texts.
        texts: n texts, or none.
        scores: float64 [n], the output's first value.
        labels: float64 [n], NaN where no outcome has come.
        latency_us: float64 [n].
        unread: files that are not whole yet.
    """

    ids: tuple[str, ...]
    time_ns: np.ndarray[tuple[int], np.dtype[np.int64]]
    digests: tuple[str, ...]
    x: Matrix
    texts: tuple[str, ...]
    scores: Floats
    labels: Floats
    latency_us: Floats
    unread: int

    def labelled(self, names: Sequence[str]) -> Examples:
        """The requests whose outcome is known, as cases to learn from.

        Raises:
            InputError: the names are not as many as the features.
        """
        known = np.flatnonzero(np.isfinite(self.labels))
        if not self.texts and len(names) != self.x.shape[1]:
            raise InputError(
                f"The log has {self.x.shape[1]} features a request, not {len(names)} as named."
            )
        return Examples(
            ids=tuple(self.ids[row] for row in known),
            x=np.ascontiguousarray(self.x[known]),
            texts=tuple(self.texts[row] for row in known) if self.texts else (),
            y=self.labels[known],
            value=np.ones(len(known)),
            names=tuple(names) if not self.texts else (),
        )


def read(
    folder: Path,
    model: str,
    *,
    source: str = "features",
    output: str = "score",
    blocks: Blocks = one_by_one,
) -> Decisions:
    """Every whole file of a folder.

    Args:
        folder: of the log.
        model: whose requests are wanted.
        source, output: the input and the output that are kept.
        blocks: reads the files; see `trainer.recipes.blocks`.

    Raises:
        InputError: there is no file, or one has other columns than documented.
    """
    files = sorted(folder.glob("decisions-*.arrow"))
    if not files:
        raise InputError(f"{folder} has no decisions-*.arrow.")
    wanted = [*REQUIRED, f"output:{output}"]
    one = Wanted(tuple(wanted), ("row", f"input:{source}"), model)
    rows, unread = _rows(files, one, blocks)
    # Two gateways may log one request; the first answer is the one that was given.
    by_id = {_place(row): row for row in sorted(rows, key=lambda r: -r["time_ns"])}
    kept = sorted(by_id.values(), key=lambda r: (r["time_ns"], _place(r)))
    outcomes, more = _outcomes(folder, blocks)
    held = [row.get(f"input:{source}") for row in kept]
    text = any(isinstance(value, str) for value in held)
    x = np.zeros((len(kept), 0), np.float32)
    if held and not text and all(value is not None for value in held):
        x = np.array(held, np.float32)
    return Decisions(
        ids=tuple(f"{i}/{row}" if row else i for i, row in map(_place, kept)),
        time_ns=np.array([row["time_ns"] for row in kept], np.int64),
        digests=tuple(row["digest"] for row in kept),
        x=x,
        texts=tuple(value or "" for value in held) if text else (),
        scores=np.array([row[f"output:{output}"][0] for row in kept], np.float64),
        labels=np.array([outcomes.get(_place(row), np.nan) for row in kept], np.float64),
        latency_us=np.array([row["latency_us"] for row in kept], np.float64),
        unread=unread + more,
    )


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["request_id"], row.get("row") or 0


def _outcomes(folder: Path, blocks: Blocks) -> tuple[dict[tuple[str, int], float], int]:
    files = sorted(folder.glob("feedback-*.arrow"))
    wanted = Wanted(("request_id", "time_ns", "label"), ("row",))
    rows, unread = _rows(files, wanted, blocks)
    rows.sort(key=lambda row: row["time_ns"])
    return {_place(row): float(row["label"]) for row in rows}, unread


def _rows(files: Sequence[Path], wanted: Wanted, blocks: Blocks) -> tuple[list[Any], int]:
    """Rows of all files, in their order, and how many files are not whole."""
    found, unread = [], 0
    for table in blocks(files, wanted):
        if (table.schema.metadata or {}).get(UNREAD):
            unread += 1
        elif len(table):
            found += table.to_pylist()
    return found, unread


@dataclass(frozen=True)
class Wanted:
    """What is kept of one file.

    Attributes:
        columns: have to be there.
        optional: may be there.
        model: whose rows; "" for all.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...]
    model: str = ""

    def __call__(self, file: Path) -> Any:
        """An Arrow table; without columns if the file is another model's or not whole yet.

        Raises:
            InputError: it lacks a column.
        """
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import compute, ipc  # noqa: PLC0415

        try:
            with ipc.open_file(file) as opened:
                told = (opened.schema.metadata or {}).get(MODEL)
                if told is not None and told.decode() != self.model and self.model:
                    return pa.table({})
                table = opened.read_all()
        except (pa.ArrowInvalid, OSError):
            return pa.table({}).replace_schema_metadata({UNREAD: b"1"})
        for column in self.columns:
            if column not in table.column_names:
                raise InputError(f"{file} has no column {column!r}, but the format needs it.")
        more = [column for column in self.optional if column in table.column_names]
        found = table.select([*self.columns, *more])
        if not self.model:
            return found
        return found.filter(compute.equal(found.column("model"), self.model))
