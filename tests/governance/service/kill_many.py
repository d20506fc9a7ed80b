"""`python -m tests.governance.service.kill_many`: kill a busy governance service again and again.

Counted after each kill: whether an acknowledged entry is lost, whether the ledger verifies against
its witness, whether ledger, folder and data plane name one live model.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import machine
from governance.service.repository import digest_of
from tests.governance.service.double import FileDataPlane
from tests.governance.service.stage import Stage, pack, short_policy
from tests.governance.service.test_kill import Kills, kill_at_random

RESULTS = Path(__file__).parents[3] / "bench" / "results"


def made(folder: Path) -> Stage:
    """A gateway with one live model and two candidates."""
    models = folder / "models"
    stage = Stage(folder, FileDataPlane(folder / "plane.json", models), models, short_policy())
    for version in (1, 2, 3):
        pack(models, version)
    first, *others = (digest_of(models / stage.model / str(n)) for n in (1, 2, 3))
    stage.first(1, first)
    for version, digest in enumerate(others, 2):
        stage.submit(version, digest)
    return stage


def main(
    kills: Annotated[int, typer.Option(help="How often it is killed.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments at which it is.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Kill the service; exit code 1 if something does not hold after a kill."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="sluicegate-kill-") as name:
        stage = made(Path(name))
        stage.close()
        found = Kills()
        with console.status("killing") as status:
            for turn in range(kills):
                status.update(f"kill {turn + 1} of {kills}, {found.acts:,} acts acknowledged")
                one = kill_at_random(stage, times=1, seed=seed * 100_003 + turn)
                for field, count in asdict(one).items():
                    setattr(found, field, getattr(found, field) + count)
        stage.reopen()
        entries = stage.authority.ledger.reader.size
        stage.close()
    told = {
        "name": "service_kill",
        "machine": machine.describe(),
        "seed": seed,
        "kills": kills,
        "entries": entries,
        **asdict(found),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "service_kill.json").write_text(json.dumps(told, indent=1) + "\n")
    typer.echo(
        f"{kills} kills, {found.acts:,} acts acknowledged, {entries:,} entries: {found.lost} lost, "
        f"{found.unsound} ledgers unsound, {found.split} times not one live model"
    )
    raise typer.Exit(1 if found.lost or found.unsound or found.split else 0)


if __name__ == "__main__":
    typer.run(main)
