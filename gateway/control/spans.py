"""Sends the serving process's spans to a collector.

They come encoded: making an object of each span would cost as much processor time as hundreds of
requests take, on cores that the requests want.
"""

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as WireResource
from opentelemetry.sdk.resources import Resource

TIMEOUT_SECONDS = 3.0


class SpanSender:
    """One collector, `http://HOST:PORT` in the clear or `https://HOST:PORT`."""

    def __init__(self, otlp: str, resource: Resource) -> None:
        scheme, _, door = otlp.rpartition("://")
        if scheme == "https":
            channel = grpc.secure_channel(door, grpc.ssl_channel_credentials())
        else:
            channel = grpc.insecure_channel(door)
        self._stub = stubs.TraceServiceStub(channel)
        attributes = [
            KeyValue(key=key, value=AnyValue(string_value=str(value)))
            for key, value in resource.attributes.items()
        ]
        self._resource = WireResource(attributes=attributes)

    def send(self, scope_spans: bytes) -> str | None:
        """Send what came from the serving process; why it was not taken, if it was not."""
        request = pb.ExportTraceServiceRequest()
        under = request.resource_spans.add(resource=self._resource)
        scoped = under.scope_spans.add()
        scoped.ParseFromString(scope_spans)
        if not scoped.spans:
            return None
        try:
            self._stub.Export(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return None
