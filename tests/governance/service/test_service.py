"""The service as clients meet it: roles, audit, statements, promotion over the wire."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory

from governance.bundle import folder
from governance.bundle.folder import open_bundle
from governance.canonical import digest
from governance.dsse import Envelope
from governance.ledger.export import read_proof
from governance.ledger.note import parse_key
from governance.service.client import CallError, Client
from governance.service.door import MOST_STREAMS
from governance.service.fleet import acknowledgement
from governance.service.repository import digest_of
from governance.service.rules import RULES
from governance.service.service import SERVICES, methods
from governance.vocabulary import ROLES
from governance.wire import admin_pb2, governance_pb2
from tests.governance.service.double import complete
from tests.governance.service.served import Served, serving
from tests.governance.signing import GATEWAY, signer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as running:
        yield running


def ask(client: Client, request: Any, method: str) -> Any:
    with client:
        return client.call(request, method)


def reason_of(client: Client, request: Any, method: str) -> str:
    with client, pytest.raises(CallError) as refused:
        client.call(request, method)
    return refused.value.reason


def requests() -> dict[str, Any]:
    """An empty request of each method, by its full name."""
    return {
        f"/{service.full_name}/{method.name}": message_factory.GetMessageClass(method.input_type)()
        for service in SERVICES
        for method in service.methods
    }


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert set(methods()) == set(RULES)
    for access in RULES.values():
        assert access.roles <= set(ROLES)
        assert "ledger" not in access.roles


def test_every_method_times_every_role_is_let_in_exactly_by_the_table(served: Served) -> None:
    for role in ROLES:
        with served.client(role) as client:
            for name, request in requests().items():
                method = name.rsplit("/", 1)[1]
                denied = None
                try:
                    if RULES[name].roles and method in ("WatchShadow", "Events"):
                        next(client.stream(request, method), None)
                    elif method == "Drain" and role in RULES[name].roles:
                        continue
                    else:
                        client.call(request, method)
                except CallError as error:
                    denied = error.reason
                assert (denied == "role_denied") == (role not in RULES[name].roles), (role, name)


def test_a_stranger_of_the_same_authority_has_no_role(served: Served) -> None:
    request = admin_pb2.StatusRequest()
    assert reason_of(served.client("mallory"), request, "Status") == "role_denied"


def evidence(root: Path, model: str, candidate: str, *added: str) -> tuple[str, list[Any]]:
    """A small bundle that has grown by some attachments: its digest and its files."""
    folder.create(root, model, candidate)
    held = folder.add(root, files={"attachments/page.html": b"<p>"})
    for name in added:
        held = folder.add(root, files={f"attachments/{name}": name.encode()})
    files = [
        governance_pb2.EvidenceFile(path=path.relative_to(root).as_posix(), data=path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    ]
    return held.digest, files


def test_a_bundle_takes_the_place_of_the_one_that_it_grew_from_and_no_other_does(
    served: Served,
) -> None:
    stage = served.stage
    candidate = digest_of(stage.models / stage.model / "1")
    first, files = evidence(stage.folder / "first", stage.model, candidate)
    root = stage.home.bundle(stage.model, candidate)
    with served.client("trainer") as trainer:
        asked = governance_pb2.SubmitCandidateRequest(
            model=stage.model,
            version=1,
            provenance=stage.provenance(candidate, "tom").to_json(),
            evaluation=stage.evaluation(candidate, "tom").to_json(),
            bundle=first,
            files=files,
        )
        trainer.call(asked, "SubmitCandidate")

        def hand_in(bundle: str, files: list[Any]) -> Any:
            more = governance_pb2.SubmitEvidenceRequest(
                model=stage.model, candidate=candidate, bundle=bundle, files=files
            )
            return trainer.call(more, "SubmitEvidence")

        grown, more = evidence(stage.folder / "grown", stage.model, candidate, "cases.csv")
        assert hand_in(grown, more).state == "exported"
        assert open_bundle(root).digest == grown
        listed = admin_pb2.ListModelsRequest(model=stage.model)
        with served.client("auditor") as auditor:
            assert auditor.call(listed, "ListModels").candidates[0].bundle == grown

        folder.create(stage.folder / "other", stage.model, candidate)
        other = folder.add(stage.folder / "other", files={"attachments/page.html": b"<q>"})
        foreign = [
            governance_pb2.EvidenceFile(
                path=path.relative_to(other.root).as_posix(), data=path.read_bytes()
            )
            for path in other.root.rglob("*")
            if path.is_file()
        ]
        for bundle, sent in ((other.digest, foreign), (other.digest, more), (grown, foreign)):
            with pytest.raises(CallError) as refused:
                hand_in(bundle, sent)
            assert refused.value.reason == "other_evidence"
    assert open_bundle(root).digest == grown
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_the_whole_way_over_the_wire(served: Served) -> None:
    stage = served.stage
    found = [digest_of(stage.models / stage.model / str(n)) for n in (1, 2)]
    with (
        served.client("trainer") as trainer,
        served.client("operator") as operator,
        served.client("domain_expert") as expert,
        served.client("governance_approver") as approver,
    ):
        for version, candidate in enumerate(found, 1):
            bundle, files = evidence(stage.folder / f"evidence-{version}", stage.model, candidate)
            told = trainer.call(
                governance_pb2.SubmitCandidateRequest(
                    model=stage.model,
                    version=version,
                    provenance=stage.provenance(candidate, "tom").to_json(),
                    evaluation=stage.evaluation(candidate, "tom").to_json(),
                    bundle=bundle,
                    files=files,
                ),
                "SubmitCandidate",
            )
            assert (told.candidate, told.state) == (candidate, "exported")
        kept = open_bundle(stage.home.bundle(stage.model, found[0]))
        assert kept.files["attachments/page.html"] == b"<p>"
        for client, person in ((expert, "dora"), (approver, "greta")):
            approval = stage.approval("promote", found[0], person)
            client.call(
                governance_pb2.SubmitApprovalRequest(envelope=approval.to_json()),
                "SubmitApproval",
            )
        request = admin_pb2.PromoteRequest(model=stage.model, candidate=found[0])
        assert operator.call(request, "Promote").version == 1
        approval = stage.approval("shadow", found[1], "olga")
        operator.call(
            admin_pb2.StartShadowRequest(
                model=stage.model, candidate=found[1], approvals=[approval.to_json()]
            ),
            "StartShadow",
        )
        stage.double.tell(stage.model, [(n, complete()) for n in range(100)])
        stage.shadowing.tick()
        watch = operator.stream(admin_pb2.ShadowStatusRequest(model=stage.model), "WatchShadow")
        first = next(watch)
        assert first.counts["complete"] == 100
        assert [gate.gate for gate in first.gates] == ["disagreement", "errors", "latency"]
        stage.double.tell(stage.model, [(n, complete()) for n in range(100, 1000)])
        stage.clock += 60
        stage.shadowing.tick()
        last = [*watch][-1]
        assert (last.ended, last.verdict) == (True, "PASS")
        report = operator.call(
            governance_pb2.GetStatementRequest(digest=last.report), "GetStatement"
        )
        assert Envelope.from_json(report.envelope).digest == last.report
        approval = stage.approval("promote", found[1], "dora", "greta")
        request = admin_pb2.PromoteRequest(
            model=stage.model, candidate=found[1], approvals=[approval.to_json()]
        )
        done = operator.call(request, "Promote")
        assert operator.call(request, "Promote").repeated_call
        status = operator.call(admin_pb2.StatusRequest(), "Status").models[0]
        assert (status.incumbent, status.recorded, status.served) == (found[1],) * 3
        rows = stage.authority.ledger.reader.rows()
        change = max(row.index for row in rows if row.kind == "promote_done")
        proof = acknowledgement(GATEWAY, done.deployment, change)
        with served.client("gateway") as gateway:
            told = gateway.call(
                admin_pb2.AcknowledgeDeploymentRequest(
                    model=stage.model,
                    candidate=found[1],
                    deployment=done.deployment,
                    gateway=GATEWAY,
                    signature=signer(GATEWAY).sign(proof),
                    change=change,
                ),
                "AcknowledgeDeployment",
            )
            assert len(told.gateways) == 1
        back = stage.approval("rollback", found[1], "olga")
        request = admin_pb2.RollbackRequest(model=stage.model, approvals=[back.to_json()])
        assert operator.call(request, "Rollback").candidate == found[0]
        kinds = [e.kind for e in operator.stream(admin_pb2.EventsRequest(), "Events")]
        assert kinds[-1] == "rollback"
        assert kinds.count("promote_done") == 2


def test_an_entry_is_proved_to_somebody_who_has_the_logs_key_alone(served: Served) -> None:
    stage = served.stage
    stage.submit(1, digest_of(stage.models / stage.model / "1"))
    head = ask(served.client("auditor"), governance_pb2.LedgerHeadRequest(), "LedgerHead")
    proof = ask(
        served.client("auditor"), governance_pb2.ProveEntryRequest(index=1), "ProveEntry"
    ).proof
    proven = read_proof(proof, parse_key(head.key))
    assert (proven.entry.kind, proven.checkpoint.size) == ("accept_eval", head.size)


def test_every_act_has_a_line_before_and_a_line_after_it(served: Served) -> None:
    request = admin_pb2.PromoteRequest(model="fraud", candidate=digest(b"x"))
    assert reason_of(served.client("operator"), request, "Promote") == "not_registered"
    lines = [
        json.loads(x) for x in (served.stage.home.root / "audit.jsonl").read_text().split("\n") if x
    ]
    assert [(x["phase"], x.get("outcome")) for x in lines] == [
        ("asked", None),
        ("ended", "not_registered"),
    ]
    assert lines[0]["who"] == "spiffe://bank/people/operator"
    assert lines[0]["call"] == lines[1]["call"]


def test_without_an_audit_log_nothing_is_done_but_a_rollback_is(served: Served) -> None:
    (served.stage.home.root / "audit.jsonl").mkdir()
    request = admin_pb2.DrainRequest()
    assert reason_of(served.client("operator"), request, "Drain") == "no_audit"
    rollback = admin_pb2.RollbackRequest(model="fraud")
    assert reason_of(served.client("operator"), rollback, "Rollback") == "not_live"


def test_denials_are_counted_into_the_ledger_once_a_minute(served: Served) -> None:
    for _ in range(5):
        reason_of(served.client("auditor"), admin_pb2.DrainRequest(), "Drain")
    served.server.denials.flush(served.stage.authority)
    (row,) = [r for r in served.stage.authority.ledger.reader.rows() if r.kind == "denied"]
    assert json.loads(row.body) == {
        "at": served.stage.clock,
        "count": 5,
        "method": "admin_drain",
        "reason": "role_denied",
    }
    audit = (served.stage.home.root / "audit.jsonl").read_text()
    assert audit.count('"denied"') == 1
    reason_of(served.client("auditor"), admin_pb2.DrainRequest(), "Drain")
    served.server.denials.flush(served.stage.authority)
    rows = [r for r in served.stage.authority.ledger.reader.rows() if r.kind == "denied"]
    assert len(rows) == 1


def test_a_draining_gateway_begins_nothing(served: Served) -> None:
    ask(served.client("operator"), admin_pb2.DrainRequest(), "Drain")
    request = admin_pb2.PromoteRequest(model="fraud", candidate=digest(b"x"))
    assert reason_of(served.client("operator"), request, "Promote") == "draining"


def test_streams_leave_threads_for_acts(served: Served) -> None:
    served.stage.submit(1, digest_of(served.stage.models / served.stage.model / "1"))
    request = admin_pb2.EventsRequest(follow=True)
    with served.client("auditor") as client:
        streams = [client.stream(request, "Events") for _ in range(MOST_STREAMS)]
        assert {next(stream).kind for stream in streams} == {"register"}
        with pytest.raises(CallError) as refused:
            next(client.stream(request, "Events"))
        assert refused.value.reason == "too_many_streams"
        assert client.call(admin_pb2.StatusRequest(), "Status").gateway == GATEWAY


def test_an_ended_stream_gives_its_thread_back(served: Served) -> None:
    served.stage.submit(1, digest_of(served.stage.models / served.stage.model / "1"))
    request = admin_pb2.EventsRequest(follow=True)
    left, deadline = 3 * MOST_STREAMS, time.monotonic() + 60
    while left and time.monotonic() < deadline:
        try:
            with served.client("auditor") as client:
                assert next(client.stream(request, "Events")).kind == "register"
            left -= 1
        except CallError as error:
            # Those that ended look once a second whether anybody listens.
            assert error.reason == "too_many_streams"
            time.sleep(0.1)
    assert left == 0
