"""`sluicegate engines`: plans for GPUs, built ahead of time, listed and verified."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import REFUSED, UNREACHABLE, USAGE, emit, fail, say

if TYPE_CHECKING:
    from gateway.engines.tensorrt.building import Say
    from gateway.engines.tensorrt.cache import Cache
    from gateway.engines.tensorrt.settings import Settings

app = typer.Typer(
    help="Plans for GPUs (engine `tensorrt`): build them ahead of time, list and verify them.",
    no_args_is_help=True,
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="sluicegate.toml, for [engines.tensorrt] and each model's max_batch [256].",
        metavar="FILE",
        envvar="SLUICEGATE_ENGINES",
    ),
]
AsJson = Annotated[bool, typer.Option("--json")]
MAX_BATCH = 256


def _settings(config: Path | None, as_json: bool) -> "Settings":
    from gateway.engines import EngineError  # noqa: PLC0415
    from gateway.engines.tensorrt.settings import Settings, settings_in  # noqa: PLC0415

    try:
        return settings_in(config) if config else Settings()
    except EngineError as error:
        fail(str(error), USAGE, as_json)


@contextmanager
def _progress(what: str) -> Iterator["Say"]:
    """Show how a build goes on: a bar for people who watch, nothing else."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)

        def tell(stage: str, done: int, of: int) -> None:
            bars.update(task, description=f"{what}: {stage}", completed=done, total=of or None)

        yield tell


@app.command()
def build(
    repository: Annotated[
        Path, typer.Argument(help="A repository: NAME/N/ folders.", metavar="DIR")
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            help="A GPU's name or compute capability (RTX 4090, 8.9), with tensorrt_rtx also on a "
            "machine without one; the GPU of this machine without.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Models; all whose engine is tensorrt.")
    ] = None,
    config: Config = None,
    ship: Annotated[
        bool,
        typer.Option("--ship", help="Pack the plans with the model, as its next version."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the plans of a repository's models into the cache; what is there already stays.

    Each plan is built by a process of its own. A model that is named is built whatever its engine.
    """
    from gateway.cli.models import scan  # noqa: PLC0415
    from gateway.engines import EngineError  # noqa: PLC0415
    from gateway.engines.directory import read  # noqa: PLC0415
    from gateway.engines.tensorrt.ahead import (  # noqa: PLC0415
        build_ahead,
        max_batches,
        shipped,
    )
    from gateway.engines.tensorrt.errors import Unavailable  # noqa: PLC0415
    from gateway.engines.tensorrt.gpus import capability  # noqa: PLC0415
    from gateway.packing import PackError, pack_files  # noqa: PLC0415

    settings = _settings(config, as_json)
    try:
        capabilities = sorted({capability(each) for each in gpu or []})
        batches = max_batches(config)
    except EngineError as error:
        fail(str(error), USAGE, as_json)
    found = scan(repository, as_json)
    if unknown := set(model or []) - {each["name"] for each in found}:
        fail(f"there is no model '{sorted(unknown)[0]}' in {repository}", USAGE, as_json)
    told: list[dict[str, Any]] = []
    refused = False
    for each in found:
        name, where = each["name"], f"{each['name']}/{each['version']}"
        try:
            verified = read(Path(each["path"]))
            if name not in model if model else verified.engine != "tensorrt":
                continue
            with _progress(where) as tell:
                most = batches.get(name, MAX_BATCH)
                built = build_ahead(verified, most, settings, capabilities, tell)
            for plan in built:
                about = _line(plan.recipe.about())
                how = f"{plan.seconds:.1f} s" if plan.new else "was there already"
                say(f"built   {where} {about}: {len(plan.plan):,} bytes, {how}")
                told.append(
                    {"model": name, "version": each["version"], "key": plan.key}
                    | {"new": plan.new, "bytes": len(plan.plan), "seconds": plan.seconds}
                    | {key: getattr(plan.recipe, key) for key in ("flavour", "compute_capability")}
                )
            if ship and built:
                packed = pack_files(shipped(verified, built), name, repository)
                say(f"packed  {packed.path}: {packed.digest}")
                told[-1]["shipped"] = str(packed.path)
        except Unavailable as error:
            fail(str(error), UNREACHABLE, as_json)
        except (EngineError, PackError) as error:
            refused = True
            say(typer.style(f"REFUSED {where}: {error}", fg="red"))
            told.append({"model": name, "version": each["version"], "error": str(error)})
    if not told:
        say("no model here has engine tensorrt; name one with --model to build it all the same")
    if as_json:
        emit({"plans": told})
    raise typer.Exit(REFUSED if refused else 0)


def _line(about: Any) -> str:
    """A plan in a few words."""
    driver = f", driver {about['driver']}" if about["driver"] else ""
    return (
        f"{about['flavour']} {about['version']}, compute capability "
        f"{about['compute_capability']}{driver}"
    )


def _cache(config: Path | None, as_json: bool) -> "Cache":
    from gateway.engines import EngineError  # noqa: PLC0415
    from gateway.engines.tensorrt.cache import Cache  # noqa: PLC0415

    try:
        return Cache(_settings(config, as_json).cache)
    except EngineError as error:
        fail(str(error), USAGE, as_json)


@app.command("list")
def list_plans(config: Config = None, as_json: AsJson = False) -> None:
    """List the plans in the cache."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    cache = _cache(config, as_json)
    entries = [each for each in cache.entries() if each.kind == "plan"]
    if as_json:
        emit({"cache": str(cache.folder), "plans": [_told(each) for each in entries]})
        return
    table = Table("key", "graph", "for", "MB", "built in", title=str(cache.folder))
    for each in entries:
        about = f"[red]{each.defect}" if each.defect else _line(each.about)
        graph = str(each.about.get("graph", ""))[:12]
        table.add_row(
            each.key[:12], graph, about, f"{each.size / 1e6:.1f}", f"{each.seconds:.1f} s"
        )
    Console().print(table)


def _told(entry: Any) -> dict[str, Any]:
    told = {"key": entry.key, "kind": entry.kind, "bytes": entry.size, "seconds": entry.seconds}
    return told | ({"error": entry.defect} if entry.defect else dict(entry.about))


@app.command()
def verify(config: Config = None, as_json: AsJson = False) -> None:
    """Check every file of the cache against the receipt that this gateway sealed.

    Exit code 1 if one is not what this gateway wrote; the server passes such files over.
    """
    cache = _cache(config, as_json)
    entries = cache.entries()
    bad = [each for each in entries if each.defect]
    for each in entries:
        where = f"{each.kind} {each.key[:12]}"
        if each.defect:
            say(typer.style(f"REFUSED {where}: {each.defect}", fg="red"))
        else:
            say(f"ok      {where} {each.size:,} bytes")
    if as_json:
        emit({"files": [_told(each) for each in entries], "refused": len(bad)})
    raise typer.Exit(REFUSED if bad else 0)
