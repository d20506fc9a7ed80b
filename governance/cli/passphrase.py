"""Where a key's passphrase comes from: a file, the environment, or the person at the terminal."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, fail

VARIABLE = "SLUICEGATE_PASSPHRASE"

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help=f"Read the passphrase from the first line of a file [asked for, or {VARIABLE}].",
        metavar="FILE",
        show_default=False,
    ),
]


def passphrase(file: Path | None, as_json: bool, *, twice: bool = False) -> bytes:
    """Find the passphrase, or end the command. `twice` asks a person to type it again."""
    if file is not None:
        try:
            return file.read_bytes().split(b"\n", 1)[0].removesuffix(b"\r")
        except OSError as error:
            fail(f"{file}: {error.strerror}", USAGE, as_json)
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        fail(
            f"nobody is here to ask for the passphrase: give --passphrase-file or {VARIABLE}",
            USAGE,
            as_json,
        )
    typed: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return typed.encode()
