"""What a gateway's governance folder says of itself: service.json, and what it opens by that.

`governance init` writes it: the gateway's name in the policy, the ledger's name, and where the
witnesses of its heads are.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from governance.home import Home, HomeError, write
from governance.keys import public_path, read_public
from governance.ledger.http_witness import HttpWitness, is_address
from governance.ledger.note import NoteKey
from governance.ledger.store import Ledger
from governance.ledger.witness import FileWitness, Witness
from governance.signer import FileSigner

FILE: Final = "service.json"
GATEWAY_KEY: Final = "gateway.pem"
LEDGER_KEY: Final = "ledger.pem"
PASSPHRASE: Final = "passphrase"  # noqa: S105


@dataclass(frozen=True)
class Settings:
    """`gateway`: its name in the policy; `origin`: the ledger's name; `witnesses`: files, or
    addresses with a key (`https://… NAME+ID+BASE64`).
    """

    gateway: str
    origin: str
    witnesses: tuple[str, ...]


def save(home: Home, settings: Settings) -> None:
    """Write service.json."""
    write(home.root / FILE, json.dumps(asdict(settings), indent=1).encode() + b"\n")


def load(home: Home) -> Settings:
    """Read service.json.

    Raises:
        HomeError: `not_a_home`: it is not there or not readable.

    """
    path = home.root / FILE
    try:
        told = json.loads(path.read_bytes())
        return Settings(str(told["gateway"]), str(told["origin"]), tuple(told["witnesses"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeError(
            "not_a_home",
            f"{path}: {error}",
            expected="a folder made by `sluicegate governance init`",
        ) from error


def signer(home: Home, name: str) -> FileSigner:
    """Open one of the service keys with the passphrase that is kept beside it.

    Raises:
        KeyUseError: it cannot be used.
        HomeError: `no_passphrase`.

    """
    try:
        words = (home.keys / PASSPHRASE).read_bytes().split(b"\n", 1)[0]
    except OSError as error:
        raise HomeError("no_passphrase", f"{home.keys / PASSPHRASE}: {error.strerror}") from error
    return FileSigner.open(home.keys / name, words)


def log_key(home: Home, settings: Settings) -> NoteKey:
    """Key by which the ledger's heads are verified."""
    return NoteKey(settings.origin, read_public(public_path(home.keys / LEDGER_KEY)))


def witness(told: str, log: NoteKey) -> Witness:
    """A witness as the settings tell it. Raises WitnessError: it is none."""
    return HttpWitness.parse(told, log) if is_address(told) else FileWitness(Path(told), log)


def open_ledger(home: Home, settings: Settings) -> Ledger:
    """Open the ledger as its one writer.

    Raises:
        LedgerError: it cannot be written, or too few witnesses can be reached.
        GovernanceError: its key cannot be used.

    """
    key = log_key(home, settings)
    witnesses = [witness(told, key) for told in settings.witnesses]
    return Ledger(
        home.ledger, settings.origin, signer(home, LEDGER_KEY), lambda: int(time.time()), witnesses
    )
