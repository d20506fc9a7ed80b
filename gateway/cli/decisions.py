"""`sluicegate decisions`: what the decision log holds, and what it is to forget."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway import decisions, labelled
from gateway.cli.output import REFUSED, USAGE, emit, fail, say

app = typer.Typer(help="Show the decision log; make it forget requests.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The log's folder.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Show files, rows, models and key ids."""
    try:
        kept = decisions.show(folder)
    except decisions.DecisionLogError as error:
        fail(str(error), REFUSED, as_json)
    if as_json:
        emit({kind: asdict(one) for kind, one in kept.items()})
        return
    for kind, one in kept.items():
        partial = f", {one.partial} being written" if one.partial else ""
        say(f"{kind}: {one.rows} rows in {one.files} files, {one.size} bytes{partial}")
        for name, rows in one.models.items():
            say(f"  {name}: {rows}")
        if one.keys:
            say(f"  hashed under {', '.join(one.keys)}")


@app.command()
def compare(
    folder: Folder,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    models: Annotated[
        Path, typer.Option(help="The repository, for each one's decision.", metavar="DIR")
    ],
    as_json: AsJson = False,
) -> None:
    """Compare candidates with the model that answered, on pairs whose label has come.

    From what shadows compared; it informs, and decides nothing.
    """
    try:
        found = labelled.compare(folder, model, models)
    except decisions.DecisionLogError as error:
        fail(str(error), REFUSED, as_json)
    if as_json:
        emit([asdict(one) | {"e_value": one.e_value} for one in found])
        return
    if not found:
        say("no row that a shadow compared has a label")
    for one in found:
        say(f"{one.candidate} against {one.incumbent}: {one.pairs} labelled pairs")
        say(f"  only the candidate was wrong: {one.b}; only the one that answered: {one.c}")
        say(f"  e-value that they err unequally often: {one.e_value:.3g}")


@app.command()
def forget(
    folder: Folder,
    request_id: Annotated[
        list[str] | None, typer.Option(help="A request to forget; may be repeated.")
    ] = None,
    request_ids: Annotated[
        Path | None, typer.Option(help="File with a request id a line.", metavar="FILE")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Forget the requests with this parameter 'key'; may be repeated."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="The key that --key was hashed under.", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take requests, and what was reported of them, out of every whole file.

    Files that are still being written are left: wait file_seconds, and run it again.
    """
    try:
        ids = list(request_id or [])
        if request_ids:
            ids += request_ids.read_text().split()
        hashed_under = key_file.read_bytes() if key_file else None
    except OSError as error:
        fail(str(error), USAGE, as_json)
    if not ids and not key:
        fail("Say what to forget: --request-id, --request-ids or --key.", USAGE, as_json)
    try:
        gone = decisions.forget(folder, ids, key or [], hashed_under)
    except (decisions.DecisionLogError, OSError) as error:
        fail(str(error), REFUSED, as_json)
    if as_json:
        emit(gone)
    else:
        say(", ".join(f"{rows} rows of {kind}" for kind, rows in gone.items()) + " are gone")
