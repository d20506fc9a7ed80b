"""`sluicegate serve`: run the server."""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import REFUSED, UNREACHABLE, USAGE, emit, fail, say


def serve(
    models: Annotated[
        Path | None,
        typer.Option(help="The repository: NAME/N/ folders made by `pack`.", metavar="DIR"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="sluicegate.toml; flags win over it.", metavar="FILE")
    ] = None,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Serve models that nobody has signed for.")
    ] = False,
    grpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC door [127.0.0.1:8001].")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Health, metrics and status [127.0.0.1:8002]."),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Governance's door [127.0.0.1:8003]."),
    ] = None,
    io_threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that speak gRPC [half the cores].")
    ] = None,
    lanes: Annotated[int | None, typer.Option(min=1, help="Threads that run batches [1].")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object when ready.")
    ] = False,
) -> None:
    """Serve every model of a repository until SIGTERM or SIGINT.

    Each model directory is checked byte by byte, opened, probed for row independence and warmed
    before the doors answer. A model that fails is left out; its error stays in /health/ready
    and `status`. SIGTERM drains: no new connections, calls in flight end, then the process.
    """
    # Light until here: what a command does not need, it does not load.
    from gateway import _native  # noqa: PLC0415
    from gateway.runtime import use_onnxruntime  # noqa: PLC0415

    if models is None and config is None:
        fail("say which models to serve: --models DIR, or --config FILE", USAGE, as_json)
    flags: dict[str, str | int] = {}
    for key, value in (
        ("models", str(models) if models else None),
        ("grpc", grpc),
        ("http", http),
        ("admin", admin),
        ("io_threads", io_threads),
        ("lanes", lanes),
    ):
        if value is not None:
            flags[key] = value
    # TOML's basic strings and whole numbers are JSON's.
    overrides = "".join(f"{key} = {json.dumps(value)}\n" for key, value in flags.items())

    def ready(text: str) -> None:
        told = json.loads(text)
        for model in told["models"]:
            _introduce(model)
        if allow_unsigned:
            warning = "UNSIGNED: nobody has signed for these models (--allow-unsigned)"
            say(typer.style(warning, fg="yellow", bold=True))
        say(f"ready: gRPC on {told['grpc']}, HTTP on {told['http']} (/status, /metrics)")
        if as_json:
            emit(told)

    # The data plane handles SIGINT itself; Python's own handler would add a KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    use_onnxruntime()
    telemetry = [sys.executable, "-m", "gateway.control"]
    governance = [sys.executable, "-m", "governance.service"]
    follower = [sys.executable, "-m", "governance.follow"]
    try:
        with tempfile.TemporaryDirectory(prefix="sluicegate-") as folder:
            # A socket of its own, unless the settings name one.
            socket = json.dumps(str(Path(folder, "control.sock")))
            defaults = f"control_socket = {socket}\n"
            beside = (telemetry, governance, follower)
            cut = _native.serve(config, defaults, overrides, ready, beside, allow_unsigned)
    except ValueError as error:
        fail(str(error), USAGE, as_json)
    except OSError as error:
        fail(str(error), UNREACHABLE, as_json)
    except RuntimeError as error:
        fail(str(error), REFUSED, as_json)
    say(f"drained, {cut} calls cut off" if cut else "drained")


def _introduce(model: dict[str, object]) -> None:
    where = f"{model['name']} version {model['version']}"
    if model["state"] not in ("live", "failed"):
        return
    if model["state"] == "failed":
        say(typer.style(f"NOT LOADED: {where}: {model['error']}", fg="red", bold=True))
        return
    say(f"{where}: {model['engine']}, {model['digest']}")
    if model["engine_note"]:
        say(typer.style(f"{where}: {model['engine_note']}", fg="yellow"))
    if model["row_dependence"]:
        text = f"{where}: rows depend on their neighbours, so it runs one row at a time: "
        say(typer.style(text + str(model["row_dependence"]), fg="yellow"))
