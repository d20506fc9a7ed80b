"""How a verification or an audit is shown: findings first in the eye, everything on request."""

from collections.abc import Iterable
from pathlib import Path

import typer

from gateway.cli.output import USAGE, fail, say
from governance.checks import Check, Checks
from governance.cli.outcome import read_envelope
from governance.description import plain
from governance.dsse import Envelope

_COLOURS = {"holds": "green", "fails": "red", "open": "yellow", "unchecked": "yellow"}
_WORDS = {"holds": "holds", "fails": "FAILS", "open": "open", "unchecked": "not checked"}


def read_chain(paths: Iterable[Path], as_json: bool) -> list[Envelope]:
    """Every version of a policy, from files in order or from a folder of N.json; or end."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        number = 1
        while (file := path / f"{number}.json").is_file():
            files.append(file)
            number += 1
        if number == 1:
            fail(f"{path} holds no 1.json", USAGE, as_json)
    return [read_envelope(file, as_json) for file in files]


def show_checks(checks: Checks, *, everything: bool) -> None:
    """A table of what was looked at; what holds only if everything is wanted."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    lines = [line for line in checks.lines if everything or line.state != "holds"]
    if not lines:
        return
    table = Table("", "what", "found", "reason")
    for line in lines:
        state = Text(_WORDS[line.state], style=_COLOURS[line.state])
        table.add_row(state, Text(plain(line.what)), Text(plain(line.sentence)), line.reason)
    Console(stderr=True).print(table)


def show_sum(checks: Checks, good: str, bad: str) -> None:
    """One line: good, or bad with how many findings."""
    counts = checks.counts
    told = ", ".join(f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state])
    if counts["fails"]:
        say(typer.style(f"{bad}: ", fg="red", bold=True) + told)
        say(f"findings: {', '.join(_reasons(checks.findings))}")
    else:
        say(typer.style(f"{good}: ", fg="green", bold=True) + told)


def _reasons(findings: Iterable[Check]) -> list[str]:
    return list(dict.fromkeys(finding.reason for finding in findings))
