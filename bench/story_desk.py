"""Where the demo's people type: commands of `sluicegate`, shown as they are typed, and outcomes.

The commands run in this process, by the same parser: a Python start for each of some forty would
take longer than the story on a small machine.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from typer.testing import CliRunner

from gateway.cli.main import app
from governance.service.client import Credentials

PASSPHRASE = "of the demo alone"  # noqa: S105
_DIGEST = re.compile(r"(sha256:[0-9a-f]{8})[0-9a-f]{56}")


class StoryError(RuntimeError):
    """A step of the story did not come out as it is told."""


@dataclass
class Desk:
    """Types commands in a folder and shows them.

    Attributes:
        folder: of the story; left out where a command is shown.
        console: where everything is shown.
        admin: HOST:PORT of the governance service.

    """

    folder: Path
    console: Console
    admin: str

    def heading(self, text: str) -> None:
        """Begin a step."""
        self.console.print(f"\n[bold]{escape(text)}[/]")

    def tell(self, text: str) -> None:
        """A step's outcome."""
        self.console.print(f"[green]✓[/] {escape(text)}", highlight=False)

    def note(self, text: str) -> None:
        """What is done by no command."""
        self.console.print(f"[dim]# {escape(text)}[/]", highlight=False)

    def typed(self, who: str, *words: object) -> None:
        """Show a command as it is typed."""
        line = shown(words, self.folder)
        self.console.print(f"[dim]{who}$ {escape(line)}[/]", highlight=False, soft_wrap=True)

    def run(
        self,
        who: str,
        *words: object,
        cert: Credentials | None = None,
        refused: bool = False,
        show: bool = True,
    ) -> Any:
        """Run a command; what it answers with --json, None if nothing.

        Raises:
            StoryError: it ended otherwise than `refused` says.

        """
        if show:
            self.typed(who, "sluicegate", *words)
        with _environment(self._variables(cert)):
            done = CliRunner().invoke(app, [*map(str, words), "--json"])
        said = done.stdout.strip().splitlines()
        if done.exit_code != (1 if refused else 0):
            raise StoryError(
                f"`{shown(('sluicegate', *words), self.folder)}` ended with {done.exit_code}: "
                f"{done.stdout.strip()[-3000:]}"
            )
        return json.loads(said[-1]) if said else None

    def _variables(self, cert: Credentials | None) -> dict[str, str]:
        known = {"SLUICEGATE_PASSPHRASE": PASSPHRASE, "SLUICEGATE_ADMIN": self.admin}
        if cert is not None:
            known["SLUICEGATE_CERT"] = str(cert.certificate)
            known["SLUICEGATE_KEY"] = str(cert.key)
            known["SLUICEGATE_CA"] = str(cert.authority)
        return known


def shown(words: tuple[object, ...], folder: Path) -> str:
    """A command line as a person reads it: paths from the folder on, digests cut short."""
    line = " ".join(map(str, words)).replace(f"{folder}/", "")
    return _DIGEST.sub(r"\1…", line)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
