"""Spans, metrics and the control process, against a collector of the test's own."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from bench import models
from bench.servers import Contender
from tests.calls import connect, eventually, request
from tests.conftest import Serve

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = [("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]


class Collector(trace_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):  # type: ignore[misc]
    """Keeps what it is sent. Both services have one method of the same name."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}

    def Export(self, message: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        if isinstance(message, trace_pb.ExportTraceServiceRequest):
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            return trace_pb.ExportTraceServiceResponse()
        for resource in message.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {m.name: m for m in scope.metrics}
        return metrics_pb.ExportMetricsServiceResponse()

    def of(self, trace: str) -> dict[str, Any]:
        """The spans of one trace by name."""
        return {s.name: s for s in list(self.spans) if s.trace_id.hex() == trace}


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    kept = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_grpc.add_TraceServiceServicer_to_server(kept, server)
    metrics_grpc.add_MetricsServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(0)


def _config(otlp: str, ratio: float = 0.0) -> str:
    return f'[telemetry]\notlp = "{otlp}"\ntrace_ratio = {ratio}\nexport_seconds = 1\n'


def test_a_traced_request_is_told_as_server_queue_execute_and_batch(
    tmp_path: Path, serve: Serve, collector: tuple[Collector, str]
) -> None:
    kept, otlp = collector
    models.pack_delay(tmp_path, "slow", 0, 5_000)
    client = connect(serve(tmp_path, _config(otlp)))
    before = time.time_ns()
    client.stub.ModelInfer(request("slow", models.rows(2)), timeout=5, metadata=PARENT)
    after = time.time_ns()
    assert eventually(lambda: len(kept.of(TRACE)) == 3)
    spans = kept.of(TRACE)
    call = spans["inference.GRPCInferenceService/ModelInfer"]
    assert call.parent_span_id.hex() == "00f067aa0ba902b7"
    assert before - 50_000_000 < call.start_time_unix_nano < after
    for name in ("queue", "execute"):
        assert spans[name].parent_span_id == call.span_id
    execute = spans["execute"]
    assert execute.end_time_unix_nano - execute.start_time_unix_nano >= 10_000_000
    batch = next(s for s in kept.spans if s.name == "batch")
    assert [link.span_id for link in batch.links] == [call.span_id]
    assert [link.span_id for link in execute.links] == [batch.span_id]


def test_a_request_that_is_not_sampled_leaves_no_span_and_metrics_come_all_the_same(
    tmp_path: Path, serve: Serve, collector: tuple[Collector, str]
) -> None:
    kept, otlp = collector
    models.pack_identity(tmp_path, "echo")
    client = connect(serve(tmp_path, _config(otlp)))
    unsampled = [("traceparent", PARENT[0][1][:-1] + "0")]
    for metadata in (unsampled, None):
        client.stub.ModelInfer(request("echo", models.rows(1)), timeout=5, metadata=metadata)
    client.stub.ModelInfer(request("echo", models.rows(1)), timeout=5, metadata=PARENT)
    assert eventually(lambda: len(kept.of(TRACE)) == 3)
    assert {s.trace_id.hex() for s in kept.spans if s.name != "batch"} == {TRACE}

    def answered() -> float:
        found = kept.metrics.get("sluicegate_requests")
        for point in found.sum.data_points if found else []:
            labels = {a.key: a.value.string_value for a in point.attributes}
            if (labels["model"], labels["outcome"]) == ("echo", "answered"):
                return float(point.as_int + point.as_double)
        return 0.0

    assert eventually(lambda: answered() == 3)
    seconds = kept.metrics["sluicegate_request_seconds"].histogram.data_points[0]
    assert seconds.count == sum(seconds.bucket_counts) == 3


def test_a_share_of_requests_is_traced_without_being_asked(
    tmp_path: Path, serve: Serve, collector: tuple[Collector, str]
) -> None:
    kept, otlp = collector
    models.pack_identity(tmp_path, "echo")
    client = connect(serve(tmp_path, _config(otlp, 1.0)))
    for _ in range(20):
        client.infer(request("echo", models.rows(1)))
    names = [s.name for s in kept.spans]
    assert eventually(
        lambda: (
            [s.name for s in kept.spans].count("inference.GRPCInferenceService/ModelInfer") == 20
        )
    ), names


def _children(server: Contender) -> list[int]:
    text = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    threads = Path(f"/proc/{server.pid}/task").iterdir()
    found = [int(p) for p in text.split()]
    for thread in threads:
        found += [int(p) for p in (thread / "children").read_text().split()]
    return sorted(set(found))


def test_the_control_process_is_started_again_and_serving_goes_on(
    tmp_path: Path, serve: Serve, collector: tuple[Collector, str]
) -> None:
    _, otlp = collector
    models.pack_identity(tmp_path, "echo")
    server = serve(tmp_path, _config(otlp))
    client = connect(server)
    assert eventually(lambda: len(_children(server)) == 1)
    (first,) = _children(server)
    os.kill(first, signal.SIGKILL)
    assert client.infer(request("echo", models.rows(1))).shape == (1, 32)
    assert eventually(lambda: (found := _children(server)) != [first] and len(found) == 1)


def test_without_a_collector_there_is_no_control_process(tmp_path: Path, serve: Serve) -> None:
    models.pack_identity(tmp_path, "echo")
    assert _children(serve(tmp_path)) == []


def test_native_histograms_come_if_the_scraper_asks(server: Contender) -> None:
    door = f"http://127.0.0.1:{server.http_port}/metrics"
    kind = "application/vnd.google.protobuf"
    accept = f"{kind};proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain"
    with urlopen(Request(door, headers={"Accept": accept}), timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith(kind)
        assert b"sluicegate_request_seconds" in answer.read()
    with urlopen(door, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
