"""`sluicegate fleet`: which gateways follow what is live, and which lag."""

import time
from typing import Annotated, Any

import typer

from gateway.cli.output import REFUSED, emit, say
from governance.cli.remote import (
    AsJson,
    Where,
    asks,
    connected,
    plain,
    short,
)


@asks
def fleet(
    where: Where,
    model: Annotated[str, typer.Option(help="Of one model only.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show each gateway of the policy with each live model; exit code 1 if one lags.

    A gateway follows once it has signed that it serves what is live, since it is. One that lags
    serves what was live before, or nothing.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    with connected(where, as_json) as client:
        told = client.call(pb.StatusRequest(), "Status")
    members = [m for m in told.fleet if model in ("", m.model)]
    if as_json:
        emit([plain(member) for member in members])
    else:
        _show(members)
    lags = [m for m in members if not m.follows]
    if told.ledger_error:
        say(f"the ledger cannot be read, so nobody knows who follows: {told.ledger_error}")
    if lags:
        names = ", ".join(sorted({m.gateway for m in lags}))
        say(f"{len({m.gateway for m in lags})} of {len({m.gateway for m in members})} lag: {names}")
    raise typer.Exit(REFUSED if lags or told.ledger_error else 0)


def _show(members: list[Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("model", "gateway", "", "said last that it serves", "at (UTC)")
    for m in members:
        word = "[green]follows[/]" if m.follows else "[red]lags[/]"
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(m.at)) if m.at else "never"
        table.add_row(m.model, m.gateway, word, short(m.deployment), at)
    Console().print(table)
