"""How commands speak: people on standard error, `--json` as one object on standard output."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import typer

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3


def emit(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write one JSON value on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell a person something. Standard error that cannot be written stops nothing."""
    with suppress(OSError):
        typer.echo(text, err=True)


def fail(text: str, code: int, as_json: bool) -> NoReturn:
    """End the command with a sentence and an exit code."""
    if as_json:
        emit({"error": text, "exit_code": code})
    say(typer.style("error: ", fg="red", bold=True) + text)
    raise typer.Exit(code)
