"""The ledger's file: its tables, the triggers that keep them append-only, how it is opened."""

import sqlite3
from pathlib import Path

FORMAT = "sluicegate.ledger/1"

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entries (
  idx INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL
) STRICT;
CREATE TABLE nonces (nonce TEXT PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE nodes (
  level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
"""
_TABLE_NAMES = ("about", "entries", "nonces", "nodes", "checkpoints")

# INSERT OR REPLACE deletes without asking a DELETE trigger, hence those before INSERT.
_NEXT_ONLY = """
CREATE TRIGGER entries_next BEFORE INSERT ON entries
WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM entries)
  OR EXISTS (SELECT 1 FROM entries WHERE key = NEW.key)
BEGIN SELECT raise(ABORT, 'append only'); END;
CREATE TRIGGER checkpoints_next BEFORE INSERT ON checkpoints
WHEN NEW.size IS NOT (SELECT coalesce(max(size) + 1, 0) FROM checkpoints)
BEGIN SELECT raise(ABORT, 'append only'); END;
CREATE TRIGGER nonces_new BEFORE INSERT ON nonces
WHEN EXISTS (SELECT 1 FROM nonces WHERE nonce = NEW.nonce)
BEGIN SELECT raise(ABORT, 'append only'); END;
CREATE TRIGGER nodes_new BEFORE INSERT ON nodes
WHEN EXISTS (SELECT 1 FROM nodes WHERE level = NEW.level AND idx = NEW.idx)
BEGIN SELECT raise(ABORT, 'append only'); END;
"""

TRIGGERS = {"entries_next", "checkpoints_next", "nonces_new", "nodes_new"} | {
    f"{table}_no_{verb}" for table in _TABLE_NAMES for verb in ("update", "delete")
}


def _never(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
        "BEGIN SELECT raise(ABORT, 'append only'); END;\n"
    )


SCHEMA = (
    _TABLES
    + _NEXT_ONLY
    + "".join(_never(table, verb) for table in _TABLE_NAMES for verb in ("update", "delete"))
)


def connect(path: Path, create: bool = False) -> sqlite3.Connection:
    """Open the file for reading and writing, with every setting that durability leans on.

    Rollback journal and `synchronous=EXTRA`: the folder is synced too when the journal goes, so
    that a commit that was told survives a power cut. Writing is asked for even by readers, since a
    journal that a killed writer left behind has to be rolled back before anything can be read.

    Raises:
        sqlite3.Error: it cannot be opened.

    """
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=5,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("PRAGMA fullfsync=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
