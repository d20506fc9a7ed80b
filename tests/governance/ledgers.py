"""Ledgers, keys and entries that tests share."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.ledger.note import NoteKey
from governance.ledger.store import Ledger, Receipt
from governance.ledger.witness import FileWitness, Witness

ORIGIN = "fleet.example/ledger"
NOW = 1_800_000_000


class Key:
    """A private key in memory, the same for the same name."""

    def __init__(self, name: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


LOG = Key("log")
LOG_KEY = NoteKey(ORIGIN, LOG.public_key)


def digest(of: object) -> str:
    return "sha256:" + hashlib.sha256(str(of).encode()).hexdigest()


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def open_ledger(folder: Path, *witnesses: Witness, signer: Key = LOG) -> Ledger:
    """The ledger of a folder, with a witness beside it if none is given."""
    seen = witnesses or (witness(folder),)
    return Ledger(folder / "ledger.sqlite", ORIGIN, signer, lambda: NOW, seen)


def witness(folder: Path, signer: Key | None = None) -> FileWitness:
    return FileWitness(folder / "witness.jsonl", LOG_KEY, signer)


def policy_body(version: int) -> bytes:
    return encode({"at": NOW, "policy": digest(version), "version": version})


def append(ledger: Ledger, version: int) -> Receipt:
    """Log an entry that says nothing but its number."""
    return ledger.append("policy", policy_body(version), digest(("policy", version)))


def approval(name: str, role: str, head: int, key: str | None = None) -> dict[str, Any]:
    """An approval's record; its nonce follows from its name."""
    return {
        "head": head,
        "nonce": hashlib.sha256(name.encode()).hexdigest()[:32],
        "signers": [{"key": digest(("key", key or role)), "role": role}],
        "statement": digest(("approval", name)),
    }
