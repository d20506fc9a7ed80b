"""Signed notes (c2sp.org/signed-note): a text and the signatures under it, by Ed25519 keys.

Two kinds of signature are known: a plain one (0x01) and a witness's cosignature with its time
(0x04, c2sp.org/tlog-cosignature). Lines of unknown keys are passed over, as the format asks; a line
of a known key that does not hold refuses the note.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from governance.ledger.errors import NoteError

ED25519, COSIGNATURE = 1, 4
MOST_SIGNATURES = 16
MOST_BYTES = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Signer(Protocol):
    """A private Ed25519 key, wherever it lives."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""

    def sign(self, data: bytes) -> bytes:
        """Sign: 64 bytes."""


@dataclass(frozen=True)
class NoteKey:
    """A public key under a name, as notes know it. `kind` is ED25519 or COSIGNATURE."""

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(c.isspace() for c in self.name):
            raise NoteError(
                "bad_key_name", f"{self.name!r} cannot name a key: no space, no plus, not empty"
            )
        if len(self.public) != 32 or self.kind not in (ED25519, COSIGNATURE):
            raise NoteError("bad_key", f"the key of {self.name} is not an Ed25519 key of 32 bytes")

    @property
    def id(self) -> bytes:
        """First four bytes of SHA-256(name || 0x0A || kind || key)."""
        data = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(data).digest()[:4]

    def __str__(self) -> str:
        """Write the verifier key: NAME+ID+BASE64."""
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.kind]) + self.public)}"


def parse_key(text: str) -> NoteKey:
    """Read a verifier key, NAME+ID+BASE64.

    Raises:
        NoteError: it is no such text, or its id is not that of the key.

    """
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise NoteError("bad_key", "a verifier key is written NAME+ID+BASE64")
    data = unbase64(parts[2], "bad_key")
    if not data:
        raise NoteError("bad_key", "a verifier key is written NAME+ID+BASE64; this one is empty")
    key = NoteKey(parts[0], data[1:], data[0])
    if key.id.hex() != parts[1]:
        raise NoteError("bad_key", f"the id of {key.name} is {key.id.hex()}, not {parts[1]}")
    return key


@dataclass(frozen=True)
class OpenedNote:
    """A note whose text was signed by `signers`, known keys all, each at most once.

    `times` are those of cosignatures, seconds since 1970, by the key's name.
    """

    text: str
    signers: tuple[NoteKey, ...]
    times: dict[str, int]


def sign_note(text: str, name: str, signer: Signer) -> str:
    """Sign a text (it ends with a line feed): the whole note."""
    key = NoteKey(name, signer.public_key)
    return f"{text}\n{_line(key, signer.sign(text.encode()))}"


def cosign_line(text: str, name: str, signer: Signer, now: int) -> str:
    """Sign a checkpoint's text as a witness that saw it at `now`, seconds since 1970."""
    key = NoteKey(name, signer.public_key, COSIGNATURE)
    return _line(key, now.to_bytes(8, "big") + signer.sign(_cosigned(text, now)))


def open_note(note: str, keys: Iterable[NoteKey]) -> OpenedNote:
    """Check a note against the keys that one trusts.

    Raises:
        NoteError: it is not a note, no known key signed it, or the signature of a known key is bad.

    """
    text, lines = split_note(note)
    known = {(key.name, key.id): key for key in keys}
    signers: dict[NoteKey, None] = {}
    times: dict[str, int] = {}
    for name, data in lines:
        key = known.get((name, data[:4]))
        if key is None or key in signers:
            continue
        stamp = data[4:12] if key.kind == COSIGNATURE else b""
        message = text.encode()
        if key.kind == COSIGNATURE:
            times[key.name] = int.from_bytes(stamp, "big")
            message = _cosigned(text, times[key.name])
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(data[4 + len(stamp) :], message)
        except InvalidSignature:
            raise NoteError("bad_signature", f"the signature of {name} does not hold") from None
        signers[key] = None
    if not signers:
        raise NoteError("not_signed", "none of the keys that were given has signed this note")
    return OpenedNote(text, tuple(signers), times)


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Part a note into its text and its signatures (name, id and signature bytes), unchecked.

    Raises:
        NoteError: it is not a note.

    """
    if len(note) > MOST_BYTES:
        raise NoteError("note_too_long", f"a note of {len(note)} characters is not read")
    if _CONTROL.search(note):
        raise NoteError("bad_note", "a note has no control characters but line feeds")
    text, gap, rest = note.rpartition("\n\n")
    if not gap or not text or not rest.endswith("\n"):
        raise NoteError("bad_note", "a note is a text, an empty line and lines of signatures")
    lines = rest[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteError("too_many_signatures", f"{len(lines)} signatures; 16 are read at most")
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not parts[1]:
        raise NoteError("bad_note", "a signature's line is an em dash, a name and base64")
    data = unbase64(parts[2], "bad_note")
    if len(data) < 5:
        raise NoteError("bad_note", "a signature is longer than its key's id")
    return parts[1], data


def unbase64(text: str, reason: str) -> bytes:
    """Read standard base64 with padding, in its one spelling.

    Raises:
        NoteError: under `reason`, if it is not that.

    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(reason, f"{text[:60]!r} is not base64") from None
    if _base64(data) != text:
        raise NoteError(reason, f"{text[:60]!r} is not canonical base64")
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _line(key: NoteKey, signature: bytes) -> str:
    return f"— {key.name} {_base64(key.id + signature)}\n"


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
