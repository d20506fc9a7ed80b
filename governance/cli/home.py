"""`sluicegate governance`: make a gateway's governance folder, and give it its policy."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, emit, fail, say
from governance.cli.outcome import read_envelope, refuse
from governance.errors import GovernanceError
from governance.home import Home, write
from governance.keys import create
from governance.ledger.http_witness import is_address
from governance.ledger.note import NoteKey
from governance.policy_chain import check_own_roots
from governance.service import settings
from governance.service.settings import GATEWAY_KEY, LEDGER_KEY, PASSPHRASE, Settings

app = typer.Typer(help="The governance folder of a gateway.", no_args_is_help=True)

HomeFolder = Annotated[Path, typer.Option(help="The governance folder.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def init(
    home: HomeFolder,
    audience: Annotated[str, typer.Option(help="The fleet's name, as in the policy.")],
    gateway: Annotated[str, typer.Option(help="This gateway's name, as in the policy.")],
    witness: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|'URL KEY'",
            help="Remembers the ledger's heads: a file on another disk, or a c2sp.org/tlog-witness "
            "by its address and verifier key. Repeatable; one has to take each head.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the folder, the gateway's key and the ledger's, and say what the policy needs.

    Both keys can approve nothing. Their passphrase is made too and kept beside them, so that the
    service starts unattended: whoever reads the folder can sign as this gateway, and not as a
    person.
    """
    folder = Home(home)
    if (home / settings.FILE).exists():
        fail(f"{home} is a governance folder already", USAGE, as_json)
    places = witness or [str(home / "witness.jsonl")]
    try:
        words = secrets.token_urlsafe(32).encode()
        write(folder.keys / PASSPHRASE, words + b"\n")
        public = {name: create(folder.keys / name, words) for name in (GATEWAY_KEY, LEDGER_KEY)}
        origin = "".join(c if c.isalnum() or c in "-._/" else "-" for c in audience)
        log = NoteKey(f"{origin}/{gateway}", public[LEDGER_KEY])
        write(folder.root / "log.key", f"{log}\n".encode())
        named = tuple(
            place if is_address(place) else str(Path(place).absolute()) for place in places
        )
        for place in named:
            settings.witness(place, log)
        settings.save(folder, Settings(gateway, log.name, named))
    except GovernanceError as error:
        refuse(error, as_json)
    except OSError as error:
        fail(f"{home}: {error.strerror}", USAGE, as_json)
    told = {
        "home": str(home),
        "gateway": gateway,
        "ledger": log.name,
        "log_key": str(log),
        "keys": {"gateway": public[GATEWAY_KEY].hex(), "ledger": public[LEDGER_KEY].hex()},
        "witnesses": list(named),
    }
    if as_json:
        emit(told)
    say(f"{home}: made for {gateway} of '{audience}'")
    if not witness:
        say(
            typer.style("no --witness: ", fg="yellow", bold=True)
            + "heads are remembered in the same folder, where a restored copy takes both back"
        )
    say("\nin the policy, with the times that you want:")
    for name, role in ((GATEWAY_KEY, "gateway"), (LEDGER_KEY, "ledger")):
        holder = gateway if role == "gateway" else f"{gateway}-ledger"
        say(f'\n[[keys]]\nperson = "{holder}"\nroles = ["{role}"]\npublic = "{public[name].hex()}"')
        say("not_before = …\nnot_after = …")
    say("\nthen: sluicegate governance policy --home DIR POLICY.json")


@app.command()
def policy(
    home: HomeFolder,
    file: Annotated[Path, typer.Argument(help="The first signed policy.", metavar="POLICY")],
    pin: Annotated[
        str | None, typer.Option(metavar="sha256:HEX", help="Its digest, from its signers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pin the first policy of a folder. Later versions are submitted to the service.

    Compare the digest with the people who signed: from here on the folder follows them.
    """
    folder = Home(home)
    envelope = read_envelope(file, as_json)
    try:
        found = check_own_roots(envelope)
        told = settings.load(folder)
        if (home / "pin").exists():
            fail(f"{home} has its policy already; submit the next version", USAGE, as_json)
        if found.version != 1:
            fail(f"version {found.version} is not the first", USAGE, as_json)
        if pin is not None and found.digest != pin:
            fail(f"the policy's digest is {found.digest}, not the pin", USAGE, as_json)
        held = {(key.person, role) for key in found.keys for role in key.roles}
        if (told.gateway, "gateway") not in held:
            fail(f"the policy has no key of gateway '{told.gateway}'", USAGE, as_json)
        folder.add_policy(envelope, 1)
        write(home / "pin", found.digest.encode() + b"\n")
    except GovernanceError as error:
        refuse(error, as_json)
    except OSError as error:
        fail(f"{home}: {error.strerror}", USAGE, as_json)
    if as_json:
        emit({"policy": found.digest, "audience": found.audience, "version": found.version})
    say(f"{home}: follows the policy of '{found.audience}', {found.digest}")
