"""What every command that signs as a person does: read the policy, show, ask, sign, write."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import REFUSED, emit, fail, say
from governance import shape
from governance.cli.outcome import read_envelope, write_file
from governance.cli.passphrase import passphrase
from governance.description import describe
from governance.dsse import Envelope
from governance.errors import KeyUseError
from governance.policy import Policy, Rule
from governance.policy_chain import check_own_roots
from governance.predicates import Predicate
from governance.revocations import Revocations
from governance.signatories import unfit_key
from governance.signer import FileSigner
from governance.statements import Statement
from governance.vocabulary import PERMITTED_AFTER_EXPIRY, Action

PolicyFile = Annotated[Path, typer.Option(help="The signed policy.", metavar="FILE")]
KeyFile = Annotated[Path, typer.Option(help="Your private key.", metavar="FILE")]
Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking again.")]
AsJson = Annotated[bool, typer.Option("--json")]
Out = Annotated[Path | None, typer.Option(help="Where the signed statement goes.", metavar="FILE")]
Add = Annotated[
    Path | None,
    typer.Option(help="Sign the same statement as others did, in its file.", metavar="FILE"),
]


@dataclass(frozen=True)
class Person:
    """Somebody who may sign, with their key open."""

    name: str
    signer: FileSigner


def current_policy(path: Path, action: Action, now: int, as_json: bool) -> Policy:
    """The policy, if enough of its roots signed and it permits the action at this time.

    Raises:
        GovernanceError: it does not.

    """
    found = check_own_roots(read_envelope(path, as_json))
    if action not in PERMITTED_AFTER_EXPIRY or now < found.valid_from:
        found.check_current(now)
    return found


def person(
    key: Path, passphrase_file: Path | None, by: Policy, rules: Iterable[Rule], as_json: bool
) -> Person:
    """Open a key whose holder may sign under one of the rules.

    Raises:
        KeyUseError: the file cannot be used, the policy does not know the key (`unknown_key`), or
            its holder signs for something else (`missing_role`).

    """
    signer = FileSigner.open(key, passphrase(passphrase_file, as_json))
    entry = by.by_public.get(signer.public_key)
    if entry is None:
        raise KeyUseError("unknown_key", "the policy does not know this key", remedy="ask a root")
    unfit = unfit_key(entry, int(time.time()), Revocations())
    if unfit is not None:
        raise KeyUseError(unfit.reason, unfit.sentence)
    roles = {role for rule in rules for role in rule.roles}
    if not set(entry.roles) & roles:
        raise KeyUseError(
            "missing_role",
            f"{entry.person} holds none of the roles that sign for this",
            expected=", ".join(sorted(roles)),
            remedy="ask somebody who holds one",
        )
    return Person(entry.person, signer)


def sign_and_write(
    statement: Statement[Predicate],
    envelope: Envelope,
    by: Person,
    target: Path,
    *,
    more: Iterable[tuple[str, str]] = (),
    adds: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what is signed, ask, sign, and write the file; or end the command."""
    lines = [*describe(statement), *more]
    width = max(len(name) for name, _ in lines)
    say(typer.style(f"{by.name} is about to sign:", bold=True))
    for name, value in lines:
        say(f"  {name:<{width}}  {value}")
    if not yes and not typer.confirm("Sign this?", err=True):
        fail("not signed", REFUSED, as_json)
    write_file(target, envelope.signed_by(by.signer).to_json(), as_json, replace=adds)
    say(f"{target}: signed by {by.name}")
    if as_json:
        emit(
            {
                "path": str(target),
                "digest": statement.payload_digest,
                "person": by.name,
                "predicate": shape.write(statement.predicate),
            }
        )
