"""`sluicegate keys`: make keys and look at them."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import emit, say
from governance.cli.outcome import refuse
from governance.cli.passphrase import PassphraseFile, passphrase
from governance.errors import GovernanceError
from governance.keys import create, key_id, public_path, read_public

app = typer.Typer(help="Make the keys that people and services sign with.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def new(
    out: Annotated[Path, typer.Option(help="Where the private key goes.", metavar="FILE")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key: FILE, encrypted, and FILE.pub for everybody.

    The private key never leaves its owner; the policy lists the public one.
    """
    try:
        public = create(out, passphrase(passphrase_file, as_json, twice=True))
    except GovernanceError as error:
        refuse(error, as_json)
    _tell(public, {"private": str(out), "public": str(public_path(out))}, as_json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A public key, or the private one beside it.")],
    as_json: AsJson = False,
) -> None:
    """Show a key's id and its public bytes, as a policy lists them. Needs no passphrase."""
    beside = public_path(file)
    found = beside if beside.exists() else file
    try:
        public = read_public(found)
    except GovernanceError as error:
        refuse(error, as_json)
    _tell(public, {"public": str(found)}, as_json)


def _tell(public: bytes, files: dict[str, str], as_json: bool) -> None:
    found = {"key_id": key_id(public), "public_key": public.hex(), "files": files}
    if as_json:
        emit(found)
        return
    for name, file in files.items():
        say(f"{name}: {file}")
    say(f"key id: {found['key_id']}")
    say(f'in the policy: public = "{public.hex()}"')
