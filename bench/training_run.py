"""`python -m bench.training_run RECIPE DATA FOLDER CORE`: training runs, one after the other.

What a gateway has for a neighbour: the whole loop of a recipe on one core, as `sluicegate train
run --no-ray` does it. Each run has another seed, so that none is read from a ledger. A line is
written for each run that begins; whoever started this process ends it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.signer import FileSigner
from trainer.cli.progress import folder_of, follow
from trainer.errors import TrainError
from trainer.loop import prepare
from trainer.recipes.shipped import recipe
from trainer.specialise.sandbox import give_way


def main(name: str, data: Path, folder: Path, core: int) -> None:
    """Run for ever on that core."""
    os.sched_setaffinity(0, {core})
    given = recipe(name, data)
    give_way(given.specialise.nice)
    key = FileSigner(Ed25519PrivateKey.generate())
    for number in count(given.seed):
        runs, seals = folder / f"run-{number}", folder / "seals"
        told = replace(given.propose, repository=str(folder / "models"))
        spec = replace(given, seed=number, propose=told)
        prepare.lock(spec, folder_of(spec, runs, seals), key)
        typer.echo(number)
        follow(spec, key, runs, seals, ray=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    except TrainError as error:
        raise SystemExit(f"error: {error}") from error
