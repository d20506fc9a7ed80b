"""`python -m bench.train_kill`: kill the training loop at random moments, and see what it proposes.

Each of the runs is killed with SIGKILL once, after a random part of the time that an undisturbed
run took, and started again; the candidate it ends with has to be the undisturbed run's, by digest.
A run that ends before its moment is not counted, and another one is killed in its place.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from bench import machine
from governance.keys import create

RESULTS = Path(__file__).with_name("results")
WORDS = b"of the benchmark alone"
ROOT = Path(__file__).resolve().parents[1]
SPEC = """
name = "killed"
[data]
path = "data.csv"
label = "label"
[evaluate]
regressions_allowed = 60
resamples = 100
[[evaluate.gates]]
metric = "auc"
limit = 0.7
[specialise]
methods = ["boosting", "network"]
trials = 2
folds = 2
nice = 0
[specialise.parameters]
iterations = 20
passes = 5
[propose]
owner = "owner"
"""
CHILD = """
import sys
from pathlib import Path
from governance.signer import FileSigner
from trainer.cli.progress import follow, folder_of
from trainer.loop import prepare
from trainer.spec.read import read_spec
folder = Path(sys.argv[1])
key = FileSigner.open(folder / "key.pem", b"of the benchmark alone")
spec = read_spec(folder / "specialist.toml")
if not folder_of(spec, None, folder / "seals").lock.exists():
    prepare.lock(spec, folder_of(spec, None, folder / "seals"), key)
print("locked", flush=True)
ended = follow(spec, key, None, folder / "seals", ray=False)
print(ended.proposed.digest if ended.proposed else ended.reason)
"""


def made(folder: Path) -> None:
    """A specialist with a small table that is drawn from a seed."""
    chance = random.Random(5)  # noqa: S311
    lines = ["a,b,c,label"]
    for _ in range(700):
        a, b, c = (chance.gauss(0, 1) for _ in range(3))
        lines.append(f"{a:.5f},{b:.5f},{c:.5f},{int(a + b * c + chance.gauss(0, 0.7) > 0.3)}")
    folder.mkdir(parents=True)
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    (folder / "specialist.toml").write_text(SPEC)
    create(folder / "key.pem", WORDS)


def start(folder: Path) -> subprocess.Popen[str]:
    """A loop in a process; it has said `locked` when this returns."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None  # noqa: S101
    child.stdout.readline()
    return child


def main(
    kills: Annotated[int, typer.Option(help="How many runs are killed.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Kill; exit code 1 if a run ends with another candidate."""
    chance = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="sluicegate-kill-") as name:
        made(Path(name, "whole"))
        undisturbed = start(Path(name, "whole"))
        begun = time.monotonic()
        wanted = undisturbed.communicate()[0].strip()
        whole = time.monotonic() - begun
        ends: list[str] = []
        moments: list[float] = []
        too_late = 0
        longest = whole
        while len(ends) < kills:
            folder = Path(name, str(len(ends) + too_late))
            made(folder)
            child, begun = start(folder), time.monotonic()
            after = chance.uniform(0, 0.95 * longest)
            try:
                child.wait(after)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            ended = child.communicate()[0].strip()
            if child.returncode != -signal.SIGKILL:
                # A run that was faster than the first one was not killed: another one is.
                too_late += 1
                longest = min(longest, time.monotonic() - begun)
                if ended != wanted:
                    raise SystemExit(f"error: an undisturbed run ended otherwise: {ended}")
                continue
            moments.append(round(after, 2))
            ends.append(start(folder).communicate()[0].strip())
    same = sum(end == wanted for end in ends)
    told = {
        "name": "train_kill",
        "machine": machine.describe(),
        "undisturbed_s": round(whole, 2),
        "killed_after_s": moments,
        "kills": kills,
        "ended_before_the_kill": too_late,
        "same_candidate": same,
        "candidate": wanted,
        "reached": same == kills,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "train_kill.json").write_text(json.dumps(told, indent=1) + "\n")
    typer.echo(f"{same} of {kills} killed runs end with the undisturbed run's candidate")
    raise typer.Exit(0 if same == kills else 1)


if __name__ == "__main__":
    typer.run(main)
