"""The held-out set, sealed: encrypted, its key elsewhere, every look counted before it happens.

The key lies in a folder of its own that only the process that judges opens. What fits models runs
in another process whose sight the kernel limits to its own folder and the programs that it needs
(`trainer.specialise.sandbox`), so neither the key nor the set can be read from there.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trainer.errors import SealError
from trainer.evaluation import suite as suites
from trainer.evaluation.suite import Suite

_NONCE = 12


@dataclass(frozen=True)
class Sealed:
    """What everybody may know of a held-out set: its digest and how many cases it has."""

    path: str
    digest: str
    version: int
    cases: int


def seal(suite: Suite, file: Path, key_file: Path) -> Sealed:
    """Encrypt a suite to a file.

    Raises:
        SealError: the key cannot be made or read, or the file cannot be written.
    """
    key = _key(key_file, make=True)
    # From the content, so that the same suite is the same file; a key seals one content a version.
    nonce = bytes.fromhex(suite.digest.removeprefix("sha256:"))[:_NONCE]
    data = AESGCM(key).encrypt(nonce, suites.to_bytes(suite), suite.digest.encode())
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = file.with_suffix(".partial")
        partial.write_bytes(nonce + data)
        partial.chmod(0o600)
        partial.replace(file)
    except OSError as error:
        raise SealError(f"{file}: {error.strerror}") from error
    return Sealed(str(file), suite.digest, suite.version, len(suite.kinds))


def unseal(sealed: Sealed, key_file: Path) -> Suite:
    """Read a sealed suite. The caller has counted the look already.

    Raises:
        SealError: it is not what was sealed, or the key is another.
    """
    key = _key(key_file, make=False)
    try:
        data = Path(sealed.path).read_bytes()
        plain = AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], sealed.digest.encode())
    except OSError as error:
        raise SealError(f"{sealed.path}: {error.strerror}") from error
    except (InvalidTag, ValueError) as error:
        raise SealError(
            f"{sealed.path} is not the held-out set {sealed.digest} that was sealed, or "
            f"{key_file} is not its key."
        ) from error
    found = suites.from_bytes(plain, sealed.path)
    if found.digest != sealed.digest:
        raise SealError(f"{sealed.path} holds the set {found.digest}, not {sealed.digest}.")
    return found


def _key(file: Path, *, make: bool) -> bytes:
    try:
        if make and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(secrets.token_bytes(32))
        data = file.read_bytes()
    except OSError as error:
        raise SealError(f"The seal's key {file}: {error.strerror}") from error
    if len(data) != 32:
        raise SealError(f"The seal's key {file} must have 32 bytes.")
    return data
