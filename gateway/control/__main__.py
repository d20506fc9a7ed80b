"""`python -m gateway.control`: fetches spans and metrics and exports them by OTLP over gRPC.

Started and kept running by `sluicegate serve` when `[telemetry] otlp` names a collector; may be
started alone beside a server with `control_socket`. Ends with the server.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
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
    """Export until the server ends or SIGTERM comes, then once more.

    Runs only on time that nobody else wants: exporting must not slow a request. On a machine that
    is busy to the last core exports come late and spans are dropped, which is counted.
    """
    _step_back()
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    from gateway.control.metrics import metrics_of  # noqa: PLC0415
    from gateway.control.spans import spans_of  # noqa: PLC0415

    resource = Resource.create({"service.name": "sluicegate"})
    insecure = not otlp.startswith("https://")
    spans = OTLPSpanExporter(endpoint=otlp, insecure=insecure, timeout=3)
    metrics = OTLPMetricExporter(endpoint=otlp, insecure=insecure, timeout=3)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began, misses = time.time_ns(), 0
    while misses < PATIENCE:
        last = stop.wait(every)
        try:
            told = source.spans(socket)
            if told["spans"]:
                spans.export(spans_of(told["spans"], resource))
            if told["dropped"]:
                _say("spans_dropped", count=told["dropped"])
            text = source.metrics(socket)
            metrics.export(metrics_of(text, resource, began, time.time_ns()))
            misses = 0
        except OSError as error:
            misses += 1
            _say("server_silent", error=str(error))
        if last:
            return


def _step_back() -> None:
    """Idle priority, where the system has it and allows it."""
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _say(event: str, **fields: object) -> None:
    line = {"time": round(time.time(), 3), "event": event, **fields}
    sys.stderr.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    typer.run(main)
