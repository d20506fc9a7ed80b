"""`sluicegate policy`: write, sign, check and read the policy."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, emit, fail, say
from governance import shape
from governance.cli.outcome import read_envelope, refuse, write_file
from governance.cli.passphrase import PassphraseFile, passphrase
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.keys import read_public
from governance.policy import PAYLOAD_TYPE, Policy
from governance.policy_chain import follow, read, root_signers
from governance.policy_file import parse_file, starting_point
from governance.signer import FileSigner
from governance.vocabulary import ROLES

app = typer.Typer(help="Who may sign for what: write, sign and check it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def init(
    audience: Annotated[str, typer.Option(help="The fleet's name.", metavar="NAME")],
    out: Annotated[Path, typer.Option(metavar="FILE.toml")] = Path("policy.toml"),
    key: Annotated[
        list[str] | None,
        typer.Option(help="Enrol a public key; may be repeated.", metavar="PERSON=ROLE,ROLE=FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a policy with comments, to be edited and then signed."""
    try:
        known = [_entry(said, as_json) for said in key or []]
    except GovernanceError as error:
        refuse(error, as_json)
    write_file(out, starting_point(audience, int(time.time()), known).encode(), as_json)
    say(f"{out}: edit it, then `sluicegate policy sign {out} --key KEY --out policy.json`")
    if as_json:
        emit({"path": str(out)})


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="policy.toml, or a policy that others signed.")],
    key: Annotated[Path, typer.Option(help="A root's private key.", metavar="FILE")],
    out: Annotated[
        Path | None, typer.Option(help="Where the signed policy goes.", metavar="FILE.json")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The signed policy that this one follows.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a policy as one of its roots; a policy that others signed gets one more signature.

    A new version needs the roots of the one before and its own.
    """
    before = read_envelope(previous, as_json) if previous else None
    adds = file.suffix != ".toml"
    try:
        if adds:
            envelope = read_envelope(file, as_json)
            found = read(envelope)
        else:
            if out is None:
                fail("say where the signed policy goes: --out FILE.json", USAGE, as_json)
            found = parse_file(_text(file, as_json), read(before) if before else None)
            envelope = Envelope(PAYLOAD_TYPE, found.payload)
        signer = FileSigner.open(key, passphrase(passphrase_file, as_json))
        envelope = envelope.signed_by(signer)
    except GovernanceError as error:
        refuse(error, as_json)
    target = out or file
    write_file(target, envelope.to_json(), as_json, replace=target == file)
    _summary(target, envelope, found, as_json)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Signed policies, in order.")],
    pin: Annotated[
        str | None, typer.Option(help="The first one's digest.", metavar="sha256:HEX")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="In place of --pin: the policy that is followed now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that policies follow one another, signed by enough roots; the last must be valid."""
    if (pin is None) == (previous is None):
        fail("say what is trusted: --pin DIGEST or --previous FILE", USAGE, as_json)
    chain = [read_envelope(file, as_json) for file in files]
    try:
        current = read(read_envelope(previous, as_json)) if previous else None
        found = follow(chain, current, pin, int(time.time()))
    except GovernanceError as error:
        refuse(error, as_json)
    _summary(files[-1], chain[-1], found, as_json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A signed policy.")], as_json: AsJson = False
) -> None:
    """Show who may sign for what. Checks no signature."""
    envelope = read_envelope(file, as_json)
    try:
        found = read(envelope)
    except GovernanceError as error:
        refuse(error, as_json)
    if as_json:
        emit({"digest": found.digest, "policy": shape.write(found)})
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    keys = Table("person", "roles", "valid", "key id")
    for key in found.keys:
        valid = f"{_date(key.not_before)} to {_date(key.not_after)}"
        state = f"[red]revoked {_date(key.revoked_at)}" if key.revoked_at is not None else valid
        keys.add_row(key.person, ", ".join(key.roles), state, key.key_id[:19] + "…")
    rules = Table("class of risk", "action", "people", "roles")
    for name, risk in found.risk_classes.items():
        for action, rule in risk.rules.items():
            rules.add_row(name, action, str(rule.persons), ", ".join(rule.roles))
    console = Console()
    console.print(keys)
    console.print(rules)
    _summary(file, envelope, found, as_json)


def _summary(path: Path, envelope: Envelope, found: Policy, as_json: bool) -> None:
    roots = sorted(root_signers(envelope, found, found.valid_from))
    if as_json:
        emit(
            {
                "path": str(path),
                "digest": found.digest,
                "version": found.version,
                "audience": found.audience,
                "expires": found.expires,
                "roots_signed": roots,
                "roots_needed": found.root_persons,
            }
        )
    say(f"{path}: policy version {found.version} of '{found.audience}', {found.digest}")
    say(f"valid {_date(found.valid_from)} to {_date(found.expires)}")
    say(f"signed by {', '.join(roots) or 'none'} of its roots, {found.root_persons} needed")


def _entry(said: str, as_json: bool) -> tuple[str, tuple[str, ...], str]:
    person, _, rest = said.partition("=")
    named, _, file = rest.partition("=")
    roles = tuple(named.split(","))
    unknown = [role for role in roles if role not in ROLES]
    if not file or unknown:
        fail(
            f"--key takes PERSON=ROLE,ROLE=FILE with roles out of {', '.join(ROLES)}, not '{said}'",
            USAGE,
            as_json,
        )
    return person, roles, read_public(Path(file)).hex()


def _text(file: Path, as_json: bool) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}", USAGE, as_json)


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
