"""The service's commands as tests run them."""

import json
from typing import Any

import typer
from typer.testing import CliRunner

from governance.cli import candidate, exchange, fleet, home, live, shadow
from governance.service.client import Credentials

app = typer.Typer()
app.add_typer(candidate.app, name="candidate")
app.add_typer(shadow.app, name="shadow")
app.add_typer(home.app, name="governance")
app.command()(live.promote)
app.command()(live.rollback)
app.command()(live.events)
app.command()(fleet.fleet)
app.command()(exchange.submit)
app.command()(exchange.fetch)
app.command()(exchange.decide)


def run(*arguments: object, who: Credentials | None = None, port: int = 0, code: int = 0) -> Any:
    """Run a command with --json; the last object on standard output."""
    outcome = CliRunner().invoke(app, [*_line(arguments, who, port), "--json"])
    assert outcome.exit_code == code, outcome.output
    lines = outcome.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}


def told(*arguments: object, who: Credentials | None = None, port: int = 0) -> str:
    """Run a command as a person does; all that it said."""
    outcome = CliRunner().invoke(app, _line(arguments, who, port), env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def _line(arguments: tuple[object, ...], who: Credentials | None, port: int) -> list[str]:
    words = [str(word) for word in arguments]
    if who is None:
        return words
    words += ["--admin", f"127.0.0.1:{port}"]
    return [
        *words,
        "--cert",
        str(who.certificate),
        "--key",
        str(who.key),
        "--ca",
        str(who.authority),
    ]
