"""The one writer of a ledger: an entry and the signed head over it, in one transaction."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from governance.ledger import merkle
from governance.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from governance.ledger.errors import (
    EntryError,
    LedgerError,
    LedgerUnavailableError,
    WitnessError,
    unavailable,
)
from governance.ledger.kinds import Entry, entry
from governance.ledger.note import NoteKey, Signer
from governance.ledger.read import Reader
from governance.ledger.schema import FORMAT, SCHEMA, connect
from governance.ledger.witness import Witness, sync_folder


@dataclass(frozen=True)
class Receipt:
    """Where an entry stands, and the head that covers it with the witnesses' cosignatures.

    `repeated`: it had been logged before under the same key; `index` is that of the first time.
    """

    index: int
    head: str
    repeated: bool


class Ledger:
    """An open ledger. One process at a time can have it; threads of it take turns."""

    def __init__(
        self,
        path: Path,
        origin: str,
        signer: Signer,
        clock: Callable[[], int],
        witnesses: Sequence[Witness] = (),
        quorum: int = 1,
    ) -> None:
        """Open or create the ledger at `path`.

        `clock` gives seconds since 1970 for cosignatures. `quorum` witnesses must have taken a
        head before an append returns; 0 only where nothing is ever promoted.

        Raises:
            LedgerUnavailableError: another process has it, it cannot be written, it is another
                log's, or its head is not signed by this key.
            WitnessError: the head does not continue what a witness saw, or too few can be reached.

        """
        if len(witnesses) < quorum:
            raise WitnessError(
                "too_few_witnesses", f"{len(witnesses)} witnesses given, {quorum} have to agree"
            )
        self.path, self.key = path, NoteKey(origin, signer.public_key)
        self._signer, self._clock = signer, clock
        self._witnesses, self._quorum = tuple(witnesses), quorum
        self._turn = threading.Lock()
        self._lock = _lock(path)
        try:
            try:
                self._connection = connect(path, create=True)
            except sqlite3.Error as error:
                raise unavailable(error, f"opening {path}") from error
            try:
                self._start()
            except sqlite3.Error as error:
                self._connection.close()
                raise unavailable(error, f"opening {path}") from error
            except LedgerError:
                self._connection.close()
                raise
        except LedgerError:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def reader(self) -> Reader:
        """What is in it."""
        return Reader(self._connection)

    @property
    def head(self) -> str:
        """The newest signed checkpoint."""
        return self.reader.head

    def close(self) -> None:
        """Give the file back."""
        with self._turn:
            self._connection.close()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def append(
        self,
        kind: str,
        body: bytes,
        key: str,
        check: Callable[[int, Entry], None] | None = None,
    ) -> Receipt:
        """Log one entry durably and show the new head to the witnesses.

        Args:
            kind: one of `kinds.KINDS`.
            body: canonical JSON.
            key: digest of the statement that it records; the same key twice is logged once.
            check: asked before a new entry is written, with its index; what it raises refuses it.

        Raises:
            EntryError: the entry does not fit its kind; its nonce was used; its key stands for an
                entry of another kind or with other nonces.
            LedgerUnavailableError: it could not be written. Nothing was logged.
            WitnessError: it was logged, but too few witnesses took the head: act as if it had not
                been logged, and append it again later.

        """
        checked = entry(kind, body, key)
        with self._turn:
            try:
                index, repeated = self._commit(checked, check)
                head = self._publish()
            except sqlite3.Error as error:
                raise unavailable(error, f"appending to {self.path}") from error
        return Receipt(index, head, repeated)

    def _commit(self, new: Entry, check: Callable[[int, Entry], None] | None) -> tuple[int, bool]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            first = self._first(new)
            if first is not None:
                self._connection.execute("ROLLBACK")
                return first, True
            index = self.reader.size
            if check is not None:
                check(index, new)
            self._insert(index, new)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return index, False

    def _first(self, new: Entry) -> int | None:
        """Where the same entry stands already. Raises EntryError if key or nonce is taken."""
        found = self._connection.execute(
            "SELECT idx, kind, body FROM entries WHERE key = ?", (new.key,)
        ).fetchone()
        if found is not None:
            index, kind, body = found
            if (kind, entry(kind, body, new.key).nonces) != (new.kind, new.nonces):
                raise EntryError(
                    "key_reused", f"the key {new.key} stands for another entry, number {index}"
                )
            return int(index)
        for nonce in new.nonces:
            query = "SELECT idx FROM nonces WHERE nonce = ?"
            used = self._connection.execute(query, (nonce,)).fetchone()
            if used is not None:
                raise EntryError("nonce_used", f"the nonce {nonce} was used in entry {used[0]}")
        return None

    def _insert(self, index: int, new: Entry) -> None:
        execute, read = self._connection.execute, self.reader.node
        execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (index, new.kind, new.key, new.body))
        self._connection.executemany(
            "INSERT INTO nonces VALUES (?, ?)", [(nonce, index) for nonce in new.nonces]
        )
        nodes = merkle.added_nodes(index, merkle.leaf_hash(new.leaf), read)
        for node in nodes:
            execute("INSERT INTO nodes VALUES (?, ?, ?)", node)
        self._sign(index + 1)

    def _sign(self, size: int) -> None:
        checkpoint = Checkpoint(self.key.name, size, self.reader.root(size))
        note = sign_checkpoint(checkpoint, self._signer)
        self._connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (size, note))

    def _publish(self) -> str:
        """Show the head to every witness; it comes back with their cosignatures."""
        head, failed, cosignatures = self.reader.head, [], []
        for witness in self._witnesses:
            try:
                cosignatures.append(witness.publish(head, self.reader.consistency, self._clock()))
            except WitnessError as error:
                if error.reason in ("fork", "went_back"):
                    raise
                failed.append(f"{witness.name}: {error}")
        if len(self._witnesses) - len(failed) < self._quorum:
            raise WitnessError(
                "not_witnessed",
                f"the head was taken by {len(self._witnesses) - len(failed)} witnesses of "
                f"{self._quorum} needed ({'; '.join(failed)}); append the same entry again "
                "when they answer",
            )
        return head + "".join(cosignatures)

    def _start(self) -> None:
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables:
            self._create()
        reader = self.reader
        reader.check_format()
        if reader.origin != self.key.name:
            raise LedgerUnavailableError(
                "other_log", f"{self.path} is the log {reader.origin}, not {self.key.name}"
            )
        head, _ = open_checkpoint(reader.head, self.key)
        if (head.size, head.root) != (reader.size, reader.root(reader.size)):
            raise LedgerUnavailableError(
                "head_mismatch", f"the newest head of {self.path} is not that of its entries"
            )
        # A crash between commit and witness leaves a head that nobody outside has seen yet.
        self._publish()

    def _create(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(SCHEMA):
            self._connection.execute(statement)
        self._connection.executemany(
            "INSERT INTO about VALUES (?, ?)", [("format", FORMAT), ("origin", self.key.name)]
        )
        self._sign(0)
        self._connection.execute("COMMIT")
        sync_folder(self.path.parent)


def _statements(script: str) -> list[str]:
    """Part a script: `executescript` would commit what stands open."""
    found, held = [], ""
    for line in script.splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held):
            found.append(held)
            held = ""
    return found


def _lock(path: Path) -> int:
    """Take the writer's lock, a file beside the ledger; the system gives it back at any end."""
    name = path.with_name(path.name + ".lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailableError(
            "read_only", f"{name} cannot be written: {error}; look at the folder's rights"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LedgerUnavailableError(
            "second_writer", f"another process writes {path}; end it first, or use another file"
        ) from None
    return lock
