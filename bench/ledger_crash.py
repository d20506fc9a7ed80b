"""`python -m bench.ledger_crash`: kill the ledger's writer at random, and see what is left.

A child appends and prints an entry's number once `append` has returned; it is killed with SIGKILL
after a random time. What it printed must be there, the file must verify, the witness must agree.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import machine
from governance.ledger.note import NoteKey
from governance.ledger.verify import verify
from governance.ledger.witness import FileWitness

RESULTS = Path(__file__).with_name("results")
ORIGIN = "bench/ledger"

# The key is made from a seed so that the child of every round has the same one.
CHILD = """
import hashlib, itertools, json, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from governance.ledger.note import NoteKey
from governance.ledger.store import Ledger
from governance.ledger.witness import FileWitness

class Key:
    def __init__(self):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.public_key = self.key.public_key().public_bytes_raw()
        self.sign = self.key.sign

folder, key = Path(sys.argv[1]), Key()
witness = FileWitness(folder / "witness.jsonl", NoteKey("bench/ledger", key.public_key))
ledger = Ledger(folder / "ledger.sqlite", "bench/ledger", key, lambda: 0, [witness])
print("open", key.public_key.hex(), flush=True)
for version in itertools.count(ledger.reader.size):
    digest = "sha256:" + hashlib.sha256(str(version).encode()).hexdigest()
    body = json.dumps({"at": 0, "policy": digest, "version": version}, separators=(",", ":"))
    print(ledger.append("policy", body.encode(), digest).index, flush=True)
"""


@dataclass(frozen=True)
class Crashes:
    """What was left after all kills. `hot_journals` were rolled back by who opened the file next.

    `unacknowledged` entries were durable though the child died before it could say so.
    """

    kills: int
    entries: int
    lost: int
    unacknowledged: int
    hot_journals: int
    unsound: tuple[str, ...]


def crash(folder: Path, kills: int, seed: int, longest: float = 0.12) -> Crashes:
    """Kill a writer `kills` times, each after up to `longest` seconds of appending."""
    chance = random.Random(seed)  # noqa: S311
    lost = unacknowledged = hot = size = 0
    unsound: list[str] = []
    for _ in range(kills):
        key, last = _round(folder, chance.uniform(0, longest))
        hot += (folder / "ledger.sqlite-journal").exists()
        log = NoteKey(ORIGIN, key)
        heads = FileWitness(folder / "witness.jsonl", log).heads()
        found = verify(folder / "ledger.sqlite", log, heads)
        unsound += [finding.sentence for finding in found.findings]
        size, before = found.size, size
        acknowledged = before if last is None else last + 1
        lost += max(0, acknowledged - size)
        unacknowledged += max(0, size - acknowledged)
    return Crashes(kills, size, lost, unacknowledged, hot, tuple(unsound))


def _round(folder: Path, seconds: float) -> tuple[bytes, int | None]:
    """Start the child, kill it; its public key and the last entry that it told of."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert child.stdout is not None  # noqa: S101
    opened = child.stdout.readline()
    if not opened.startswith("open "):
        child.wait()
        raise RuntimeError("the writer could not open what the one before it left")
    time.sleep(seconds)
    os.kill(child.pid, signal.SIGKILL)
    told = child.stdout.read().split("\n")[:-1]
    child.wait()
    child.stdout.close()
    return bytes.fromhex(opened.split()[1]), int(told[-1]) if told else None


def main(
    kills: Annotated[int, typer.Option(help="How often the writer is killed.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the times at which it is.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Kill the ledger's writer; exit code 1 if an entry was lost or the file does not verify."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-crash-") as folder:
        found = crash(Path(folder), kills, seed)
    out.mkdir(parents=True, exist_ok=True)
    told = {"name": "ledger_crash", "machine": machine.describe(), "seed": seed, **asdict(found)}
    (out / "ledger_crash.json").write_text(json.dumps(told, indent=1) + "\n")
    typer.echo(
        f"{found.kills} kills, {found.entries:,} entries: {found.lost} lost, "
        f"{len(found.unsound)} findings, {found.hot_journals} journals rolled back, "
        f"{found.unacknowledged} durable before they were told"
    )
    raise typer.Exit(1 if found.lost or found.unsound else 0)


if __name__ == "__main__":
    typer.run(main)
