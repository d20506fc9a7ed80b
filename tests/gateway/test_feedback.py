"""Outcomes that come later: the Feedback call, its refusals and rights, `sluicegate feedback`."""

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bench import models
from bench.servers import Contender
from gateway import feedback
from gateway.wire import feedback_pb2 as pb
from gateway.wire import feedback_pb2_grpc as stubs
from tests.calls import connect, eventually, request, sluicegate
from tests.conftest import Serve
from tests.gateway.test_decision_log import counted, log_config, whole
from trainer.drift import decision_log

CODE = grpc.StatusCode
pq = pytest.importorskip("pyarrow.parquet")


def report(server: Contender, *outcomes: Any, token: str = "") -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        metadata = [("authorization", f"Bearer {token}")] if token else None
        message = pb.ReportRequest(outcomes=outcomes)
        return stubs.FeedbackStub(channel).Report(message, timeout=5, metadata=metadata)


def refusal(server: Contender, *outcomes: Any, token: str = "") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        report(server, *outcomes, token=token)
    return error.value.code(), error.value.details()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.pack_identity(tmp_path / "models", "echo")
    return tmp_path


def test_outcomes_are_joined_with_what_was_decided(folder: Path, serve: Serve) -> None:
    log = folder / "log"
    server = serve(folder / "models", log_config(log, inputs="all"))
    client = connect(server)
    client.infer(request("echo", models.rows(2), id="both"))
    answer = client.stub.ModelInfer(request("echo", models.rows(1)), timeout=5)
    made = answer.parameters["sluicegate_request_id"].string_param
    told = report(
        server,
        pb.Outcome(request_id="both", row=1, label=1.0),
        pb.Outcome(request_id=made, label=0.0, time_ns=5),
    )
    assert (told.accepted, told.not_sampled) == (2, 0)
    report(server, pb.Outcome(request_id=made, label=0.5))
    assert eventually(lambda: len(whole(log)) == 3 and len(whole(log, "feedback")) == 3)
    found = decision_log.read(log, "echo")
    labels = dict(zip(found.ids, found.labels.tolist(), strict=True))
    assert (labels["both/1"], labels[made]) == (1.0, 0.5), "the last word counts"
    assert labels["both"] != labels["both"]
    assert found.labelled(tuple(f"f{n}" for n in range(32))).y.tolist() == [1.0, 0.5]


def test_outcomes_of_requests_outside_the_sample_are_told(folder: Path, serve: Serve) -> None:
    log = folder / "log"
    server = serve(folder / "models", log_config(log, share=0.3))
    client = connect(server)
    for n in range(100):
        client.infer(request("echo", models.rows(1), id=f"r{n}"))
    told = report(server, *(pb.Outcome(request_id=f"r{n}", label=1.0) for n in range(100)))
    assert told.accepted + told.not_sampled == 100
    assert eventually(lambda: len(whole(log, "feedback")) == told.accepted)
    assert eventually(lambda: len(whole(log)) == told.accepted)
    ids = ({r["request_id"] for r in whole(log, kind)} for kind in ("decisions", "feedback"))
    assert len(set.union(*ids)) == told.accepted


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (pb.Outcome(label=1.0), "outcome 1: request_id must have 1 to 256 bytes"),
        (pb.Outcome(request_id="x" * 257, label=1.0), "outcome 1: request_id must"),
        (pb.Outcome(request_id="a"), "outcome 1: label must be a number"),
        (pb.Outcome(request_id="a", label=float("nan")), "outcome 1: label must be a number"),
        (pb.Outcome(request_id="a", label=1.0, row=1 << 20), "outcome 1: row is 1048576"),
        (pb.Outcome(request_id="a", label=1.0, time_ns=-1), "outcome 1: time_ns is before 1970"),
    ],
)
def test_a_report_with_a_bad_outcome_is_refused_as_a_whole(
    folder: Path, serve: Serve, outcome: Any, sentence: str
) -> None:
    server = serve(folder / "models", log_config(folder / "log"))
    code, text = refusal(server, pb.Outcome(request_id="fine", label=1.0), outcome)
    assert code == CODE.INVALID_ARGUMENT
    assert text.startswith(sentence)
    assert counted(server, "feedback", "written") == 0


def test_a_report_is_bounded_and_finds_no_room_in_a_full_buffer(folder: Path, serve: Serve) -> None:
    server = serve(folder / "models", log_config(folder / "log", buffer_mib=1))
    many = [pb.Outcome(request_id="x" * 256, label=1.0)] * 10_001
    code, text = refusal(server, *many)
    assert (code, "10000 are allowed" in text) == (CODE.INVALID_ARGUMENT, True)
    # More bytes than the buffer holds at all.
    code, text = refusal(server, *many[:10_000])
    assert (code, "send this report again" in text) == (CODE.RESOURCE_EXHAUSTED, True)
    assert report(server, *many[:100]).accepted == 100


def test_without_a_log_there_is_nothing_to_join(folder: Path, serve: Serve) -> None:
    server = serve(folder / "models")
    code, text = refusal(server, pb.Outcome(request_id="a", label=1.0))
    assert (code, "[decision_log]" in text) == (CODE.UNIMPLEMENTED, True)


def test_reporting_is_a_right_of_its_own(folder: Path, serve: Serve) -> None:
    digests = {n: hashlib.sha256(n.encode()).hexdigest() for n in ("bidder", "desk")}
    callers = "".join(f'[caller.{n}]\ntoken_sha256 = "{d}"\n' for n, d in digests.items())
    config = log_config(folder / "log") + callers + "feedback = true\n"
    server = serve(folder / "models", config)
    outcome = pb.Outcome(request_id="a", label=1.0)
    assert refusal(server, outcome)[0] == CODE.UNAUTHENTICATED
    code, text = refusal(server, outcome, token="bidder")  # noqa: S106
    assert (code, "'bidder' may not report outcomes" in text) == (CODE.PERMISSION_DENIED, True)
    assert report(server, outcome, token="desk").accepted == 1  # noqa: S106


def test_the_call_is_listed_by_reflection(server: Contender) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "sluicegate.feedback.v1.Feedback" in database.get_services()
        file = database.FindFileContainingSymbol("sluicegate.feedback.v1.Feedback")
        assert file.name == "feedback.proto"


def test_the_command_sends_csv_and_parquet(folder: Path, serve: Serve) -> None:
    import pyarrow as pa  # noqa: PLC0415

    log = folder / "log"
    server = serve(folder / "models", log_config(log))
    door = ("--grpc", f"127.0.0.1:{server.port}")
    csv = folder / "labels.csv"
    csv.write_text("request_id,label\na,1\nb,0\n")
    ended = sluicegate("feedback", str(csv), *door)
    assert (ended.returncode, ended.stderr) == (0, "2 outcomes were taken\n")
    table = pa.table({"request_id": ["c"], "label": [2.5], "row": [3], "time_ns": [7]})
    pq.write_table(table, folder / "labels.parquet")
    assert sluicegate("feedback", str(folder / "labels.parquet"), *door).returncode == 0
    assert eventually(lambda: len(whole(log, "feedback")) == 3)
    last = next(r for r in whole(log, "feedback") if r["request_id"] == "c")
    assert (last["label"], last["row"], last["time_ns"]) == (2.5, 3, 7)


def test_the_command_says_what_is_wrong(folder: Path) -> None:
    csv = folder / "labels.csv"
    for text, sentence in (
        ("id,label\na,1\n", "has no column 'request_id'; it has id, label"),
        ("request_id,label\na,yes\n", "row 1: could not convert"),
        ("request_id,label\n,1\n", "row 1: an id and a number are needed"),
    ):
        csv.write_text(text)
        ended = sluicegate("feedback", str(csv))
        assert (ended.returncode, sentence in ended.stderr) == (2, True), ended.stderr
    csv.write_text("request_id,label\na,1\n")
    assert sluicegate("feedback", str(csv), "--grpc", "127.0.0.1:1").returncode == 3


def test_a_report_that_finds_no_room_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return CODE.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "full"

    class Stub:
        calls = 0

        def __init__(self, channel: Any) -> None:
            pass

        def Report(self, message: Any, **_: Any) -> Any:  # noqa: N802 - the RPC's name
            Stub.calls += 1
            if Stub.calls < 3:
                raise Full
            return pb.ReportResponse(accepted=len(message.outcomes))

    monkeypatch.setattr("gateway.feedback.stubs.FeedbackStub", Stub)
    monkeypatch.setattr("gateway.feedback.time.sleep", lambda _: None)
    told = feedback.send(None, [pb.Outcome(request_id="a", label=1.0)])
    assert (told.accepted, Stub.calls) == (1, 3)
