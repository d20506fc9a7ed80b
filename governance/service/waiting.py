"""Outcomes that came before the end of their pair, kept until it is known; a kill loses none.

Few wait for long: a pair's end is known some seconds after its request. Most of what waits is of
requests that are no pairs, so what is old goes.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from governance import canonical
from governance.home import write
from governance.ledger.witness import sync_folder

# Outcomes that are remembered, and for how long after they were told.
MOST: Final = 65_536
SECONDS: Final = 3_600
# Lines in the file that say nothing any more, before it is written anew.
STALE_LINES: Final = 4_096

# When it came to be, in µs since 1970, and what it was. The greatest counts.
Word = tuple[int, bool]


class Waiting:
    """The last word on each place, by when it was told; in a file, if there is a path.

    A file that cannot be read to its end, as a kill leaves it, counts as far as it can.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        # The oldest first, by when they were told (seconds since 1970).
        self._words: OrderedDict[str, tuple[int, Word]] = OrderedDict()
        self._new: list[str] = []
        self._lines = 0
        for where, told, word in _read(path) if path is not None else ():
            self._lines += 1
            self._put(where, told, word)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._words)

    def places(self) -> list[str]:
        """Places on which a word waits, the oldest first."""
        return list(self._words)

    def add(self, where: str, word: Word, now: int) -> None:
        """Remember a word until `take`; of two on one place the later. Durable after `save`."""
        if self._put(where, now, word):
            self._new.append(where)

    def take(self, where: str) -> Word | None:
        """The word on a place, which waits no longer."""
        found = self._words.pop(where, None)
        return found[1] if found else None

    def save(self, now: int) -> None:
        """Forget what is too old, and make the rest durable.

        Raises:
            OSError: it could not be written; the next call tries again.

        """
        while self._words and next(iter(self._words.values()))[0] + SECONDS < now:
            self._words.popitem(last=False)
        if self._path is None:
            return
        new = [where for where in dict.fromkeys(self._new) if where in self._words]
        if self._lines + len(new) > len(self._words) + STALE_LINES:
            write(self._path, b"".join(self._line(where) for where in self._words))
            self._lines = len(self._words)
        elif new:
            _append(self._path, b"".join(self._line(where) for where in new))
            self._lines += len(new)
        self._new.clear()

    def end(self) -> None:
        """Forget all: nothing is waited for any more."""
        self._words.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _put(self, where: str, told: int, word: Word) -> bool:
        before = self._words.get(where)
        if before is not None and before[1] >= word:
            return False
        self._words.pop(where, None)
        self._words[where] = (told, word)
        if len(self._words) > MOST:
            self._words.popitem(last=False)
        return True

    def _line(self, where: str) -> bytes:
        told, (time_us, label) = self._words[where]
        line = {"label": label, "place": where, "time_us": time_us, "told": told}
        return canonical.encode(line) + b"\n"


def _read(path: Path) -> Iterator[tuple[str, int, Word]]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            try:
                told = json.loads(line)
                yield (
                    str(told["place"]),
                    int(told["told"]),
                    (
                        int(told["time_us"]),
                        bool(told["label"]),
                    ),
                )
            except (ValueError, KeyError, TypeError):
                # Half a line: it was told to nobody that it is kept.
                continue


def _append(path: Path, data: bytes) -> None:
    # A half line before it must not swallow the first of these.
    data = b"\n" + data
    new = not path.exists()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(path, flags, 0o600)
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
        if new:
            sync_folder(path.parent)
    finally:
        os.close(file)
