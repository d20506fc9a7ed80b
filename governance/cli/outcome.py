"""How commands of governance end when something is refused, and how they write files."""

from pathlib import Path
from typing import NoReturn

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance.dsse import MAX_ENVELOPE_BYTES, Envelope
from governance.errors import GovernanceError


def refuse(error: GovernanceError, as_json: bool) -> NoReturn:
    """End the command with what was refused, its reason and exit code 1."""
    if as_json:
        emit({"error": str(error), "exit_code": REFUSED, **error.as_json()})
    say(typer.style("refused: ", fg="red", bold=True) + f"{error} [{error.reason}]")
    raise typer.Exit(REFUSED)


def read_envelope(path: Path, as_json: bool) -> Envelope:
    """Read an envelope, or end the command."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENVELOPE_BYTES + 1)
        return Envelope.from_json(data)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE, as_json)
    except GovernanceError as error:
        refuse(error, as_json)


def write_file(path: Path, data: bytes, as_json: bool, *, replace: bool = False) -> None:
    """Write a whole file or none; one that exists is replaced only where that was asked for."""
    partial = path.with_name(path.name + ".partial")
    try:
        if not replace and path.exists():
            fail(f"{path} exists already: name another file with --out", USAGE, as_json)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE, as_json)
