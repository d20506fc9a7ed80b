"""Witnesses: outside places that remember heads, so that history cannot be taken back unseen.

A witness is handed every head before the caller of an append hears of it. It demands a proof that
the log only grew since the last head it saw, refuses a fork, and cosigns if it has a key. A file on
another disk is the simplest one; `http_witness` asks one on another machine.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from governance.ledger.checkpoint import Checkpoint, open_checkpoint
from governance.ledger.errors import NoteError, ProofError, WitnessError
from governance.ledger.merkle import Hash, verify_consistency
from governance.ledger.note import NoteKey, Signer, cosign_line

LONGEST_LINE = 256 * 1024

Prove = Callable[[int, int], Sequence[Hash]]


class Witness(Protocol):
    """An outside memory of a log's head."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def publish(self, note: str, prove: Prove, now: int) -> str:
        """Take a head, durably. `prove(old, new)` gives the proof from the last head it saw.

        Returns a cosignature's line, or an empty text from a witness without a key.

        Raises:
            WitnessError: the head is not signed, forks or goes back, or cannot be kept.

        """

    def heads(self) -> list[str]:
        """Heads that it remembers, oldest first; at least the last."""


def check_next(last: str | None, note: str, log: NoteKey, prove: Prove) -> Checkpoint:
    """What every witness asks of a new head, given the last one it saw.

    Raises:
        WitnessError: `not_signed`, `fork` or `went_back`.

    """
    try:
        new, _ = open_checkpoint(note, log)
        old = open_checkpoint(last, log)[0] if last is not None else None
    except NoteError as error:
        raise WitnessError(error.reason, f"the witness refuses this head: {error}") from error
    if old is None:
        return new
    if new.size < old.size:
        raise WitnessError(
            "went_back", f"a head of {new.size} entries after one of {old.size}: an old copy?"
        )
    try:
        proof = prove(old.size, new.size) if new.size > old.size else []
        verify_consistency(old.size, new.size, old.root, new.root, proof)
    except ProofError as error:
        raise WitnessError(
            "fork", f"this head does not continue the one of {old.size} entries: {error}"
        ) from error
    return new


class FileWitness:
    """An append-only file, one JSON object a line, synced before a head counts as taken.

    Put it on another disk or under another account: whoever can restore the ledger's folder must
    not be able to restore this file with it.
    """

    def __init__(
        self, path: Path, log: NoteKey, signer: Signer | None = None, name: str | None = None
    ) -> None:
        self.path, self.log = path, log
        self._signer, self._name = signer, name or path.name

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def heads(self) -> list[str]:
        """Every head it took, oldest first.

        Raises:
            WitnessError: a line of the file is damaged.

        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WitnessError("witness_unreachable", f"{self.path}: {error}") from error
        return [self._note(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def publish(self, note: str, prove: Prove, now: int) -> str:
        """Take a head. The same head again is taken without a new line."""
        try:
            with self._locked() as file:
                last = self._last(file)
                checkpoint = check_next(last, note, self.log, prove)
                line = ""
                if self._signer is not None:
                    line = cosign_line(checkpoint.text, self._name, self._signer, now)
                if last is None or check_next(None, last, self.log, prove) != checkpoint:
                    self._write(file, {"cosignature": line, "note": note})
        except OSError as error:
            raise WitnessError("witness_unreachable", f"{self.path}: {error}") from error
        return line

    def _last(self, file: int) -> str | None:
        size = os.fstat(file).st_size
        tail = os.pread(file, LONGEST_LINE, max(0, size - LONGEST_LINE))
        lines = tail[: tail.rfind(b"\n") + 1].splitlines()
        return self._note(lines[-1]) if lines else None

    def _note(self, line: bytes) -> str:
        try:
            return str(json.loads(line)["note"])
        except (ValueError, KeyError, TypeError) as error:
            raise WitnessError("witness_damaged", f"{self.path}: a line is not a head") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)

    def _write(self, file: int, line: dict[str, str]) -> None:
        # A line without its end was never told to anybody: a crash cut it off.
        start = max(0, os.fstat(file).st_size - LONGEST_LINE)
        end = start + os.pread(file, LONGEST_LINE, start).rfind(b"\n") + 1
        os.ftruncate(file, end)
        os.lseek(file, end, os.SEEK_SET)
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)


def sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
