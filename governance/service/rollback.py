"""Goes back to the model before, first on the gateway and then in the ledger.

A rollback waits for nobody: what it goes back to was verified when it went live, and is verified
again from the folder alone. If the ledger cannot be written, the entry is owed: kept in the folder
and logged as soon as it can be.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from governance import canonical
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.home import Live, write
from governance.ledger.errors import LedgerError
from governance.service import approvals
from governance.service.approvals import About
from governance.service.authority import Authority, approvals_of, key_of
from governance.service.plane import PlaneError, live
from governance.service.repository import version_of
from governance.service_verifier import verify_for_serving
from governance.states.model import TransitionError
from governance.verifier import verify_approvals

Step = Callable[[str], None]


@dataclass(frozen=True)
class RolledBack:
    """What is live again. `logged`: the ledger has it; else it is owed."""

    model: str
    candidate: str
    version: int
    logged: bool


class Rollback:
    """Rollbacks of a gateway. `step` is told each step as it begins, for tests that end there."""

    def __init__(self, authority: Authority, step: Step = lambda _: None) -> None:
        self._authority, self._step = authority, step
        # Entries that neither the ledger nor the folder could take.
        self._unwritten: dict[str, dict[str, Any]] = {}

    def roll_back(self, model: str, given: Sequence[Envelope]) -> RolledBack:
        """Take the live model back by an operator's approval of `rollback`.

        Its candidate and its incumbent are both the model that is live.

        Raises:
            GovernanceError: it is not approved, or there is nothing that may be gone back to.

        """
        authority = self._authority
        with authority.lock:
            now = self._live(model)
            policy = authority.home.policy()
            known = _known(authority)
            about = About("rollback", model, now.model_digest, now.model_digest, None)
            envelopes = approvals.find(authority, about, given) if known else list(given)
            approved = verify_approvals(
                envelopes,
                policy=policy,
                action="rollback",
                model=model,
                candidate=now.model_digest,
                incumbent=now.model_digest,
                shadow_report=None,
                evidence_digest=None,
                audience=policy.audience,
                now=authority.clock(),
                proposer="",
                trainer_keys=(),
                used_nonces=(authority.registry.nonces if known else frozenset())
                | self._owed_nonces(),
                revocations=authority.revocations(),
            )
            body = {
                "kind": "rollback",
                "key": key_of("rollback", *sorted(approved.statements)),
                "candidate": now.model_digest,
                "approvals": approvals_of(approved, envelopes, policy),
                "at": authority.clock(),
            }
            # An audit reads what was signed; a full disk must not hold a rollback up.
            with suppress(OSError):
                for envelope in envelopes:
                    authority.home.keep(envelope)
            version = self.go_back(model, now, body)
            return RolledBack(model, str(now.previous_model), version, self._settled(model))

    def _live(self, model: str) -> Live:
        now = self._authority.home.live(model)
        if now is None:
            raise TransitionError("not_live", f"nothing of {model} was promoted")
        return now

    def previous(self, model: str, now: Live) -> int:
        """Version of the model before, verified anew.

        Raises:
            GovernanceError: there is none, or it may not be served.

        """
        authority = self._authority
        if now.previous_model is None or now.previous_deployment is None:
            raise TransitionError("no_previous", f"there is no earlier model of {model}")
        verify_for_serving(
            now.previous_model,
            authority.home.statement(now.previous_deployment),
            authority.home.policy(),
            authority.revocations(),
            model=model,
            datasets=authority.datasets(model, now.previous_model),
        )
        return version_of(authority.models, model, now.previous_model)

    def go_back(self, model: str, now: Live, owed: dict[str, Any]) -> int:
        """Serve the model before, and owe the ledger an entry about it.

        Raises:
            GovernanceError: there is none that may be served, or the data plane refused.
            PlaneError: `plane_away`; it is done as soon as the data plane answers.

        """
        authority = self._authority
        version = self.previous(model, now)
        self._step("decided")
        # The folder may be as full as the ledger's disk: neither may hold a rollback up.
        self._owe(model, owed)
        self._step("owed")
        try:
            authority.plane.swap(model, version)
        except PlaneError as error:
            if error.reason == "plane_refused":
                self._forget(model)
            raise
        self._step("swapped")
        answers = live(authority.plane, model)
        if answers is None or answers.digest != now.previous_model:
            self._forget(model)
            raise PlaneError("not_served", f"the gateway does not serve {now.previous_model}")
        with suppress(OSError):
            authority.home.set_live(
                model, Live(str(now.previous_model), str(now.previous_deployment))
            )
        self._step("recorded")
        # Also what SQLite says while reading: it is done, and nothing about the ledger undoes it.
        with suppress(LedgerError, TransitionError, sqlite3.Error):
            self.settle(model)
        return version

    def expire(self, model: str) -> bool:
        """Take a broken glass back whose time is over; whether there was one.

        Raises:
            PlaneError, LedgerError: later again.

        """
        authority = self._authority
        with authority.lock:
            until, now = authority.state(model).glass_until, authority.home.live(model)
            if until is None or now is None or authority.clock() < until or self._read(model):
                return False
            key = key_of("break_glass_expired", now.deployment)
            owed = {
                "kind": "break_glass_expired",
                "key": key,
                "candidate": now.model_digest,
                "at": authority.clock(),
            }
            try:
                self.previous(model, now)
            except TransitionError:
                # It was the first: nothing may be served in its place.
                authority.record(
                    "break_glass_expired", key, model=model, candidate=now.model_digest
                )
                authority.home.set_live(model, None)
                authority.plane.unload(model)
                return True
            self.go_back(model, now, owed)
            return True

    def settle(self, model: str) -> None:
        """Do and log what is owed for a model.

        Raises:
            PlaneError, LedgerError: later again.

        """
        authority = self._authority
        with authority.lock:
            owed = self._read(model)
            if owed is None:
                return
            now = authority.home.live(model)
            if now is not None and now.model_digest == owed["candidate"]:
                # It ended between the decision and the swap, or before the folder knew.
                version = self.previous(model, now)
                answers = live(authority.plane, model)
                if answers is None or answers.digest != now.previous_model:
                    authority.plane.swap(model, version)
                authority.home.set_live(
                    model, Live(str(now.previous_model), str(now.previous_deployment))
                )
            more = {k: v for k, v in owed.items() if k not in ("kind", "key")}
            authority.record(owed["kind"], owed["key"], model=model, **more)
            self._step("logged")
            self._forget(model)

    def owed(self) -> list[str]:
        """Models of which the ledger lacks a rollback."""
        folder = self._authority.home.root / "owed"
        kept = {p.stem for p in folder.glob("*.json")} if folder.is_dir() else set()
        return sorted(kept | self._unwritten.keys())

    def _settled(self, model: str) -> bool:
        return self._read(model) is None

    def _owed_nonces(self) -> frozenset[str]:
        bodies = [self._read(model) for model in self.owed()]
        return frozenset(a["nonce"] for body in bodies if body for a in body.get("approvals", ()))

    def _owe(self, model: str, body: dict[str, Any]) -> None:
        try:
            write(self._authority.home.root / "owed" / f"{model}.json", canonical.encode(body))
        except OSError:
            self._unwritten[model] = body

    def _read(self, model: str) -> dict[str, Any] | None:
        if model in self._unwritten:
            return self._unwritten[model]
        path = self._authority.home.root / "owed" / f"{model}.json"
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def _forget(self, model: str) -> None:
        self._unwritten.pop(model, None)
        with suppress(OSError):
            (self._authority.home.root / "owed" / f"{model}.json").unlink(missing_ok=True)


def _known(authority: Authority) -> bool:
    """Whether the registry can be read; a rollback goes without it."""
    try:
        _ = authority.registry
    except GovernanceError:
        return False
    return True
