"""`sluicegate feedback`: sends outcomes that became known later."""

from pathlib import Path
from typing import Annotated

import grpc
import typer

from gateway import feedback as outcomes
from gateway.cli.output import REFUSED, UNREACHABLE, USAGE, emit, fail, say


def feedback(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet: request_id, label, perhaps row and time_ns.")
    ],
    grpc_door: Annotated[
        str, typer.Option("--grpc", metavar="HOST:PORT", help="The gateway's gRPC door.")
    ] = "127.0.0.1:8001",
    token_file: Annotated[
        Path | None, typer.Option(help="File with the caller's token.", metavar="FILE")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Roots of the server's certificate: TLS.", metavar="FILE")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="The caller's certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Send labels, chargebacks or prices of requests that are in the decision log.

    The last word on a request counts, so a file may be sent again.
    """
    try:
        read = outcomes.read(file)
        token = token_file.read_text().strip() if token_file else ""
        channel = _channel(grpc_door, ca, cert, key)
    except (outcomes.FeedbackError, OSError) as error:
        fail(str(error), USAGE, as_json)
    with channel:
        try:
            told = outcomes.send(channel, read, token)
        except outcomes.FeedbackError as error:
            fail(str(error), UNREACHABLE if error.unreachable else REFUSED, as_json)
    if as_json:
        emit({"accepted": told.accepted, "not_sampled": told.not_sampled})
        return
    rest = f"; {told.not_sampled} are of requests that the log does not hold"
    say(f"{told.accepted} outcomes were taken{rest if told.not_sampled else ''}")


def _channel(door: str, ca: Path | None, cert: Path | None, key: Path | None) -> grpc.Channel:
    if ca is None:
        return grpc.insecure_channel(door)
    pair = (key.read_bytes(), cert.read_bytes()) if cert and key else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *pair)
    return grpc.secure_channel(door, credentials)
