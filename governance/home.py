"""A gateway's governance folder: where policy, statements, ledger and what is live are kept.

    policies/N.json        the chain of signed policies; `pin` holds the first one's digest
    keys/                  the gateway's and the ledger's own keys; `passphrase` if unattended
    ledger.db              the ledger
    statements/HEX.json    every envelope, by its payload's digest
    bundles/MODEL/HEX/     evidence, by the candidate's digest
    live/MODEL.json        which deployment is live, and the one before
    runs/MODEL.json        the shadow run that goes on; samples/MODEL/RUN.jsonl its pairs
    promotions/MODEL.json  a promotion that has not ended; owed/MODEL.json a rollback that the
                           ledger lacks
    service.json, log.key  the service's settings, the ledger's public key
    audit.jsonl            who asked for what at the admin door

Files are written aside, synced and renamed: a reader sees the old or the new, never half of one.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.policy import Policy
from governance.policy_chain import succeed

MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class HomeError(GovernanceError):
    """The folder lacks something, or holds what does not belong there."""

    REMEDY = "look at docs/interfaces.md, Governance folder"


@dataclass(frozen=True)
class Live:
    """What answers for a model, by the digests of the model and of its deployment statement.

    `previous_model` and `previous_deployment` are what a rollback goes back to, or None.
    """

    model_digest: str
    deployment: str
    previous_model: str | None = None
    previous_deployment: str | None = None


@dataclass(frozen=True)
class Home:
    """The folder at `root`. Methods raise HomeError with a reason.

    Files are read anew each time; only what the same bytes mean is remembered.
    """

    root: Path

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger.db"

    @property
    def keys(self) -> Path:
        """The folder of the service keys."""
        return self.root / "keys"

    def bundle(self, model: str, digest: str) -> Path:
        """The folder of a candidate's evidence."""
        return self.root / "bundles" / _named(model) / _hex(digest)

    def policy(self) -> Policy:
        """The newest policy of the chain. Whether it is current now is for the caller to ask.

        Raises:
            HomeError: `no_policy` or `no_pin`.
            MalformedError, PolicyError: the chain does not hold.

        """
        return self.policies()[-1]

    def policies(self) -> tuple[Policy, ...]:
        """The chain, oldest first; at least one. Raises what `policy` raises."""
        pin = self.root / "pin"
        if not pin.is_file():
            raise HomeError("no_pin", f"{pin} is not there", expected="the first policy's digest")
        pinned = pin.read_text().strip()
        signed: list[bytes] = []
        while (path := self.root / "policies" / f"{len(signed) + 1}.json").is_file():
            signed.append(path.read_bytes())
        if not signed:
            raise HomeError("no_policy", f"{self.root / 'policies'} holds no 1.json")
        return _chain(pinned, tuple(signed))

    def signed_policy(self, version: int) -> Envelope:
        """A version of the chain as it was signed. Raises OSError, MalformedError."""
        return Envelope.from_json((self.root / "policies" / f"{version}.json").read_bytes())

    def add_policy(self, envelope: Envelope, version: int) -> None:
        """Keep a policy that was accepted."""
        write(self.root / "policies" / f"{version}.json", envelope.to_json())

    def keep(self, envelope: Envelope) -> str:
        """Keep an envelope; its payload's digest, by which it is found again.

        The same payload with other signatures takes the place of the one before.
        """
        write(self._statement(envelope.digest), envelope.to_json())
        return envelope.digest

    def statement(self, digest: str) -> Envelope:
        """The envelope of a payload.

        Raises:
            HomeError: `no_statement`, or `statement_changed` if the file holds another payload.
            MalformedError: it is no envelope.

        """
        path = self._statement(digest)
        if not path.is_file():
            raise HomeError("no_statement", f"there is no statement {digest}")
        envelope = Envelope.from_json(path.read_bytes())
        if envelope.digest != digest:
            raise HomeError("statement_changed", f"{path} holds another payload than its name says")
        return envelope

    def statements(self) -> list[str]:
        """The digests of every statement that is kept."""
        folder = self.root / "statements"
        names = (p.stem for p in folder.glob("*.json")) if folder.is_dir() else ()
        return sorted(f"sha256:{name}" for name in names if re.fullmatch(r"[0-9a-f]{64}", name))

    def discard(self, digest: str) -> None:
        """Forget a statement that another has taken the place of, and that nothing names."""
        self._statement(digest).unlink(missing_ok=True)

    def live(self, model: str) -> Live | None:
        """What answers for a model by governance's own record; None if nothing ever did."""
        path = self.root / "live" / f"{_named(model)}.json"
        if not path.is_file():
            return None
        try:
            return Live(**json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise HomeError("live_unreadable", f"{path}: {error}") from error

    def set_live(self, model: str, live: Live | None) -> None:
        """Record what answers from now on; None: nothing does."""
        path = self.root / "live" / f"{_named(model)}.json"
        if live is None:
            path.unlink(missing_ok=True)
            return
        write(path, json.dumps(asdict(live), sort_keys=True).encode())

    def run(self, model: str) -> dict[str, Any] | None:
        """The shadow run that goes on for a model, as it was kept."""
        path = self.root / "runs" / f"{_named(model)}.json"
        if not path.is_file():
            return None
        try:
            told: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise HomeError("run_unreadable", f"{path}: {error}") from error
        return told

    def set_run(self, model: str, run: dict[str, Any] | None) -> None:
        """Keep what a shadow run has come to; None: it is over."""
        path = self.root / "runs" / f"{_named(model)}.json"
        if run is None:
            path.unlink(missing_ok=True)
            return
        write(path, json.dumps(run, sort_keys=True).encode())

    def models(self) -> list[str]:
        """Models of which something is live."""
        folder = self.root / "live"
        return sorted(p.stem for p in folder.glob("*.json")) if folder.is_dir() else []

    def _statement(self, digest: str) -> Path:
        return self.root / "statements" / f"{_hex(digest)}.json"


@lru_cache(maxsize=4)
def _chain(pinned: str, signed: tuple[bytes, ...]) -> tuple[Policy, ...]:
    chain: list[Policy] = []
    for data in signed:
        chain.append(succeed(Envelope.from_json(data), chain[-1] if chain else None, pinned))
    return tuple(chain)


def _hex(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise HomeError("bad_digest", f"{digest!r} is no digest", expected="sha256: and 64 digits")
    return found[1]


def _named(model: str) -> str:
    if not MODEL_NAME.fullmatch(model):
        raise HomeError("bad_name", f"{model!r} is not a model's name")
    return model


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, durably, readable by its owner alone.

    Raises:
        OSError: it could not be written; what was there is untouched.

    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
