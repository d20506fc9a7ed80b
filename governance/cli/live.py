"""`sluicegate promote`, `sluicegate rollback`, `sluicegate events`: what is live, and its story."""

import json
import time
from typing import Annotated, Any

import typer

from gateway.cli.output import emit, say
from governance.cli.remote import (
    Approvals,
    AsJson,
    Where,
    asks,
    connected,
    read_files,
    short,
    tell,
)


@asks
def promote(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    candidate: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    where: Where,
    approval: Approvals = None,
    canary: Annotated[
        float, typer.Option(min=0, max=0.5, help="First answer this share of the callers.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Make a candidate live that passed its comparison and was signed for.

    Without --approval the statements count that were submitted. A break-glass statement in place of
    approvals makes it live for as long as it says. The same call again answers the same.

    With --canary it first answers a share of the callers, the same ones always, by the request
    parameter `key` or the caller's name. Its answers are compared with the live model's under the
    same limits: if they pass it is live for all by itself, if not it is rejected. `shadow status`
    shows how it fares, `shadow stop` ends it.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.PromoteRequest(
        model=model,
        candidate=candidate,
        approvals=read_files(approval, as_json),
        canary_ppm=round(canary * 1_000_000),
    )
    with connected(where, as_json) as client:
        done = client.call(request, "Promote")
    if done.canary:
        share = f"{model} version {done.version} answers {canary:.1%} of the callers"
        tell(done, f"{share}, {done.candidate}", as_json)
        return
    before = " (it was before)" if done.repeated_call else ""
    tell(done, f"{model} version {done.version} is live{before}, {done.candidate}", as_json)


@asks
def rollback(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    where: Where,
    approval: Approvals = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the model that was live before; an operator signs for it.

    It works while the ledger cannot be written: the entry follows.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.RollbackRequest(model=model, approvals=read_files(approval, as_json))
    with connected(where, as_json) as client:
        done = client.call(request, "Rollback")
    owed = "" if done.logged else "; the ledger gets its entry when it can be written"
    tell(done, f"{model} version {done.version} is live again, {done.candidate}{owed}", as_json)


@asks
def events(
    where: Where,
    start: Annotated[int, typer.Option("--from", min=0, help="First entry.")] = 0,
    model: Annotated[str, typer.Option(help="Of one model only.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="New ones too, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the ledger's entries as they come; with --json one object a line."""
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.EventsRequest(start=start, model=model, follow=follow)
    try:
        with connected(where, as_json) as client:
            for event in client.stream(request, "Events"):
                _show(event, as_json)
    except KeyboardInterrupt:
        say("")


def _show(event: Any, as_json: bool) -> None:
    body = json.loads(event.body)
    if as_json:
        emit({"index": event.index, "kind": event.kind, "key": event.key, "body": body})
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(body.pop("at")))
    approvals = body.pop("approvals", [])
    told = [f"{name} {short(str(value))}" for name, value in body.items() if value is not None]
    roles = [signer["role"] for approval in approvals for signer in approval["signers"]]
    told += ["by " + " and ".join(roles)] if roles else []
    typer.echo(f"{event.index:>6}  {at}  {event.kind:<16} " + ", ".join(told))
