"""The run's ledger: every phase with its input, output and reason, in one SQLite file.

A phase is known by the digest of its input: what is done already is read, not done again, so a run
that was killed goes on where it was, and the same run again does nothing. Rows are only added. A
look at the held-out set is written before the set is opened.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlite_utils

from trainer import codec
from trainer.errors import InputError, TrainError

T = TypeVar("T")

_TABLES: dict[str, dict[str, type]] = {
    "steps": {
        "key": str,
        "run": str,
        "round": int,
        "phase": str,
        "input": str,
        "output": str,
        "reason": str,
        "begun": float,
        "seconds": float,
    },
    "events": {"number": int, "run": str, "at": float, "phase": str, "what": str, "reason": str},
    "looks": {"held_out": str, "candidate": str, "run": str, "at": float},
    "ends": {"run": str, "at": float, "outcome": str, "reason": str},
}
_KEYS: dict[str, str | tuple[str, ...]] = {
    "steps": "key",
    "events": "number",
    "looks": ("held_out", "candidate"),
    "ends": "run",
}


@dataclass(frozen=True)
class Step:
    """A phase that was done."""

    key: str
    run: str
    round: int
    phase: str
    input: str
    output: str
    reason: str
    begun: float
    seconds: float


class Ledger:
    """The ledger of one folder.

    Raises:
        InputError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite_utils.Database(path)
            self._db.execute("pragma busy_timeout = 10000")
            for name, columns in _TABLES.items():
                self._db[name].create(columns, pk=_KEYS[name], if_not_exists=True)
        except Exception as error:
            raise InputError(f"The ledger {path} cannot be opened: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def done(self, key: str) -> Step | None:
        """The phase of that key, if it was done."""
        rows = list(self._db["steps"].rows_where("key = ?", [key]))
        return Step(**rows[0]) if rows else None

    def finish(self, step: Step) -> None:
        """Add a phase that was done, with the event that tells of it, together or not at all."""
        if not step.reason:
            raise TrainError(f"The phase {step.phase} ended without a reason.")
        with self._db.atomic():
            self._db["steps"].insert(step.__dict__, ignore=True)
            self._event(step.run, step.phase, "done", step.reason)

    def begin(self, run: str, phase: str, reason: str) -> None:
        """Tell that a phase begins, and why."""
        with self._db.atomic():
            self._event(run, phase, "begun", reason)

    def _event(self, run: str, phase: str, what: str, reason: str) -> None:
        row = {"run": run, "at": time.time(), "phase": phase, "what": what, "reason": reason}
        self._db["events"].insert(row)

    def look(self, held_out: str, candidate: str, run: str) -> None:
        """Count a look at a held-out set. The same candidate again learns nothing new."""
        row = {"held_out": held_out, "candidate": candidate, "run": run, "at": time.time()}
        with self._db.atomic():
            self._db["looks"].insert(row, ignore=True)

    def looks(self, held_out: str) -> int:
        """How many candidates have looked at a held-out set, over all runs of this folder."""
        return int(self._db["looks"].count_where("held_out = ?", [held_out]))

    def others(self, held_out: str, candidate: str) -> int:
        """How many other candidates than this one have looked at it."""
        where = "held_out = ? and candidate != ?"
        return int(self._db["looks"].count_where(where, [held_out, candidate]))

    def end(self, run: str, outcome: str, reason: str) -> None:
        """Say how a run ended; the last word wins."""
        with self._db.atomic():
            row = {"run": run, "at": time.time(), "outcome": outcome, "reason": reason}
            self._db["ends"].upsert(row, pk="run")

    def ended(self, run: str) -> tuple[str, str] | None:
        """Outcome and reason of a run that ended."""
        rows = list(self._db["ends"].rows_where("run = ?", [run]))
        return (rows[0]["outcome"], rows[0]["reason"]) if rows else None

    def steps(self, run: str) -> list[Step]:
        """A run's phases in the order in which they were done."""
        return [Step(**r) for r in self._db["steps"].rows_where("run = ?", [run], order_by="begun")]

    def events(self, run: str) -> list[dict[str, Any]]:
        """What happened, in order."""
        return list(self._db["events"].rows_where("run = ?", [run], order_by="number"))

    def last_run(self) -> str | None:
        """The run that something happened in last."""
        rows = list(self._db["events"].rows_where(order_by="number desc", limit=1))
        return rows[0]["run"] if rows else None


def output_of(step: Step, kind: type[T]) -> T:
    """What a phase gave."""
    return codec.from_json(kind, step.output)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second loop out of the same folder; the kernel lets go when a process dies.

    Raises:
        TrainError: somebody is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock.pid").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainError(f"Another loop runs in {folder}; wait for it or end it.") from error
        yield
