"""`sluicegate submit`, `fetch` and `decide`: statements go to the service and come from it."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, fail, say
from governance.cli.outcome import refuse, write_file
from governance.cli.remote import (
    Approvals,
    AsJson,
    Where,
    asks,
    connected,
    plain,
    read_files,
    tell,
)
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.policy import PAYLOAD_TYPE as POLICY
from governance.predicates import Approval, BreakGlass, Revocation
from governance.statements import parse_any


@asks
def submit(
    file: Annotated[Path, typer.Argument(help="What was signed.", metavar="FILE")],
    where: Where,
    as_json: AsJson = False,
) -> None:
    """Hand in an approval, a refusal, a break-glass statement, a revocation or a policy.

    Approvals wait for the act; signatures under the same statement are put together. A revocation
    takes effect at once: what is live by it is pulled back and listed.
    """
    from governance.wire import governance_pb2 as pb  # noqa: PLC0415

    (data,) = read_files([file], as_json)
    try:
        envelope = Envelope.from_json(data)
        policy = envelope.payload_type == POLICY
        said = None if policy else parse_any(envelope.payload).predicate
    except GovernanceError as error:
        refuse(error, as_json)
    if not policy and not isinstance(said, Approval | BreakGlass | Revocation):
        fail(f"{file}: a {type(said).__name__} is handed in with its candidate", USAGE, as_json)
    with connected(where, as_json) as client:
        if policy:
            done = client.call(pb.SubmitPolicyRequest(envelope=data), "SubmitPolicy")
        elif isinstance(said, Revocation):
            done = client.call(pb.SubmitRevocationRequest(envelope=data), "SubmitRevocation")
        else:
            done = client.call(pb.SubmitApprovalRequest(envelope=data), "SubmitApproval")
    tell(done, f"{file}: taken, {done.digest}", as_json)
    for affected in plain(done).get("affected", ()):
        end = "STILL ANSWERS: the data plane is away, and is told when it is back"
        if affected["unloaded"]:
            end = "unloaded, nothing answers: there was nothing to go back to"
        if affected["pulled_back"]:
            end = "pulled back"
        say(f"{affected['model']} {affected['candidate']}: {end}")


@asks
def fetch(
    digest: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write it here.")],
    where: Where,
    as_json: AsJson = False,
) -> None:
    """Fetch a signed statement, as the shadow report that an approval names."""
    from governance.wire import governance_pb2 as pb  # noqa: PLC0415

    with connected(where, as_json) as client:
        found = client.call(pb.GetStatementRequest(digest=digest), "GetStatement")
    write_file(out, found.envelope, as_json)
    tell(found, f"wrote {out}", as_json)


@asks
def decide(
    action: Annotated[str, typer.Argument(help="validate, deprecate or review.")],
    model: Annotated[str, typer.Argument(help="The model's name.")],
    candidate: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    where: Where,
    approval: Approvals = None,
    as_json: AsJson = False,
) -> None:
    """Log what people signed for beside what is live.

    `validate`: the live model is confirmed. `deprecate`: one is retired. `review`: two people have
    looked at a rollback or a broken glass; until then nothing is promoted once it is overdue.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.DecideRequest(
        action=action,
        model=model,
        candidate=candidate,
        approvals=read_files(approval, as_json),
    )
    with connected(where, as_json) as client:
        done = client.call(request, "Decide")
    tell(done, f"{model} {candidate}: {done.state}, entry {done.index}", as_json)
