"""`sluicegate statement`: read a signed statement and check who signed it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import emit, say
from governance import shape
from governance.cli.outcome import read_envelope, refuse
from governance.description import describe, roles_of
from governance.dsse import verified_keys
from governance.errors import GovernanceError, SignatureError
from governance.policy_chain import check_own_roots
from governance.predicates import Deployment
from governance.revocations import Revocations
from governance.signatories import refuse_unsigned, unfit_key
from governance.statements import KINDS, check_payload_type, parse_any

app = typer.Typer(help="Read signed statements and check who signed them.", no_args_is_help=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A statement in its envelope.")],
    policy: Annotated[Path, typer.Option(help="The signed policy.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Check a statement's form and signatures, and show what it says and who says it.

    Whether an approval is enough, and for what is live now, the gateway decides when it acts.
    """
    envelope = read_envelope(file, as_json)
    try:
        by = check_own_roots(read_envelope(policy, as_json))
        check_payload_type(envelope)
        signed = verified_keys(envelope, by.by_public)
        if not signed:
            refuse_unsigned([envelope])
        statement = parse_any(envelope.payload)
        said = statement.predicate
        # A deployment is looked at again long after; its key had to be valid then.
        at = said.effective if isinstance(said, Deployment) else int(time.time())
        keys = [key for key in by.keys if key.public_key in signed]
        unfit = [unfit_key(key, at, Revocations()) for key in keys]
        fit = [key for key, exclusion in zip(keys, unfit, strict=True) if exclusion is None]
        if not fit:
            first = next(exclusion for exclusion in unfit if exclusion is not None)
            raise SignatureError(first.reason, first.sentence)
    except GovernanceError as error:
        refuse(error, as_json)
    kind = next(name for name, known in KINDS.items() if known is type(statement.predicate))
    signers = [roles_of(key.public_key, by) for key in fit]
    if as_json:
        emit(
            {
                "kind": kind,
                "digest": envelope.digest,
                "model": statement.name,
                "subject": statement.digest,
                "predicate": shape.write(statement.predicate),
                "signers": [{"person": key.person, "roles": list(key.roles)} for key in fit],
            }
        )
        return
    lines = [("statement", f"{kind}, {envelope.digest}"), *describe(statement)]
    lines.append(("signed by", ", ".join(signers)))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        say(f"{name:<{width}}  {value}")
