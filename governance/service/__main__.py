"""`python -m governance.service`: the governance service of one gateway, beside its data plane.

It starts without the data plane, without a ledger that can be written, and ends with SIGTERM.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

# Where the parts meet: the one place in governance that knows of a gateway.
from gateway.control.plane import ControlSocket
from governance.errors import GovernanceError
from governance.home import Home
from governance.service.beside import Stop, give_way
from governance.service.parts import Parts
from governance.service.rounds import say
from governance.service.service import Server
from governance.service.telemetry import Telemetry, unseen


def main(
    home: Annotated[Path, typer.Option(help="The governance folder, made by `governance init`.")],
    socket: Annotated[Path, typer.Option(help="The data plane's control_socket.")],
    models: Annotated[Path, typer.Option(help="The repository of model directories.")],
    tls: Annotated[Path, typer.Option(help="A folder with server.pem, server.key, ca.pem.")],
    admin: Annotated[str, typer.Option(metavar="HOST:PORT")] = "127.0.0.1:8003",
    otlp: Annotated[str, typer.Option(help="A collector, http://HOST:PORT or https://…")] = "",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two exports.")] = 5.0,
    beside: Annotated[int | None, typer.Option(help="End with the parent of this id.")] = None,
) -> None:
    """Serve the admin and governance methods until SIGTERM or SIGINT."""
    give_way()
    stop = Stop(beside)
    try:
        parts = Parts.open(Home(home), ControlSocket(socket), models, lambda: int(time.time()))
        gateway = parts.authority.gateway
        telemetry = Telemetry.otlp(otlp, every, gateway) if otlp else None
        server = Server(parts, admin, tls, telemetry.seen if telemetry else unseen)
    except (GovernanceError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, GovernanceError) else 3) from error
    rounds = parts.rounds(server.denials)
    thread = threading.Thread(target=rounds.run, name="rounds")
    thread.start()
    host = admin.rpartition(":")[0]
    sys.stdout.write(json.dumps({"admin": f"{host}:{server.port}"}) + "\n")
    sys.stdout.flush()
    say("ready", admin=f"{host}:{server.port}")
    stop.forever()
    server.stop()
    rounds.stop()
    thread.join()
    parts.authority.close()
    if telemetry is not None:
        telemetry.stop()
    say("ended")


if __name__ == "__main__":
    typer.run(main)
