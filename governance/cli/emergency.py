"""`sluicegate break-glass` and `sluicegate revoke`: for when something must stop or cannot wait."""

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, fail
from governance import shape
from governance.cli.outcome import read_envelope, refuse
from governance.cli.passphrase import PassphraseFile
from governance.cli.signing import (
    Add,
    AsJson,
    KeyFile,
    Out,
    PolicyFile,
    Yes,
    current_policy,
    person,
    sign_and_write,
)
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.predicates import BreakGlass, Revocation
from governance.statements import PAYLOAD_TYPE, Statement, check_payload_type, parse


def break_glass(
    policy: PolicyFile,
    key: KeyFile,
    out: Out = None,
    add: Add = None,
    action: Annotated[str, typer.Option(help="What cannot wait.")] = "promote",
    model: Annotated[str, typer.Option(help="The model's name.")] = "",
    candidate: Annotated[str, typer.Option(metavar="sha256:HEX")] = "",
    incumbent: Annotated[
        str, typer.Option(help="The live model's digest, or none.", metavar="sha256:HEX")
    ] = "",
    justification: Annotated[str, typer.Option(help="Why it cannot wait.")] = "",
    seconds: Annotated[
        int | None, typer.Option(min=1, help="Valid for [as long as the policy allows].")
    ] = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign for an action in an emergency, without what it usually takes.

    Everybody signs one statement: the first with --out, the others with --add.
    """
    target = _target(out, add, as_json)
    now = int(time.time())
    try:
        by = current_policy(policy, "break_glass", now, as_json)
        if add is not None:
            envelope = read_envelope(add, as_json)
            check_payload_type(envelope)
            statement = parse(envelope.payload, BreakGlass)
        else:
            risk = by.risk_class(model)
            document = {
                "action": action,
                "candidate": candidate,
                "incumbent": None if incumbent == "none" else incumbent,
                "justification": justification,
                "policy": by.digest,
                "audience": by.audience,
                "notBefore": now,
                "expires": now + (seconds or risk.break_glass_seconds),
                "nonce": secrets.token_hex(16),
            }
            said = shape.read(BreakGlass, document, "break-glass")
            statement = Statement(model, said.candidate, said)
            envelope = Envelope(PAYLOAD_TYPE, statement.payload)
        rule = by.risk_class(statement.name).rules["break_glass"]
        signer = person(key, passphrase_file, by, [rule], as_json)
    except GovernanceError as error:
        refuse(error, as_json)
    sign_and_write(
        statement, envelope, signer, target, adds=add is not None, yes=yes, as_json=as_json
    )


def revoke(
    policy: PolicyFile,
    key: KeyFile,
    out: Out = None,
    add: Add = None,
    what: Annotated[str, typer.Option(help="key, approval, dataset or model.")] = "model",
    target: Annotated[
        str,
        typer.Option(
            help="Its digest: a key's id, an approval's payload digest, a model's or a data "
            "set's digest.",
            metavar="sha256:HEX",
        ),
    ] = "",
    model: Annotated[str, typer.Option(help="The model's name, if a model is revoked.")] = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    since: Annotated[
        int | None, typer.Option(help="Seconds since 1970 UTC [now].", show_default=False)
    ] = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign that a key, an approval, a data set or a model no longer counts.

    Works under a policy that has expired, too.
    """
    file = _target(out, add, as_json)
    now = int(time.time())
    try:
        by = current_policy(policy, "revoke", now, as_json)
        if add is not None:
            envelope = read_envelope(add, as_json)
            check_payload_type(envelope)
            statement = parse(envelope.payload, Revocation)
        else:
            document = {
                "what": what,
                "target": target,
                "reason": reason,
                "since": now if since is None else since,
                "audience": by.audience,
                "issued": now,
            }
            said = shape.read(Revocation, document, "revocation")
            statement = Statement(model if what == "model" else what, said.target, said)
            envelope = Envelope(PAYLOAD_TYPE, statement.payload)
        classes = list(by.risk_classes.values())
        if statement.predicate.what == "model":
            classes = [by.risk_class(statement.name)]
        rules = [risk.rules["revoke"] for risk in classes]
        signer = person(key, passphrase_file, by, rules, as_json)
    except GovernanceError as error:
        refuse(error, as_json)
    sign_and_write(
        statement, envelope, signer, file, adds=add is not None, yes=yes, as_json=as_json
    )


def _target(out: Path | None, add: Path | None, as_json: bool) -> Path:
    target = add or out
    if target is None or (add is not None and out is not None):
        fail("say where the statement goes: --out FILE, or --add FILE", USAGE, as_json)
    return target
