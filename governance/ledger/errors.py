"""What the ledger refuses, and why it could not be written."""

import sqlite3

from governance.errors import GovernanceError


class LedgerError(GovernanceError):
    """The ledger refused something."""


class EntryError(LedgerError):
    """An entry does not fit its kind, or its key or nonce was used before."""


class ProofError(LedgerError):
    """A Merkle proof does not hold."""


class NoteError(LedgerError):
    """A signed note or a checkpoint cannot be read, or its signature does not hold."""


class WitnessError(LedgerError):
    """A witness refused a head, or could not be reached: nothing may be called promoted."""


class LedgerUnavailableError(LedgerError):
    """The ledger's file cannot be opened, locked or written. Serving goes on, promotion stops."""


def unavailable(error: sqlite3.Error, doing: str) -> LedgerUnavailableError:
    """Say what SQLite said, under a reason of our own."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason, remedy = {
        sqlite3.SQLITE_FULL: ("disk_full", "free some space and try again"),
        sqlite3.SQLITE_IOERR: ("disk_failed", "look at the disk and the limits on file sizes"),
        sqlite3.SQLITE_READONLY: ("read_only", "make the file and its folder writable"),
        sqlite3.SQLITE_CANTOPEN: ("cannot_open", "look at the path and its rights"),
        sqlite3.SQLITE_BUSY: ("locked", "another process holds the file; end it and try again"),
        sqlite3.SQLITE_CORRUPT: ("file_damaged", "restore a backup and compare with the witness"),
        sqlite3.SQLITE_NOTADB: ("file_damaged", "restore a backup and compare with the witness"),
    }.get(code, ("unavailable", "look at the file"))
    return LedgerUnavailableError(reason, f"{doing}: {error}; {remedy}")
