"""What the registry knows: models, candidates, events. Frozen values without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from governance.errors import GovernanceError
from governance.ledger.kinds import Entry, parse_body


class TransitionError(GovernanceError):
    """An event is refused in the state that the registry is in."""


@dataclass(frozen=True)
class Event:
    """One of the registry's events as its ledger entry tells it.

    `index` is the entry's place in the ledger, `body` its fields (kinds.KINDS).
    """

    index: int
    kind: str
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.body["model"])

    @property
    def candidate(self) -> str:
        """The digest that the event is about."""
        return str(self.body["candidate"])

    @property
    def at(self) -> int:
        """When, seconds since 1970."""
        return int(self.body["at"])

    @property
    def approvals(self) -> tuple[Mapping[str, Any], ...]:
        """The approvals that it carries."""
        return tuple(self.body.get("approvals", ()))


def event(index: int, entry: Entry) -> Event:
    """Read an event from a checked ledger entry."""
    return Event(index, entry.kind, parse_body(entry.body))


@dataclass(frozen=True)
class Candidate:
    """One digest under a model's name.

    `report`, `report_index`: digest and ledger index of the PASS that its current run ended with.
    `attempt` is that run's number; `returns_to` the serving state that a rollback gives back.
    """

    state: str
    trainer: str
    attempt: int = 0
    report: str | None = None
    report_index: int = -1
    bundle: str | None = None
    returns_to: str | None = None


@dataclass(frozen=True)
class Intent:
    """A promotion between decision and outcome. `expires` is set for a broken glass."""

    candidate: str
    incumbent: str | None
    index: int
    expires: int | None = None
    canary: str | None = None


@dataclass(frozen=True)
class ModelState:
    """Everything under one model's name.

    `incumbent` is live; `previous` is what a rollback goes back to; `attempts` counts shadow runs
    against each incumbent, whatever the candidate; `review_due` is when an open review falls due,
    `glass_until` when the incumbent's broken glass expires, seconds since 1970.
    """

    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    incumbent: str | None = None
    previous: str | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)
    intent: Intent | None = None
    review_due: int | None = None
    glass_until: int | None = None


@dataclass(frozen=True)
class Registry:
    """All models, and every nonce that an approval has spent."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    nonces: frozenset[str] = frozenset()

    def model(self, name: str) -> ModelState:
        """State of one model; an empty one if it was never heard of."""
        return self.models.get(name, ModelState())
