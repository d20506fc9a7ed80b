"""`sluicegate candidate`: hand a candidate in, and see what became of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import USAGE, emit, fail
from governance.cli.outcome import refuse
from governance.cli.remote import (
    AsJson,
    Where,
    asks,
    connected,
    plain,
    read_files,
    short,
    tell,
)
from governance.errors import GovernanceError

app = typer.Typer(help="Hand candidates in and see how they stand.", no_args_is_help=True)


@app.command()
@asks
def submit(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[int, typer.Argument(min=1, help="Its folder in the repository.")],
    provenance: Annotated[Path, typer.Option(metavar="FILE", help="Where it is from, signed.")],
    evaluation: Annotated[Path, typer.Option(metavar="FILE", help="How it tested, signed.")],
    where: Where,
    bundle: Annotated[
        str | None, typer.Option(metavar="sha256:HEX", help="The evidence bundle's digest.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option("--evidence", metavar="DIR", help="The bundle's folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register REPOSITORY/MODEL/VERSION with its signed statements and its evidence.

    The directory lies in the gateway's repository already; it is checked byte by byte. Again with
    the same files changes nothing.
    """
    from governance.wire import governance_pb2 as pb  # noqa: PLC0415

    if (bundle is None) != (files is None):
        fail("--bundle and --evidence go together", USAGE, as_json)
    signed = read_files([provenance, evaluation], as_json)
    request = pb.SubmitCandidateRequest(
        model=model,
        version=version,
        provenance=signed[0],
        evaluation=signed[1],
        bundle=bundle or "",
    )
    if files:
        _add_files(request, files, as_json)
    with connected(where, as_json) as client:
        done = client.call(request, "SubmitCandidate")
    tell(done, f"{model} version {version}, {done.candidate}: {done.state}", as_json)


@app.command()
@asks
def evidence(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    candidate: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    files: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")],
    where: Where,
    as_json: AsJson = False,
) -> None:
    """Hand a candidate's evidence bundle in, or what it has grown to since.

    A bundle grows by `sluicegate bundle add`; one that does not go back to what was handed in first
    is refused.
    """
    from governance.bundle.manifest import read_manifest  # noqa: PLC0415
    from governance.wire import governance_pb2 as pb  # noqa: PLC0415

    try:
        bundle = read_manifest(files).digest
    except GovernanceError as error:
        refuse(error, as_json)
    request = pb.SubmitEvidenceRequest(model=model, candidate=candidate, bundle=bundle)
    _add_files(request, files, as_json)
    with connected(where, as_json) as client:
        done = client.call(request, "SubmitEvidence")
    tell(done, f"{done.candidate}: {done.state}, evidence {bundle}", as_json)


def _add_files(request: Any, folder: Path, as_json: bool) -> None:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if not paths:
        fail(f"{folder} holds no files", USAGE, as_json)
    for path, data in zip(paths, read_files(paths, as_json), strict=True):
        request.files.add(path=path.relative_to(folder).as_posix(), data=data)


@app.command("list")
@asks
def list_candidates(
    where: Where,
    model: Annotated[str, typer.Option(help="Of one model only.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show every candidate with its state."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    with connected(where, as_json) as client:
        told = client.call(pb.ListModelsRequest(model=model), "ListModels")
    if as_json:
        emit(plain(told)["candidates"])
        return
    table = Table("model", "version", "state", "digest", "attempt", "report")
    for c in told.candidates:
        number = str(c.version) if c.version else "not here"
        row = (c.model, number, c.state, short(c.digest), str(c.attempt or ""), short(c.report))
        table.add_row(*row)
    Console().print(table)


@app.command()
@asks
def show(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    candidate: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    where: Where,
    as_json: AsJson = False,
) -> None:
    """Show a candidate: its state, its statements, and what an approval of it has to name."""
    from governance.wire import admin_pb2, governance_pb2  # noqa: PLC0415

    with connected(where, as_json) as client:
        models = client.call(admin_pb2.ListModelsRequest(model=model), "ListModels")
        known = [c for c in models.candidates if c.digest == candidate]
        live = [c for c in models.candidates if c.state in ("live", "validated")]
        asked = governance_pb2.ListStatementsRequest(model=model)
        statements = [
            s for s in client.call(asked, "ListStatements").statements if s.candidate == candidate
        ]
        head = client.call(governance_pb2.LedgerHeadRequest(), "LedgerHead")
    if not known:
        fail(f"{candidate} is no candidate of {model}", USAGE, as_json)
    lines = {
        "model": model,
        "candidate": candidate,
        "state": known[0].state,
        "version": known[0].version,
        "incumbent": live[0].digest if live else "none",
        "evidence": known[0].bundle or None,
        "report": known[0].report or None,
        "ledger": f"{head.size}:{head.root}",
        "statements": [plain(s) for s in statements],
    }
    if as_json:
        emit(lines)
        return
    for name, value in lines.items():
        if name != "statements":
            typer.echo(f"{name:<10} {value if value is not None else 'none'}")
    for statement in statements:
        typer.echo(f"{statement.kind:<14} {statement.digest}")
