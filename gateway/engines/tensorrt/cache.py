"""The cache of plans and of what belongs to them, on disk.

A plan is code that will run in the serving process, so only what this gateway wrote is read back:
each file has a receipt beside it with its digest, sealed with a key that only the gateway's user
can read. Files are written aside and renamed, so that a reader sees all of one or nothing.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Literal

from gateway.engines.contract import EngineError

Kind = Literal["plan", "timing", "kernels", "reference"]
SECRET = "secret"  # noqa: S105 - a file's name


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def key_of(about: Mapping[str, Any]) -> str:
    """The key of what is described: the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(dict(about))).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A cached file: its key, what it is about, its size, and what is wrong with it if anything."""

    kind: str
    key: str
    about: Mapping[str, Any]
    size: int
    seconds: float
    defect: str | None


class Cache:
    """One folder; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._secret = self._read_secret()
        except OSError as error:
            raise EngineError(f"the cache of plans {folder}: {error.strerror}") from error

    def _read_secret(self) -> bytes:
        path = self.folder / SECRET
        if not path.exists():
            aside = self._aside(secrets.token_bytes(32))
            # Another process may have been first: its secret stays.
            with suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()
        return path.read_bytes()

    def _aside(self, data: bytes) -> Path:
        # mkstemp's files are for their owner alone.
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".aside-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    def path(self, kind: Kind, key: str) -> Path:
        """Where a file is, or would be."""
        return self.folder / f"{key}.{kind}"

    def _seal(self, kind: str, receipt: Mapping[str, Any]) -> str:
        told = canonical({"kind": kind, "receipt": dict(receipt)})
        return hmac.new(self._secret, told, hashlib.sha256).hexdigest()

    def put(self, kind: Kind, about: Mapping[str, Any], data: bytes, seconds: float = 0.0) -> str:
        """Keep a file, and return its key.

        Raises:
            EngineError: it cannot be written.

        """
        key = key_of(about)
        receipt = {
            "about": dict(about),
            "seconds": round(seconds, 3),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "written": int(time.time()),
        }
        sealed = {"receipt": receipt, "seal": self._seal(kind, receipt)}
        try:
            # The data first: a receipt never stands beside less than it says.
            self._aside(data).rename(self.path(kind, key))
            self._aside(canonical(sealed)).rename(self._receipt(kind, key))
        except OSError as error:
            raise EngineError(f"the cache of plans {self.folder}: {error.strerror}") from error
        return key

    def _receipt(self, kind: str, key: str) -> Path:
        return self.folder / f"{key}.{kind}.json"

    def _checked(self, kind: str, key: str) -> tuple[dict[str, Any], bytes]:
        try:
            sealed = json.loads(self._receipt(kind, key).read_bytes())
            receipt, seal = sealed["receipt"], sealed["seal"]
            data = (self.folder / f"{key}.{kind}").read_bytes()
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"its receipt cannot be read ({type(error).__name__})") from error
        if not hmac.compare_digest(self._seal(kind, receipt), str(seal)):
            raise EngineError("its receipt was not written by this gateway")
        if hashlib.sha256(data).hexdigest() != receipt["sha256"]:
            raise EngineError("its bytes are not those that this gateway wrote")
        if key_of(receipt["about"]) != key:
            raise EngineError("it lies under another key than its own")
        return receipt, data

    def get(self, kind: Kind, about: Mapping[str, Any]) -> bytes | None:
        """A file's bytes, None if it is not there or is not what this gateway wrote."""
        try:
            return self._checked(kind, key_of(about))[1]
        except (FileNotFoundError, EngineError):
            return None

    def entries(self) -> list[Entry]:
        """Every file with a receipt, checked; plans first, then by key."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            key, _, kind = path.name.removesuffix(".json").partition(".")
            try:
                receipt, data = self._checked(kind, key)
            except FileNotFoundError:
                found.append(Entry(kind, key, {}, 0, 0.0, "its receipt stands alone"))
            except EngineError as error:
                found.append(Entry(kind, key, {}, 0, 0.0, str(error)))
            else:
                about, seconds = receipt["about"], receipt["seconds"]
                found.append(Entry(kind, key, about, len(data), seconds, None))
        return sorted(found, key=lambda each: (each.kind != "plan", each.kind, each.key))

    @contextmanager
    def building(self, key: str) -> Iterator[None]:
        """Hold off others that would build the same, until the block ends."""
        with (self.folder / f".{key}.lock").open("w") as file:
            flock(file, LOCK_EX)
            yield
