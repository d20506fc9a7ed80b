"""The registry on its ledger: an event is checked by the fold and logged in one step.

Also what a restart does about a promotion that has no outcome in the ledger.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from governance.ledger.kinds import Entry
from governance.ledger.read import Row
from governance.ledger.store import Ledger, Receipt
from governance.states.fold import apply
from governance.states.model import Registry, event
from governance.states.table import TABLE


def replay(rows: Iterable[Row], registry: Registry | None = None) -> Registry:
    """Fold stored entries; those that are no events of the registry are passed over.

    Raises:
        EntryError: a row is not an entry.
        TransitionError: a row is an event that should never have been logged.

    """
    state = registry or Registry()
    for row in rows:
        if row.kind in TABLE:
            state = apply(state, event(row.index, row.entry()))
    return state


class Recorder:
    """Logs events that the fold allows. Threads may share it."""

    def __init__(self, ledger: Ledger) -> None:
        """Fold what the ledger holds. Raises what `replay` raises."""
        self._ledger = ledger
        self._turn = threading.Lock()
        self._next, self._registry = 0, Registry()
        self._catch_up()

    @property
    def registry(self) -> Registry:
        """The state after the last logged event."""
        return self._registry

    def record(self, kind: str, body: bytes, key: str) -> Receipt:
        """Log an event, or any other entry, if it is allowed now.

        The same key again gives the first entry's place and changes nothing.

        Raises:
            TransitionError: the fold refuses it. Nothing was logged.
            EntryError, LedgerUnavailableError, WitnessError: as Ledger.append.

        """
        with self._turn:
            try:
                return self._ledger.append(kind, body, key, self._check)
            finally:
                # Also after a witness's refusal: the entry is in the ledger then.
                self._catch_up()

    def _check(self, index: int, entry: Entry) -> None:
        if entry.kind in TABLE:
            apply(self._registry, event(index, entry))

    def _catch_up(self) -> None:
        size = self._ledger.reader.size
        self._registry = replay(self._ledger.reader.rows(self._next, size), self._registry)
        self._next = size


@dataclass(frozen=True)
class Resolution:
    """How a promotion without an outcome ends: the event to log, and what has to be live."""

    kind: Literal["promote_done", "promote_failed"]
    candidate: str
    live: str | None


def resolve(registry: Registry, model: str, reported: str | None) -> Resolution | None:
    """Decide after a restart; None if no promotion is open.

    `reported` is the digest that the gateway says is live, None if it does not answer or serves
    nothing. Only a gateway that serves the candidate makes it live; in every other case the
    incumbent wins, and the gateway is told to serve it before the outcome is logged. A promotion
    whose canary was still running has not been decided either: the incumbent wins.
    """
    state = registry.model(model)
    intent = state.intent
    if intent is None:
        return None
    in_canary = state.candidates[intent.candidate].state == "canary" and intent.canary != "PASS"
    if reported == intent.candidate and not in_canary:
        return Resolution("promote_done", intent.candidate, intent.candidate)
    return Resolution("promote_failed", intent.candidate, state.incumbent)
