"""What signs: an interface of two members, and the one that reads a key from a file.

Another kind of signer (a smart card or HSM through PKCS#11, a cloud's key service) is a class with
these two members; nothing else in Sluicegate touches private keys. It must sign with Ed25519 in its
pure form (RFC 8032, not Ed25519ph: PKCS#11's CKM_EDDSA without parameters, a key service's
"ED25519" with the message type RAW), over the message itself and not over a digest that was made of
it, and its public key must be the one that the policy lists. Whatever it raises when the device
says no passes through to the caller; nothing is written then.
"""

from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.keys import public_bytes, read_private


class Signer(Protocol):
    """Holds an Ed25519 key, or reaches a device that does."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes as in RFC 8032."""

    def sign(self, message: bytes) -> bytes:
        """The signature of the message, 64 bytes."""


class FileSigner:
    """Signs with a key in memory, as read from an encrypted PEM file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = public_bytes(key)

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> "FileSigner":
        """Read the key.

        Raises:
            KeyUseError: the file cannot be used, or the passphrase does not open it.

        """
        return cls(read_private(path, passphrase))

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The signature of the message, 64 bytes."""
        return self._key.sign(message)
