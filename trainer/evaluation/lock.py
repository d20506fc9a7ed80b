"""Thresholds are locked before anything is fitted: signed, by digest, with the suites they are for.

The lock is a DSSE envelope over canonical JSON. What a run asks of its candidates is compared with
it at the start and again before a proposal: a limit that moved since ends the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance import canonical
from governance.dsse import Envelope, sign, verified_keys
from governance.errors import GovernanceError
from governance.keys import key_id
from governance.signer import Signer
from trainer import codec
from trainer.errors import LockError
from trainer.spec.spec import Spec

PAYLOAD_TYPE = "application/vnd.sluicegate.thresholds+json"
FORMAT = "sluicegate.thresholds/1"


@dataclass(frozen=True)
class Lock:
    """A lock that was read and whose signature holds."""

    digest: str
    signer: str
    core: str
    held_out: str
    at: int


def asked(spec: Spec) -> dict[str, Any]:
    """What is locked of a spec: gates and how they are judged. Decimals are text."""
    judged = codec.to_plain(spec.evaluate)
    judged["gates"] = sorted(judged["gates"], key=lambda gate: (gate["metric"], gate["on"]))
    told: dict[str, Any] = {
        "model": spec.name,
        "task": spec.task,
        "costs": {"miss": spec.decide.miss, "false_alarm": spec.decide.false_alarm},
        "evaluate": judged,
    }
    found: dict[str, Any] = _as_text(told)
    return found


def make(spec: Spec, core: str, held_out: str, at: int, signer: Signer) -> Envelope:
    """The lock for these suites (digests), at a time in seconds since 1970."""
    told = asked(spec) | {"format": FORMAT, "core": core, "held_out": held_out, "at": at}
    return sign(canonical.encode(told), PAYLOAD_TYPE, signer)


def check(path: Path, spec: Spec, public: bytes) -> Lock:
    """Read a lock, and refuse if the spec asks for something else now.

    Args:
        path: the envelope.
        spec: as it is now.
        public: the 32 bytes of the key that has to have signed.

    Raises:
        LockError: there is no lock, it is not signed by that key, or a threshold was changed.
    """
    try:
        envelope = Envelope.from_json(path.read_bytes())
        told = canonical.decode(envelope.payload)
    except OSError as error:
        raise LockError(
            f"{path}: {error.strerror}; lock the thresholds first: sluicegate train lock."
        ) from error
    except GovernanceError as error:
        raise LockError(f"{path} is no lock: {error}.") from error
    if envelope.payload_type != PAYLOAD_TYPE or told.get("format") != FORMAT:
        raise LockError(f"{path} is an envelope of another kind, not locked thresholds.")
    if public not in verified_keys(envelope, [public]):
        raise LockError(f"{path} is not signed by the key {key_id(public)}.")
    changed = sorted(differences(told, asked(spec)))
    if changed:
        raise LockError(
            f"{', '.join(changed)} changed after the lock of {path}; lock anew, which voids what "
            "was evaluated before."
        )
    return Lock(envelope.digest, key_id(public), told["core"], told["held_out"], told["at"])


def differences(locked: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> set[str]:
    """The dotted names of what differs; what only the lock has is not compared at the top."""
    found: set[str] = set()
    for key, value in now.items():
        name, before = f"{at}{key}", locked.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            found |= differences(before, value, f"{name}.")
        elif value != before:
            found.add(name)
    return found


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return repr(value) if isinstance(value, float) else value
