"""What every act leans on: the folder, the ledger, the keys, the data plane, the clock.

One lock for all acts: there are few, and each must see what the one before did. The ledger is
opened when it is first needed, so that the service starts, and rolls back, without it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from governance import canonical
from governance.attestations import Provenance
from governance.dsse import Envelope, verified_keys
from governance.errors import GovernanceError, StatementError
from governance.home import Home
from governance.ledger.errors import LedgerError, LedgerUnavailableError
from governance.ledger.kinds import parse_body
from governance.ledger.read import reading
from governance.ledger.store import Ledger, Receipt
from governance.policy import Policy
from governance.predicates import LedgerHead, Predicate, Revocation
from governance.revocations import Revocations
from governance.service.plane import DataPlane
from governance.signer import Signer
from governance.statements import Statement, parse_any
from governance.states.model import Candidate, ModelState, Registry, TransitionError
from governance.states.recorder import Recorder, replay
from governance.verifier import Approved

P = TypeVar("P", bound=Predicate)


class Authority:
    """Holds what acts share. `lock` is held during an act; everything else may be read freely."""

    def __init__(
        self,
        home: Home,
        plane: DataPlane,
        models: Path,
        gateway: str,
        signer: Signer,
        open_ledger: Callable[[], Ledger],
        clock: Callable[[], int],
    ) -> None:
        """Take hold of a folder; `models` is the repository, `gateway` its name in the policy."""
        self.home, self.plane, self.models = home, plane, models
        self.gateway, self.signer, self.clock = gateway, signer, clock
        self.lock = threading.RLock()
        self._open_ledger = open_ledger
        self._ledger: Ledger | None = None
        self._recorder: Recorder | None = None
        self._floor = (0, 0)
        # What a statement's digest stands for never changes; None: it is no statement.
        self._read: dict[str, Statement[Predicate] | None] = {}

    def close(self) -> None:
        """Give the ledger back."""
        with self.lock:
            if self._ledger is not None:
                self._ledger.close()
            self._ledger = self._recorder = None

    @property
    def ledger(self) -> Ledger:
        """The open ledger.

        Raises:
            LedgerError: it cannot be opened now; nothing is promoted until it can.

        """
        self._opened()
        if self._ledger is None:
            raise LedgerUnavailableError("unavailable", "the ledger is closed")
        return self._ledger

    @property
    def registry(self) -> Registry:
        """All models by the ledger; read beside its writer if it cannot be opened.

        Raises:
            LedgerError: there is none that can be read.

        """
        try:
            return self._opened().registry
        except LedgerError:
            with reading(self.home.ledger) as reader:
                return replay(reader.rows())

    def _opened(self) -> Recorder:
        # Without the lock first: who only looks must not wait for an act that goes on.
        opened = self._recorder
        if opened is not None:
            return opened
        with self.lock:
            if self._recorder is None:
                self._ledger = self._open_ledger()
                self._recorder = Recorder(self._ledger)
            return self._recorder

    def record(self, kind: str, key: str, /, **body: Any) -> Receipt:
        """Log an event, as of now; `key` makes it happen once. Raises what Recorder.record does."""
        told = canonical.encode({"at": self.clock(), **body})
        return self._opened().record(kind, told, key)

    def recorded(self, kind: str, key: str) -> dict[str, Any] | None:
        """Body of the entry of a kind under a key, with its `index`; None if there is none."""
        found = self.ledger.reader.connection.execute(
            "SELECT idx, body FROM entries WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return None if found is None else {**parse_body(bytes(found[1])), "index": int(found[0])}

    def clock_floor(self) -> int:
        """Latest time that the ledger knows; a clock behind it was set back."""
        reader = self.ledger.reader
        size, floor = self._floor
        new = [parse_body(row.body)["at"] for row in reader.rows(size)]
        self._floor = (size + len(new), max([floor, *new]))
        return self._floor[1]

    def state(self, model: str) -> ModelState:
        """A model's state by the registry."""
        return self.registry.model(model)

    def candidate(self, model: str, digest: str) -> Candidate:
        """A registered candidate.

        Raises:
            TransitionError: `not_registered`.

        """
        found = self.state(model).candidates.get(digest)
        if found is None:
            raise TransitionError("not_registered", f"{digest} is no candidate of {model}")
        return found

    def usable(self, model: str, digest: str) -> Candidate:
        """A registered candidate that was made from nothing that is revoked since.

        Raises:
            TransitionError: `not_registered`.
            StatementError: `revoked_dataset`.

        """
        found, revoked = self.candidate(model, digest), self.revocations().datasets
        for data in self.datasets(model, digest):
            if data in revoked:
                raise StatementError("revoked_dataset", f"data set {data} is revoked")
        return found

    def datasets(self, model: str, digest: str) -> list[str]:
        """Digests of what a model was made from, by its provenance."""
        return [
            data
            for said in self.kept(Provenance)
            if (said.name, said.digest) == (model, digest)
            for data in said.predicate.datasets
        ]

    def proposer(self, trainer: str, policy: Policy) -> tuple[str, list[bytes]]:
        """Who proposed a candidate: holder and public key of the trainer's key id."""
        found = [key for key in policy.keys if key.key_id == trainer]
        return (found[0].person if found else ""), [key.public_key for key in found]

    def kept(self, kind: type[P]) -> Iterator[Statement[P]]:
        """What every statement of a kind that is kept says; nobody's signature is looked at."""
        for digest in self.home.statements():
            if digest not in self._read:
                try:
                    self._read[digest] = parse_any(self.home.statement(digest).payload)
                except GovernanceError:
                    self._read[digest] = None
            found = self._read[digest]
            if found is not None and isinstance(found.predicate, kind):
                yield found  # type: ignore[misc]

    def revocations(self) -> Revocations:
        """All that is revoked: statements that were verified when they were kept."""
        return Revocations.of(said.predicate for said in self.kept(Revocation))

    def check_heads(self, heads: Iterable[LedgerHead]) -> None:
        """Refuse approvals whose signers saw another ledger than this one.

        Raises:
            StatementError: `ledger_ahead` or `ledger_forked`: this ledger lost or changed entries.

        """
        reader = self.ledger.reader
        for head in heads:
            if head.size > reader.size:
                raise StatementError(
                    "ledger_ahead",
                    f"a signer saw {head.size} entries, the ledger has {reader.size}",
                    remedy="an old copy of the ledger was restored: `sluicegate log verify`",
                )
            if head.root != "sha256:" + reader.root(head.size).hex():
                raise StatementError(
                    "ledger_forked",
                    f"a signer saw another history in the first {head.size} entries",
                    remedy="compare the ledger with its witnesses: `sluicegate log verify`",
                )


def key_of(*parts: str | int) -> str:
    """Idempotency key of an entry from what makes it the same act."""
    return canonical.digest("\n".join(str(part) for part in parts).encode())


def approvals_of(
    approved: Approved, envelopes: Sequence[Envelope], policy: Policy
) -> list[dict[str, Any]]:
    """Approvals as the ledger has them: digests, nonces and roles, no names.

    Somebody who signed beyond what the rule asks for fills no role and is left out.
    """
    told = []
    for digest in approved.statements:
        group = [envelope for envelope in envelopes if envelope.digest == digest]
        signed = frozenset[bytes]().union(*(verified_keys(e, approved.keys) for e in group))
        signers = [
            {"key": policy.by_public[public].key_id, "role": role}
            for public in sorted(signed)
            if (role := approved.persons.get(policy.by_public[public].person, ""))
        ]
        said = canonical.decode(group[0].payload)["predicate"]
        head = (said.get("ledger") or {"size": 0})["size"]
        if signers:
            told.append(
                {"head": head, "nonce": said["nonce"], "signers": signers, "statement": digest}
            )
    return told
