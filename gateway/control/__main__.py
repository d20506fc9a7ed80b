"""`python -m gateway.control`: fetches spans and metrics and exports them by OTLP over gRPC.

Started and kept running by `sluicegate serve` when `[telemetry] otlp` names a collector; may be
started alone beside a server with `control_socket`. Ends with the server.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.control import source

# The server is gone if it does not answer so often in a row.
PATIENCE = 3


def main(
    socket: Annotated[Path, typer.Option(help="The server's control_socket.")],
    otlp: Annotated[str, typer.Option(help="The collector, http://HOST:PORT or https://...")],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two exports.")] = 5.0,
) -> None:
    """Export until the server ends or SIGTERM comes, then once more."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    from gateway.control.metrics import metrics_of  # noqa: PLC0415
    from gateway.control.spans import SpanSender  # noqa: PLC0415

    resource = Resource.create({"service.name": "sluicegate"})
    insecure = not otlp.startswith("https://")
    spans = SpanSender(otlp, resource)
    metrics = OTLPMetricExporter(endpoint=otlp, insecure=insecure, timeout=3)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began, misses = time.time_ns(), 0
    while misses < PATIENCE:
        last = stop.wait(every)
        try:
            if failed := spans.send(source.spans(socket)):
                _say("spans_not_sent", error=failed)
            text = source.metrics(socket)
            metrics.export(metrics_of(text, resource, began, time.time_ns()))
            misses = 0
        except OSError as error:
            misses += 1
            _say("server_silent", error=str(error))
        if last:
            return


def _say(event: str, **fields: object) -> None:
    line = {"time": round(time.time(), 3), "event": event, **fields}
    sys.stderr.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    typer.run(main)
