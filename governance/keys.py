"""Ed25519 keys: their names, their files, and whether a signature is theirs.

Private keys are PKCS#8 in PEM, encrypted with a passphrase; public ones are SubjectPublicKeyInfo in
PEM. Files are made for their owner alone (mode 0600) and never written over.
"""

import os
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from governance.canonical import digest
from governance.curve import is_sound
from governance.errors import KeyUseError

MIN_PASSPHRASE_BYTES = 12
MAX_KEY_FILE_BYTES = 16384


@lru_cache(maxsize=1024)
def key_id(public: bytes) -> str:
    """A key's name: `sha256:` and the SHA-256 of its 32 public bytes in hex."""
    return digest(public)


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 public bytes of a private key."""
    return key.public_key().public_bytes_raw()


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature of the message is that key's."""
    try:
        _loaded(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def _loaded(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def check_public(public: bytes) -> None:
    """Refuse bytes that are no Ed25519 public key, or one that anybody can sign for.

    Raises:
        KeyUseError: with reason `unsound_key`.

    """
    if not is_sound(public):
        raise KeyUseError("unsound_key", f"{public.hex()} is not a sound Ed25519 public key")


def public_path(path: Path) -> Path:
    """Where the public half of the private key at `path` is kept."""
    return path.with_name(path.name + ".pub")


def create(path: Path, passphrase: bytes) -> bytes:
    """Make a new key: the private half at `path`, the public one at `path` + `.pub`.

    Returns:
        The 32 public bytes.

    Raises:
        KeyUseError: one of the files exists already (`file_exists`) or cannot be written
            (`not_writable`), or the passphrase is too short (`short_passphrase`).

    """
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise KeyUseError(
            "short_passphrase",
            f"the passphrase has {len(passphrase)} bytes",
            expected=f"at least {MIN_PASSPHRASE_BYTES}",
            remedy="choose a longer one",
        )
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_new(path, private)
    try:
        write_new(public_path(path), public)
    except KeyUseError:
        path.unlink()
        raise
    return public_bytes(key)


def write_new(path: Path, data: bytes) -> None:
    """Write a file for its owner alone; one that exists is left as it is.

    Raises:
        KeyUseError: it exists (`file_exists`) or cannot be written (`not_writable`).

    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise KeyUseError(
            "file_exists", f"{path} exists already", remedy="name another file"
        ) from None
    except OSError as error:
        raise KeyUseError(
            "not_writable", f"{path}: {error.strerror}", remedy="name another file"
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path, passphrase: bytes) -> Ed25519PrivateKey:
    """Open a private key.

    Raises:
        KeyUseError: no such file (`not_readable`), others may read it (`open_to_others`), it is not
            encrypted (`not_encrypted`), the passphrase is wrong (`wrong_passphrase`), it is not an
            Ed25519 key (`not_ed25519`).

    """
    data = _read(path, private=True)
    # An unencrypted key is refused even with a passphrase at hand: whoever copied it can sign.
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in data:
        raise KeyUseError("not_encrypted", f"{path} holds no encrypted private key")
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUseError(
            "wrong_passphrase",
            f"the passphrase does not open {path}, or the file is damaged",
            remedy="try the passphrase again",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUseError("not_ed25519", f"{path} holds a key of another kind", expected="Ed25519")
    return key


def read_public(path: Path) -> bytes:
    """The 32 bytes of a public key in a PEM file.

    Raises:
        KeyUseError: no such file (`not_readable`), not a public key of this kind (`not_ed25519`),
            or one that anybody can sign for (`unsound_key`).

    """
    try:
        key = serialization.load_pem_public_key(_read(path, private=False))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUseError("not_ed25519", f"{path} holds no Ed25519 public key in PEM")
    public = key.public_bytes_raw()
    check_public(public)
    return public


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise KeyUseError(
            "not_readable", f"{path}: {error.strerror}", remedy="name the key's file"
        ) from None
    if private and mode & 0o077:
        raise KeyUseError("open_to_others", f"others may read {path}", remedy=f"chmod 600 {path}")
    return data
