"""`sluicegate status`: what a running server serves."""

import json
from typing import Annotated, Any
from urllib.error import URLError
from urllib.request import urlopen

import typer

from gateway.cli.output import REFUSED, UNREACHABLE, emit, fail, say


def fetch(http: str, timeout: float = 2.0) -> dict[str, Any]:
    """Read a server's status page.

    Raises:
        OSError: nobody answers, or what answers is not a Sluicegate server.

    """
    with urlopen(f"http://{http}/status", timeout=timeout) as answer:
        try:
            told: dict[str, Any] = json.load(answer)
        except ValueError as error:
            raise OSError("the answer is not a status page") from error
    return told


def status(
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's HTTP door.")
    ] = "127.0.0.1:8002",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what a running server serves: models, queues, outcomes, measured cost.

    Exit code 1 if the server is not ready, 3 if it does not answer.
    """
    try:
        told = fetch(http)
    except (OSError, URLError) as error:
        reason = getattr(error, "reason", error)
        fail(f"no server answers at {http}: {reason}", UNREACHABLE, as_json)
    if as_json:
        emit(told)
    else:
        _show(told)
    for name, process in told["beside"].items():
        if not process["running"]:
            note = process["note"] or "not started yet"
            say(typer.style(f"the {name} process is down: {note}", fg="red"))
    if not told["ready"]:
        say("not ready" + (": draining" if told["draining"] else ""))
        raise typer.Exit(REFUSED)


def _show(told: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("model", "version", "state", "queued", "outcomes", "least cost", "most")
    for m in told["models"]:
        if "digest" not in m:
            state = f"[red]failed: {m['error']}" if m["state"] == "failed" else m["state"]
            table.add_row(m["name"], m["version"], state, "", "", "", "")
            continue
        outcomes = ", ".join(f"{k} {n}" for k, n in m["requests"].items() if n) or "none yet"
        # One row, and the largest batch that was measured.
        lines = [m["cost"][0], m["cost"][-1]] if m["cost"] else []
        cost = [f"{line['p50_us']:.0f} µs ({line['rows']})" for line in lines]
        state = m["state"] + ("" if m["signed"] else ", unsigned")
        table.add_row(m["name"], m["version"], state, str(m["queued_requests"]), outcomes, *cost)
    Console().print(table)
