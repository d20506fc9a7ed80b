"""Checkpoints (c2sp.org/tlog-checkpoint): a log's name, size and root in a signed note."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from governance.ledger.errors import NoteError
from governance.ledger.merkle import Hash
from governance.ledger.note import NoteKey, OpenedNote, Signer, open_note, sign_note, unbase64


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: its name, how many entries it has, the root over them."""

    origin: str
    size: int
    root: Hash

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text. Ours has no extension lines, and one with them is refused.

    Raises:
        NoteError: it is not a checkpoint.

    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise NoteError("bad_checkpoint", "a checkpoint is three lines: log, size, root")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0"):
        raise NoteError("bad_checkpoint", f"{size[:30]!r} is not a tree's size")
    if len(size) > 18:
        raise NoteError("bad_checkpoint", "no log has so many entries")
    digest = unbase64(root, "bad_checkpoint")
    if len(digest) != 32:
        raise NoteError("bad_checkpoint", f"a root has 32 bytes, not {len(digest)}")
    return Checkpoint(origin, int(size), digest)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Sign as the log itself, whose key's name is the log's name."""
    return sign_note(checkpoint.text, checkpoint.origin, signer)


def open_checkpoint(
    note: str, log: NoteKey, witnesses: Iterable[NoteKey] = ()
) -> tuple[Checkpoint, OpenedNote]:
    """Read a checkpoint that the log has signed; cosignatures of known witnesses are checked too.

    Raises:
        NoteError: it is not a checkpoint of this log, or a signature does not hold.

    """
    opened = open_note(note, [log, *witnesses])
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin != log.name:
        raise NoteError(
            "other_log", f"this is a checkpoint of {checkpoint.origin}, not of {log.name}"
        )
    if log not in opened.signers:
        raise NoteError("not_signed", f"{log.name} has not signed this checkpoint")
    return checkpoint, opened
