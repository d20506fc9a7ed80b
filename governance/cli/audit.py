"""`sluicegate audit`: recompute everything from a governance folder's files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance.audit.audit import Audit
from governance.audit.audit import audit as recompute
from governance.cli.checks import show_checks, show_sum

LARGE = 2000


def audit(
    home: Annotated[
        Path, typer.Argument(help="The governance folder, or a copy of it.", metavar="GOVERNANCE")
    ],
    pin: Annotated[
        str,
        typer.Option(
            help="The first policy's digest, from the people who signed it.", metavar="sha256:HEX"
        ),
    ],
    witness: Annotated[
        list[str] | None,
        typer.Option(
            help="An outside witness's file, 'URL KEY' to ask it, or 'FILE KEY', an answer of it; "
            "may be given again.",
            metavar="WITNESS",
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="The model repository: hash what is live.", metavar="REPOSITORY"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show what holds as well, entry by entry.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Recompute everything that was decided, offline, and say whether it agrees.

    The policy chain from the pin on; the ledger's every entry, root and signed head, and what
    witnesses saw; each entry's statements with their signatures, under the policy and the
    revocations of its time; every shadow verdict from its integers; the models' states; what is
    live. Nothing is written. Exit code 1 with findings.
    """
    if not home.is_dir():
        fail(f"{home} is no folder", USAGE, as_json)
    with _progress() as progress:
        found = recompute(home, pin, witnesses=witness or (), models=models, progress=progress)
    if as_json:
        emit(_told(found))
    _models(found)
    show_checks(found.checks, everything=everything)
    if found.ledger is not None:
        say(
            f"{found.ledger.size:,} ledger entries, {found.statements:,} statements, "
            f"{len(found.registry.models):,} models"
        )
    show_sum(found.checks, "agrees", "does not agree")
    raise typer.Exit(0 if found.agrees else REFUSED)


def _told(found: Audit) -> dict[str, object]:
    ledger = found.ledger
    return {
        "agrees": found.agrees,
        "findings": [line.as_json() for line in found.checks.findings],
        "unchecked": [n.as_json() for n in found.checks.lines if n.state == "unchecked"],
        "open": [line.as_json() for line in found.checks.lines if line.state == "open"],
        "checks": dict(found.checks.counts),
        "ledger": {"size": ledger.size, "root": ledger.root.hex(), "witnessed": ledger.witnessed}
        if ledger
        else None,
        "policy_version": found.history.newest.version if found.history else None,
        "events": found.events,
        "statements": found.statements,
        "models": {
            name: {
                "live": state.incumbent,
                "previous": state.previous,
                "candidates": {d: c.state for d, c in state.candidates.items()},
            }
            for name, state in found.registry.models.items()
        },
    }


def _models(found: Audit) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if not found.registry.models:
        return
    table = Table("model", "candidate", "state by the ledger", "")
    for name, state in sorted(found.registry.models.items()):
        for digest, candidate in state.candidates.items():
            mark = "live" if digest == state.incumbent else ""
            mark = mark or ("way back" if digest == state.previous else "")
            table.add_row(name, digest[:19] + "…", candidate.state, mark)
    Console(stderr=True).print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing of which there is much, if a person is looking."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, TaskID  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if total < LARGE or (done % 100 and done != total):
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield update
