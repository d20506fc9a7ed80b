"""The commands as tests run them, and a fleet whose keys and policy were made by them."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from governance.cli import approve, emergency, keys, statements
from governance.cli import policy as policy_commands
from governance.dsse import Envelope
from governance.policy_chain import read
from governance.signer import FileSigner
from governance.statements import Statement
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL, report

WORDS = "correct horse battery"
AUDIENCE = "bidders-eu"
PEOPLE = {
    "olga": "operator,root",
    "dora": "domain_expert",
    "greta": "governance_approver",
    "sam": "security",
    "gateway-1": "gateway",
}

app = typer.Typer()
app.add_typer(keys.app, name="keys")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(statements.app, name="statement")
app.command()(approve.approve)
app.command("break-glass")(emergency.break_glass)
app.command()(emergency.revoke)


def run(*arguments: object, code: int = 0, answer: str = "") -> dict[str, Any]:
    """Run a command with --json; what it printed on standard output."""
    outcome = CliRunner().invoke(app, [*map(str, arguments), "--json"], input=answer)
    assert outcome.exit_code == code, outcome.output
    lines = outcome.stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def told(*arguments: object, code: int = 0) -> str:
    """Run a command as a person does; what it said on standard error."""
    outcome = CliRunner().invoke(app, [*map(str, arguments)])
    assert outcome.exit_code == code, outcome.output
    return outcome.stderr


@dataclass(frozen=True)
class Fleet:
    folder: Path
    policy: Path

    def key(self, person: str) -> Path:
        return self.folder / f"{person}.pem"

    def signer(self, person: str) -> FileSigner:
        return FileSigner.open(self.key(person), WORDS.encode())

    def report(self, **changes: Any) -> Path:
        by = read(Envelope.from_json(self.policy.read_bytes()))
        now = int(time.time())
        made = report(by, started=now - 7200, ended=now - 3600, **changes)
        path = self.folder / "report.json"
        envelope = Statement(MODEL, CANDIDATE, made).envelope(self.signer("gateway-1"))
        path.write_bytes(envelope.to_json())
        return path

    def approve(self, person: str, *more: object, code: int = 0, answer: str = "") -> Any:
        return run(
            *("approve", "--policy", self.policy, "--key", self.key(person), *more),
            code=code,
            answer=answer,
        )

    @property
    def asked(self) -> tuple[object, ...]:
        return ("--model", MODEL, "--candidate", CANDIDATE, "--incumbent", INCUMBENT)

    @property
    def out(self) -> Path:
        return self.folder / "approval.json"
