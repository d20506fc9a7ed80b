"""`sluicegate models`: look at a repository without serving it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say

app = typer.Typer(help="Look at model directories without serving them.", no_args_is_help=True)

Repository = Annotated[Path, typer.Argument(help="A repository: NAME/N/ folders.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json")]


def scan(repository: Path, as_json: bool) -> list[dict[str, Any]]:
    """Name, version and path of every model directory of a repository; none ends the command."""
    from gateway import _native  # noqa: PLC0415

    try:
        versions: list[dict[str, Any]] = json.loads(_native.scan(repository))
    except ValueError as error:
        fail(str(error), USAGE, as_json)
    if not versions:
        fail(f"{repository} holds no model (expected NAME/N/manifest.json)", USAGE, as_json)
    return versions


def _check(repository: Path, as_json: bool, load: bool) -> list[dict[str, Any]]:
    from gateway.runtime import use_onnxruntime  # noqa: PLC0415

    use_onnxruntime()
    versions = scan(repository, as_json)
    return [version | _found(Path(version["path"]), load) for version in versions]


def _found(path: Path, load: bool) -> dict[str, Any]:
    """What a model directory holds, or why it is refused, under `error`."""
    from gateway import _native  # noqa: PLC0415

    try:
        found: dict[str, Any] = json.loads(_native.verify(path, load))
    except ValueError as error:
        return {"error": str(error)}
    return found


@app.command()
def verify(
    repository: Repository,
    load: Annotated[
        bool, typer.Option("--load", help="Also open, warm and probe each model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every byte of every model directory against its manifest.

    Exit code 1 if any is refused.
    """
    versions = _check(repository, as_json, load)
    bad = [v for v in versions if "error" in v]
    for version in versions:
        where = f"{version['name']}/{version['version']}"
        if "error" in version:
            say(typer.style(f"REFUSED {where}: {version['error']}", fg="red"))
        else:
            say(f"ok      {where} {version['digest']}")
    if as_json:
        emit({"models": versions, "refused": len(bad)})
    raise typer.Exit(REFUSED if bad else 0)


@app.command("list")
def list_models(repository: Repository, as_json: AsJson = False) -> None:
    """List models with their versions, digests and tensors."""
    versions = _check(repository, as_json, load=False)
    if as_json:
        emit({"models": versions})
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("model", "version", "engine", "inputs", "outputs", "decision", "digest")
    for v in versions:
        if "error" in v:
            table.add_row(v["name"], str(v["version"]), "", f"[red]{v['error']}", "", "", "")
            continue
        decision = v["decision"]
        rule = f"{decision['output']} ≥ {decision['threshold']:g}" if decision else ""
        tensors = [_tensors(v["inputs"]), _tensors(v["outputs"])]
        table.add_row(
            v["name"], str(v["version"]), v["engine"], *tensors, rule, v["digest"][:19] + "…"
        )
    Console().print(table)


def _tensors(specs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{s['name']} {s['datatype']}{s['shape']}" for s in specs)
