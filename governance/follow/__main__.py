"""`python -m governance.follow`: a gateway that follows another's governance service.

Beside its data plane, in place of a governance service of its own; `sluicegate serve` starts it
where the configuration says `[governance] follow`. It needs a governance folder (`governance init`,
`governance policy`) and a client certificate with the role `gateway`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.control.plane import ControlSocket
from governance.errors import GovernanceError
from governance.follow.comparing import Comparing
from governance.follow.follower import Follower
from governance.follow.leader import Remote
from governance.home import Home
from governance.service import settings
from governance.service.beside import Stop, give_way
from governance.service.client import Client, Credentials
from governance.service.rounds import say


def main(
    home: Annotated[Path, typer.Option(help="The governance folder, made by `governance init`.")],
    socket: Annotated[Path, typer.Option(help="The data plane's control_socket.")],
    models: Annotated[Path, typer.Option(help="The repository of model directories.")],
    leader: Annotated[str, typer.Option(metavar="HOST:PORT", help="The service to follow.")],
    cert: Annotated[Path, typer.Option(help="This gateway's client certificate, PEM.")],
    key: Annotated[Path, typer.Option(help="Its key, PEM.")],
    ca: Annotated[Path, typer.Option(help="The leader's authority, PEM.")],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two rounds.")] = 1.0,
    beside: Annotated[int | None, typer.Option(help="End with the parent of this id.")] = None,
) -> None:
    """Follow until SIGTERM or SIGINT; the data plane serves on."""
    give_way()
    stop = Stop(beside)
    try:
        folder = Home(home)
        found = settings.load(folder)
        folder.policy()
        signer = settings.signer(folder, settings.GATEWAY_KEY)
        client = Client(leader, Credentials(cert, key, ca))
    except (GovernanceError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, GovernanceError) else 3) from error
    follower = Follower(
        folder,
        ControlSocket(socket),
        models,
        found.gateway,
        signer,
        Remote(client),
        lambda: int(time.time()),
        say,
    )
    comparing = Comparing(follower)
    sys.stdout.write(json.dumps({"follows": leader, "gateway": found.gateway}) + "\n")
    sys.stdout.flush()
    with client:
        while not stop.wait(every):
            told = follower.once()
            if told is not None:
                comparing.once(told)
    say("ended")


if __name__ == "__main__":
    typer.run(main)
