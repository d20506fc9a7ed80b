"""What the door counts: every call once, by method, status and role, and nobody's name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from governance.service.client import CallError
from governance.service.repository import digest_of
from governance.service.telemetry import Telemetry
from governance.wire import admin_pb2
from tests.calls import eventually
from tests.gateway.test_telemetry import Collector, collector  # noqa: F401
from tests.governance.service.certificates import spiffe
from tests.governance.service.served import Served, serving


class Counted:
    """A reader, and what it has read."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.telemetry = Telemetry(self.reader, "gateway-1")

    def data(self) -> Any:
        return self.reader.get_metrics_data()

    def calls(self) -> dict[tuple[str, str, str], int]:
        found = {}
        for metric in self.data().resource_metrics[0].scope_metrics[0].metrics:
            if metric.name == "sluicegate_admin_requests":
                for point in metric.data.data_points:
                    told = point.attributes
                    key = told["rpc.method"], told["rpc.grpc.status"], told["sluicegate.role"]
                    found[key] = point.value
        return found


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def served(tmp_path: Path, counted: Counted) -> Iterator[Served]:
    with serving(tmp_path, counted.telemetry.seen) as running:
        yield running


def test_calls_are_counted_by_method_status_and_role(served: Served, counted: Counted) -> None:
    for _ in range(3):
        with served.client("auditor") as client:
            client.call(admin_pb2.StatusRequest(), "Status")
    with served.client("operator") as client, pytest.raises(CallError):
        client.call(admin_pb2.ShadowStatusRequest(model="fraud"), "ShadowStatus")
    with served.client("trainer") as client, pytest.raises(CallError):
        client.call(admin_pb2.DrainRequest(), "Drain")
    with served.client("operator") as client:
        assert len(list(client.stream(admin_pb2.EventsRequest(), "Events"))) == 0
    assert counted.calls() == {
        ("Status", "OK", "auditor"): 3,
        ("ShadowStatus", "FAILED_PRECONDITION", "operator"): 1,
        ("Drain", "PERMISSION_DENIED", "none"): 1,
        ("Events", "OK", "operator"): 1,
    }


def test_a_stream_that_its_client_left_is_counted_once(served: Served, counted: Counted) -> None:
    served.stage.submit(1, digest_of(served.stage.models / served.stage.model / "1"))
    with served.client("auditor") as client:
        request = admin_pb2.EventsRequest(follow=True)
        stream = client._channel.unary_stream("/sluicegate.admin.v1.Admin/Events")(
            request.SerializeToString()
        )
        next(iter(stream))
        stream.cancel()
        client.call(admin_pb2.StatusRequest(), "Status")
    assert eventually(lambda: len(counted.calls()) == 2)
    told = {(method, status): count for (method, status, _), count in counted.calls().items()}
    assert told.pop(("Status", "OK")) == 1
    assert sum(told.values()) == 1 and {method for method, _ in told} == {"Events"}


def test_nobody_is_named(served: Served, counted: Counted) -> None:
    with served.client("auditor") as client:
        client.call(admin_pb2.StatusRequest(), "Status")
    text = counted.data().to_json()
    assert spiffe("auditor") not in text and "people" not in text
    seconds = "sluicegate_admin_request_seconds"
    assert seconds in text and "gateway-1" in text


def test_they_are_exported_to_a_collector(
    tmp_path: Path,
    collector: tuple[Collector, str],  # noqa: F811
) -> None:
    kept, otlp = collector
    telemetry = Telemetry.otlp(otlp, 0.1, "gateway-1")
    with serving(tmp_path, telemetry.seen) as running, running.client("auditor") as client:
        client.call(admin_pb2.StatusRequest(), "Status")
        assert eventually(lambda: "sluicegate_admin_requests" in str(kept.metrics))
    telemetry.stop()


def test_a_collector_that_is_away_harms_nobody(tmp_path: Path) -> None:
    telemetry = Telemetry.otlp("http://127.0.0.1:1", 0.1, "gateway-1")
    with serving(tmp_path, telemetry.seen) as running, running.client("auditor") as client:
        for _ in range(3):
            assert client.call(admin_pb2.StatusRequest(), "Status").gateway == "gateway-1"
    telemetry.stop()
