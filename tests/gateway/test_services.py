"""The calls beside inference: statistics, settings, health, reflection."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bench import models
from gateway.wire import open_inference_pb2 as pb
from tests.calls import Client, request

CODE = grpc.StatusCode


def test_statistics_count_what_was_answered(client: Client) -> None:
    asked = pb.ModelStatisticsRequest(name="tabular")
    (before,) = client.stub.ModelStatistics(asked, timeout=5).model_stats
    for _ in range(3):
        client.infer(request("tabular", models.rows(7)))
    (after,) = client.stub.ModelStatistics(asked, timeout=5).model_stats
    assert after.inference_count - before.inference_count == 21
    assert after.execution_count - before.execution_count == 3
    success = after.inference_stats.success
    assert success.count - before.inference_stats.success.count == 3
    assert success.ns >= after.inference_stats.compute_infer.ns > 0
    assert after.last_inference > 1_700_000_000_000
    assert 7 in {batch.batch_size for batch in after.batch_stats}


def test_statistics_of_every_model_come_without_a_name(client: Client) -> None:
    told = client.stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=5)
    assert {m.name for m in told.model_stats} == {"tabular", "echo", "slow"}


def test_settings_are_told_and_not_changed(client: Client) -> None:
    traced = client.stub.TraceSetting(pb.TraceSettingRequest(), timeout=5)
    assert list(traced.settings["trace_mode"].value) == ["opentelemetry"]
    assert client.stub.LogSettings(pb.LogSettingsRequest(), timeout=5).settings["log_info"]
    change = pb.TraceSettingRequest()
    change.settings["trace_rate"].value.append("1")
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.TraceSetting(change, timeout=5)
    assert refused.value.code() == CODE.PERMISSION_DENIED
    assert "'trace_rate' cannot be changed" in refused.value.details()


@pytest.mark.parametrize("method", ["SystemSharedMemoryStatus", "CudaSharedMemoryRegister"])
def test_shared_memory_is_unimplemented_with_a_sentence(client: Client, method: str) -> None:
    call = client.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=5)
    assert refused.value.code() == CODE.UNIMPLEMENTED
    assert "send tensors in the message" in refused.value.details()


def test_health_lists_the_server_and_its_models(client: Client) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    statuses = stub.List(health_pb2.HealthListRequest(), timeout=5).statuses
    serving = health_pb2.HealthCheckResponse.SERVING
    assert {name: told.status for name, told in statuses.items()} == dict.fromkeys(
        ["", "inference.GRPCInferenceService", "tabular", "echo", "slow"], serving
    )


def test_reflection_tells_services_and_their_files(client: Client) -> None:
    known = ProtoReflectionDescriptorDatabase(client.channel)
    assert "inference.GRPCInferenceService" in known.get_services()
    assert "grpc.health.v1.Health" in known.get_services()
    file = known.FindFileContainingSymbol("inference.GRPCInferenceService")
    assert file.name == "open_inference.proto"
    with pytest.raises(KeyError):
        known.FindFileByName("nothing.proto")


def test_both_versions_of_reflection_answer(client: Client) -> None:
    for version in ("v1", "v1alpha"):
        method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        # list_services = 7, a string.
        (answer,) = client.channel.stream_stream(method)(iter([b"\x3a\x01*"]), timeout=5)
        assert b"inference.GRPCInferenceService" in answer
