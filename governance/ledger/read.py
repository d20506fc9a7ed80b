"""Reading a ledger: entries, checkpoints, nodes, proofs. It never writes an entry."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from governance.ledger import merkle
from governance.ledger.errors import LedgerUnavailableError, unavailable
from governance.ledger.kinds import Entry, entry
from governance.ledger.merkle import Hash
from governance.ledger.schema import FORMAT, connect


@dataclass(frozen=True)
class Row:
    """One row of the entries' table as it is stored, unchecked."""

    index: int
    kind: str
    key: str
    body: bytes

    def entry(self) -> Entry:
        """Check the row. Raises EntryError if it is no entry that the ledger takes."""
        return entry(self.kind, self.body, self.key)


class Reader:
    """A view of a ledger through an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @property
    def origin(self) -> str:
        """The log's name, as the file has it."""
        return self._about("origin")

    @property
    def size(self) -> int:
        """How many entries there are."""
        found = self.connection.execute("SELECT coalesce(max(idx) + 1, 0) FROM entries").fetchone()
        return int(found[0])

    @property
    def head(self) -> str:
        """The newest checkpoint's note."""
        query = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
        return self._one(query, (), "no checkpoint")

    def checkpoint(self, size: int) -> str:
        """The note of the checkpoint over the first `size` entries."""
        query = "SELECT note FROM checkpoints WHERE size = ?"
        return self._one(query, (size,), f"no checkpoint of size {size}")

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        """Every checkpoint: size and note, by size."""
        yield from self.connection.execute("SELECT size, note FROM checkpoints ORDER BY size")

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Stored entries from `start` up to `stop`, unchecked."""
        query = "SELECT idx, kind, key, body FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
        for found in self.connection.execute(query, (start, 2**62 if stop is None else stop)):
            yield Row(*found)

    def nonces(self) -> Iterator[tuple[str, int]]:
        """Every nonce with the entry that used it."""
        yield from self.connection.execute("SELECT nonce, idx FROM nonces ORDER BY nonce")

    def node(self, level: int, index: int) -> Hash:
        """One complete node of the tree."""
        query = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
        found = self.connection.execute(query, (level, index)).fetchone()
        if found is None:
            raise LedgerUnavailableError(
                "node_missing", f"node ({level}, {index}) is missing; run `log verify`"
            )
        return bytes(found[0])

    def root(self, size: int) -> Hash:
        """Root over the first `size` entries, from stored nodes."""
        return merkle.tree_root(size, self.node)

    def inclusion(self, index: int, size: int) -> list[Hash]:
        """Audit path of an entry. Raises ProofError if there is no such entry."""
        return merkle.inclusion_proof(index, size, self.node)

    def consistency(self, old: int, new: int) -> list[Hash]:
        """Proof that the log only grew. Raises ProofError if `old` is greater."""
        return merkle.consistency_proof(old, new, self.node)

    def check_format(self) -> None:
        """Refuse a file that is not a ledger.

        Raises:
            LedgerUnavailableError: it is something else.

        """
        try:
            found = self._about("format")
        except (sqlite3.OperationalError, LedgerUnavailableError):
            found = "none"
        if found != FORMAT:
            raise LedgerUnavailableError(
                "not_a_ledger", f"the file's format is {found}, expected {FORMAT}"
            )

    def _about(self, name: str) -> str:
        return self._one("SELECT value FROM about WHERE name = ?", (name,), f"no {name}")

    def _one(self, query: str, values: tuple[object, ...], missing: str) -> str:
        found = self.connection.execute(query, values).fetchone()
        if found is None:
            raise LedgerUnavailableError("incomplete", f"{missing} in the ledger; run `log verify`")
        return str(found[0])


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a ledger to read it, beside its writer if there is one.

    A file that cannot be written is copied with its journal first: a journal that a killed writer
    left must be rolled back before anything can be read. Copy such a file only while nobody writes.

    Raises:
        LedgerUnavailableError: it is not there, not a ledger, or damaged beyond reading.

    """
    if not path.is_file():
        raise LedgerUnavailableError("no_ledger", f"there is no ledger at {path}")
    with ExitStack() as stack:
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            path = _copied(path, folder)
        try:
            connection = connect(path)
            stack.callback(connection.close)
            reader = Reader(connection)
            reader.check_format()
            yield reader
        except sqlite3.Error as error:
            raise unavailable(error, f"reading {path}") from error


def _copied(path: Path, folder: Path) -> Path:
    for name in (path.name, path.name + "-journal"):
        if (source := path.with_name(name)).exists():
            shutil.copyfile(source, folder / name)
    return folder / path.name
