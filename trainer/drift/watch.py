"""Watches a decision log: the first requests of a model are the reference, the rest are watched.

The same log always gives the same answer, so nothing has to be kept between two looks. An alarm
asks for a run: a file that says why, which a policy may follow at once or a person later.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.drift.alarm import Alarm, Detector
from trainer.drift.decision_log import Decisions, read
from trainer.drift.look import Looked, look
from trainer.errors import InputError

WANTED = "run-wanted.json"


@dataclass(frozen=True)
class Watched:
    """What a look at the log found.

    Attributes:
        reference, watched: requests.
        evidence: of a change; an alarm at `every`.
        alarm: if there was one.
        columns: to look at, the greatest change first, over the newest requests.
        labelled: requests whose outcome is known since the alarm's beginning.
    """

    reference: int
    watched: int
    every: float
    evidence: float
    alarm: Alarm | None
    columns: tuple[Looked, ...]
    labelled: int


def rows_of(
    log: Decisions,
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """What is watched of each request: the score and, where they were kept, the features."""
    names = ("score", *(f"feature {i}" for i in range(log.x.shape[1])))
    return names, np.column_stack([log.scores, log.x.astype(np.float64)])


def watch(log: Decisions, *, reference: int, every: float, window: int = 2000) -> Watched:
    """Look at a log.

    Args:
        log: one model's.
        reference: its first so many requests are known to be quiet.
        every: requests between two false alarms, in the mean at least.
        window: the newest so many are looked at.

    Raises:
        InputError: the log is shorter than the reference.
    """
    names, rows = rows_of(log)
    if len(rows) <= reference:
        raise InputError(
            f"The log has {len(rows)} requests, but {reference} are the reference and more are "
            "needed to be watched."
        )
    detector = Detector.on(rows[:reference], names, every=every)
    alarm = detector.feed(rows[reference:])
    since = reference + (alarm.at - alarm.since if alarm else 0)
    newest = rows[max(reference, len(rows) - window) :]
    return Watched(
        reference,
        len(rows) - reference,
        every,
        detector.evidence(),
        alarm,
        look(rows[:reference], newest, names),
        int(np.isfinite(log.labels[since:]).sum()),
    )


def watch_folder(folder: Path, model: str, *, reference: int, every: float, out: Path) -> Watched:
    """Look at a folder's log; an alarm leaves `run-wanted.json` in `out`.

    Raises:
        InputError: as `watch`, or the log cannot be read.
    """
    found = watch(read(folder, model), reference=reference, every=every)
    if found.alarm is not None:
        out.mkdir(parents=True, exist_ok=True)
        told = {
            "model": model,
            "reason": (
                f"drift: {found.alarm.column} changed; evidence {found.alarm.evidence:,.0f} after "
                f"{found.alarm.at:,} requests, an alarm at {every:,.0f}"
            ),
            "alarm": asdict(found.alarm),
            "labelled_since": found.labelled,
        }
        partial = out / f"{WANTED}.partial"
        partial.write_text(json.dumps(told, indent=1) + "\n")
        partial.replace(out / WANTED)
    return found
