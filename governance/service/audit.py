"""The audit log of the door: who asked for what, before it is done, and what came of it.

A file of its own (audit.jsonl in the governance folder) and not the ledger: it names people, so it
has to be deletable, and a rollback must not wait for the ledger. Denials are counted and go into
the ledger once a minute, without names.
"""

import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

from governance.service.authority import Authority, key_of

DENIALS_SECONDS: Final = 60


class Audit:
    """An append-only file, synced at each line. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()

    def write(self, **line: Any) -> None:
        """Write one line durably.

        Raises:
            OSError: it could not be written.

        """
        data = json.dumps(line, sort_keys=True).encode() + b"\n"
        with self._turn:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self._path, flags, 0o600)
            try:
                if os.write(file, data) != len(data):
                    raise OSError(f"{self._path}: the line was cut")
                os.fsync(file)
            finally:
                os.close(file)


class Denials:
    """Counts denials by method and reason; the first of each in a minute is told at once."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str]]()
        self._turn = threading.Lock()
        self._since = 0

    def add(self, method: str, reason: str) -> bool:
        """Count one; whether it is the first since the last flush."""
        with self._turn:
            self._counts[method, reason] += 1
            return self._counts[method, reason] == 1

    def flush(self, authority: Authority) -> None:
        """Log the counts if a minute is over.

        Raises:
            LedgerError: later again; nothing is lost.

        """
        now = authority.clock()
        with self._turn:
            if now < self._since + DENIALS_SECONDS or not self._counts:
                return
            counts, self._since = Counter(self._counts), now
        for (method, reason), count in sorted(counts.items()):
            authority.record(
                "denied",
                key_of("denied", now, method, reason),
                method=method,
                reason=reason,
                count=count,
            )
            with self._turn:
                del self._counts[method, reason]
