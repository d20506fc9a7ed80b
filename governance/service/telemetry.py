"""What the admin door counts: calls by method, status and role, and how long they took.

By OpenTelemetry, exported by OTLP where a collector is named; without one nothing is counted. No
identity is an attribute: who asked is in the audit log.
"""

from collections.abc import Callable
from typing import Any

from governance.service.rounds import say

# Method, status, role, seconds.
Seen = Callable[[str, str, str, float], None]
NOBODY = "none"


def unseen(_method: str, _status: str, _role: str, _seconds: float) -> None:
    """Count nothing."""


class Telemetry:
    """Counters of a door."""

    def __init__(self, reader: Any, gateway: str) -> None:
        """`reader` is one of OpenTelemetry's, `gateway` this one's name."""
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        told = {"service.name": "sluicegate-governance", "service.instance.id": gateway}
        self._provider = MeterProvider([reader], resource=Resource.create(told))
        meter = self._provider.get_meter("sluicegate")
        self._requests = meter.create_counter(
            "sluicegate_admin_requests", description="Calls at the admin door."
        )
        self._seconds = meter.create_histogram(
            "sluicegate_admin_request_seconds", "s", "From a call's arrival to its end."
        )

    @classmethod
    def otlp(cls, endpoint: str, every: float, gateway: str) -> "Telemetry":
        """Export to a collector at http://HOST:PORT or https://…, every so many seconds."""
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )
        from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
            PeriodicExportingMetricReader,
        )

        insecure = not endpoint.startswith("https://")
        exporter = OTLPMetricExporter(endpoint=endpoint, insecure=insecure, timeout=3)
        return cls(PeriodicExportingMetricReader(exporter, every * 1000), gateway)

    def seen(self, method: str, status: str, role: str, seconds: float) -> None:
        """Count one call."""
        attributes = {
            "rpc.method": method.rsplit("/", 1)[-1],
            "rpc.service": method.rsplit("/", 1)[0].removeprefix("/"),
            "rpc.grpc.status": status,
            "sluicegate.role": role,
        }
        self._requests.add(1, attributes)
        self._seconds.record(seconds, attributes)

    def stop(self) -> None:
        """Export what is left."""
        try:
            self._provider.shutdown(timeout_millis=3000)
        except Exception as error:
            # The collector's trouble is no trouble of a service that ends.
            say("telemetry_failed", error=str(error))
