"""Attacks on a fleet: a leader that lies, gateways that speak for others, reports made better."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance.dsse import sign
from governance.errors import GovernanceError
from governance.follow.leader import Remote
from governance.service.client import CallError
from governance.service.fleet import acknowledgement, joining
from governance.service.repository import digest_of
from governance.shadow.sampling import commitment
from governance.shadow_report import ShadowReport
from governance.statements import Statement, parse
from governance.wire import admin_pb2
from tests.governance.follow.fleet import OTHERS, Fleet, leading
from tests.governance.ledgers import digest
from tests.governance.service.double import FileDataPlane, complete
from tests.governance.service.stage import SHADOW, pack
from tests.governance.signing import GATEWAY, NOW, signer

TWO, THREE = OTHERS
SEED = bytes(range(32))


class Lying:
    """A leader, or whoever answers in its place, that changes what is told."""

    def __init__(self, honest: Any, **changes: Any) -> None:
        self._honest, self.changes = honest, changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def follow(self, version: int) -> Any:
        told = self._honest.follow(version)
        for line in told.models:
            for name, value in self.changes.items():
                setattr(line, name, value)
        return told


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Version 1 is live everywhere, 2 and 3 are candidates; a parameter changes the policy."""
    models = tmp_path / "models"
    for number in (1, 2, 3):
        pack(models, number)

    def plane(name: str) -> FileDataPlane:
        return FileDataPlane(tmp_path / f"{name}.json", models)

    shadow = SHADOW | {"n_min": 1500, "n_max": 100_000} | getattr(request, "param", {})
    with leading(tmp_path, plane, models, lambda: NOW, shadow) as made:
        made.stage.first(1, version(made, 1))
        for number in (2, 3):
            made.stage.submit(number, version(made, number))
        made.stage.clock += 10
        made.once()
        assert served(made) == [version(made, 1)] * 2
        yield made


def version(fleet: Fleet, number: int) -> str:
    return digest_of(fleet.stage.models / fleet.stage.model / str(number))


def served(fleet: Fleet) -> list[str]:
    return [s.digest for one in fleet.ones.values() for s in one.follower.plane.status()]


def shadow(fleet: Fleet, candidate: str) -> None:
    stage = fleet.stage
    stage.shadowing.start(stage.model, candidate, [stage.approval("shadow", candidate, "olga")])
    fleet.once()
    fleet.once()


def agree(fleet: Fleet, name: str, first: int, count: int, **changes: Any) -> None:
    plane = fleet.stage.double if name == GATEWAY else fleet.ones[name].follower.plane
    assert isinstance(plane, FileDataPlane)
    plane.tell(fleet.stage.model, [(n, complete(**changes)) for n in range(first, first + count)])


def promote(fleet: Fleet, candidate: str) -> None:
    shadow(fleet, candidate)
    for name in (GATEWAY, *OTHERS):
        agree(fleet, name, 0, 800)
    fleet.stage.clock += 60
    fleet.once()
    fleet.stage.shadowing.tick()
    fleet.stage.promote(candidate)


def refused(fleet: Fleet, request: Any, method: str, role: str = "gateway") -> str:
    with fleet.client(role) as client, pytest.raises(CallError) as error:
        client.call(request, method)
    return error.value.reason


# A leader that lies.


def lied_to(fleet: Fleet, **changes: Any) -> list[str]:
    one = fleet.ones[TWO]
    one.follower.leader = Lying(one.follower.leader, **changes)
    one.once()
    return one.failures()


def test_a_leader_cannot_make_a_follower_serve_what_nobody_signed_for(fleet: Fleet) -> None:
    stage = fleet.stage
    two = version(fleet, 2)
    # With the leader's own key, and so with its whole folder, but without two people.
    now = stage.home.live(stage.model)
    assert now is not None
    envelope = stage.home.statement(now.deployment)
    payload = json.loads(envelope.payload)
    payload["subject"][0]["digest"]["sha256"] = two[7:]
    payload["predicate"] |= {"candidate": two, "effective": stage.clock + 5}
    data = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    forged = sign(data, envelope.payload_type, signer(GATEWAY))
    stage.home.keep(forged)
    failures = lied_to(fleet, candidate=two, deployment=forged.digest)
    assert len(failures) == 1 and "other models" in failures[0]
    assert served(fleet)[0] == version(fleet, 1)


def test_a_leader_cannot_name_another_model_than_the_deployments(fleet: Fleet) -> None:
    now = fleet.stage.home.live(fleet.stage.model)
    assert now is not None
    fleet.ones[TWO].follower.home.set_live(fleet.stage.model, None)
    assert len(lied_to(fleet, candidate=version(fleet, 2))) == 1
    assert served(fleet)[0] == version(fleet, 1)


def test_an_old_deployment_is_not_followed_but_the_one_before_is(fleet: Fleet) -> None:
    stage, two, three = fleet.stage, version(fleet, 2), version(fleet, 3)
    first = stage.home.live(stage.model)
    assert first is not None
    promote(fleet, two)
    fleet.once()
    assert served(fleet) == [two, two]
    stage.clock += 60
    promote(fleet, three)
    fleet.once()
    assert served(fleet) == [three, three]
    # It was rightly signed for once, and is two promotions old.
    failures = lied_to(fleet, candidate=first.model_digest, deployment=first.deployment)
    assert len(failures) == 1 and "older than what is live" in failures[0]
    assert served(fleet) == [three, three]
    fleet.ones[TWO].follower.leader = fleet.ones[TWO].follower.leader._honest  # type: ignore[attr-defined]
    stage.rollback.roll_back(stage.model, [stage.approval("rollback", three, "olga")])
    fleet.once()
    assert served(fleet) == [two, two]


def test_a_leader_that_says_nothing_is_live_takes_nothing_away(fleet: Fleet) -> None:
    fleet.stage.home.set_live(fleet.stage.model, None)
    fleet.once()
    assert served(fleet) == [version(fleet, 1)] * 2


def test_a_revoked_model_without_one_before_it_is_unloaded_everywhere(fleet: Fleet) -> None:
    stage = fleet.stage
    fleet.stage.revoking.revoke(stage.revocation("model", version(fleet, 1), "sam"))
    fleet.once()
    assert served(fleet) == []
    assert all(one.follower.home.live(stage.model) is None for one in fleet.ones.values())


def test_another_statement_than_was_asked_for_is_refused(fleet: Fleet) -> None:
    stage = fleet.stage
    now = stage.home.live(stage.model)
    assert now is not None
    path = stage.home.root / "statements" / f"{now.deployment[7:]}.json"
    with fleet.client() as client:
        path.write_bytes(stage.approval("rollback", version(fleet, 1), "olga").to_json())
        with pytest.raises(GovernanceError):
            Remote(client).statement(now.deployment)


def test_while_the_leader_is_away_a_follower_serves_on(fleet: Fleet) -> None:
    fleet.server.stop(0)
    fleet.once()
    assert served(fleet) == [version(fleet, 1)] * 2
    assert all("no governance service" in one.failures()[0] for one in fleet.ones.values())


def test_a_model_that_the_followers_repository_lacks_is_not_followed(fleet: Fleet) -> None:
    stage, two = fleet.stage, version(fleet, 2)
    one = fleet.ones[TWO]
    promote(fleet, two)
    one.follower.models = stage.folder / "elsewhere"
    one.once()
    assert any("has the digest" in told or "no version" in told for told in one.failures())
    assert one.follower.home.live(stage.model).model_digest == version(fleet, 1)  # type: ignore[union-attr]
    assert fleet.follows()[TWO] is False


# Gateways that speak for others.


def acknowledged(fleet: Fleet, gateway: str, signed_by: str, **changes: Any) -> Any:
    line = fleet.ones[TWO].follower.leader.follow(1).models[0]
    told = {"deployment": line.deployment, "change": line.change} | changes
    message = acknowledgement(gateway, told["deployment"], told["change"])
    return admin_pb2.AcknowledgeDeploymentRequest(
        model=line.model,
        candidate=line.candidate,
        gateway=gateway,
        signature=signer(signed_by).sign(message),
        **told,
    )


@pytest.mark.parametrize(
    ("gateway", "signed_by"),
    [(THREE, TWO), (THREE, "olga"), ("gateway-9", "gateway-9"), ("olga", "olga")],
)
def test_nobody_acknowledges_for_another_gateway(
    fleet: Fleet, gateway: str, signed_by: str
) -> None:
    request = acknowledged(fleet, gateway, signed_by)
    assert refused(fleet, request, "AcknowledgeDeployment") == "not_a_gateway"


def test_an_old_word_is_of_no_use_after_something_else_was_live(fleet: Fleet) -> None:
    stage, two = fleet.stage, version(fleet, 2)
    old = acknowledged(fleet, THREE, THREE)
    promote(fleet, two)
    fleet.once()
    assert refused(fleet, old, "AcknowledgeDeployment") == "out_of_step"
    stage.rollback.roll_back(stage.model, [stage.approval("rollback", two, "olga")])
    # The same deployment is live again: what was said of it before is still an old word.
    assert refused(fleet, old, "AcknowledgeDeployment") == "out_of_step"
    assert fleet.follows()[THREE] is False


def test_a_change_that_was_not_signed_is_refused(fleet: Fleet) -> None:
    request = acknowledged(fleet, THREE, THREE)
    request.change += 1
    assert refused(fleet, request, "AcknowledgeDeployment") == "not_a_gateway"


@pytest.mark.parametrize("method", ["Follow", "JoinShadow", "SubmitReport"])
@pytest.mark.parametrize("role", ["operator", "trainer", "auditor", "security"])
def test_only_gateways_speak_as_gateways(fleet: Fleet, method: str, role: str) -> None:
    request = getattr(admin_pb2, f"{method}Request")()
    assert refused(fleet, request, method, role) == "role_denied"


# Reports made better.


def join(fleet: Fleet, gateway: str, signed_by: str, seed: bytes = SEED, attempt: int = 1) -> Any:
    line = fleet.ones[TWO].follower.leader.follow(1).models[0]
    told = commitment(seed)
    message = joining(gateway, line.model, line.compared, attempt, told)
    return admin_pb2.JoinShadowRequest(
        model=line.model,
        candidate=line.compared,
        attempt=attempt,
        commitment=told,
        gateway=gateway,
        signature=signer(signed_by).sign(message),
    )


def test_a_gateway_joins_once_with_one_seed_and_for_itself(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    assert refused(fleet, join(fleet, TWO, THREE), "JoinShadow") == "not_a_gateway"
    assert refused(fleet, join(fleet, TWO, TWO), "JoinShadow") == "already_joined"
    assert refused(fleet, join(fleet, GATEWAY, GATEWAY), "JoinShadow") == "already_joined"
    assert refused(fleet, join(fleet, TWO, TWO, attempt=2), "JoinShadow") == "other_run"


def reported(fleet: Fleet, name: str) -> ShadowReport:
    """What a gateway reported last, as the leader keeps it."""
    run = fleet.stage.home.run(fleet.stage.model)
    assert run is not None
    envelope = fleet.stage.home.statement(run["reports"][name])
    return parse(envelope.payload, ShadowReport).predicate


def submit(fleet: Fleet, said: ShadowReport, *names: str) -> str:
    statement = Statement(fleet.stage.model, said.candidate, said)
    request = admin_pb2.SubmitReportRequest(
        envelope=statement.envelope(*map(signer, names)).to_json()
    )
    return refused(fleet, request, "SubmitReport")


def test_a_report_that_is_not_the_gateways_own_counts_for_nothing(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    agree(fleet, TWO, 0, 100)
    fleet.stage.clock += 10
    fleet.once()
    said = reported(fleet, TWO)
    assert said.n == 100 and said.seed is None
    late = replace(said, ended=said.ended + 1)
    assert submit(fleet, late, "olga") == "not_a_gateway"
    assert submit(fleet, late, THREE) == "wrong_gateway"
    assert submit(fleet, replace(late, gateway=THREE), THREE) == "not_joined"
    assert submit(fleet, replace(late, attempt=2), TWO) == "other_run"
    assert submit(fleet, replace(late, sources=(digest("x"),)), TWO) == "other_run"
    easier = {**said.shadow_policy, "disagreement_limit": "0.4"}
    assert submit(fleet, replace(late, shadow_policy=easier), TWO) == "other_run"
    assert submit(fleet, replace(late, n=900), TWO) == "verdict_differs"
    assert submit(fleet, replace(said, ended=said.ended + 999), TWO) == "other_window"
    assert fleet.stage.shadowing.told(fleet.stage.model)["fleet"][0]["n"] == 100


def test_what_was_reported_is_not_taken_back(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    agree(fleet, TWO, 0, 100)
    agree(fleet, TWO, 100, 3, candidate=False)
    fleet.stage.clock += 10
    fleet.once()
    run = fleet.ones[TWO].comparing._runs[fleet.stage.model]
    assert reported(fleet, TWO).d == 3
    # Its disk is put back to a moment at which nothing spoke against the candidate.
    run.keep(counted=0)
    run.close()
    fleet.ones[TWO].comparing._runs.clear()
    fleet.stage.clock += 10
    fleet.once()
    assert any("takes back" in told for told in fleet.ones[TWO].failures())
    assert reported(fleet, TWO).d == 3


def test_the_same_report_again_counts_once(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    for name in OTHERS:
        agree(fleet, name, 0, 700)
    fleet.stage.clock += 10
    fleet.once()
    said = reported(fleet, TWO)
    envelope = Statement(fleet.stage.model, said.candidate, said).envelope(signer(TWO))
    with fleet.client() as client:
        for _ in range(5):
            request = admin_pb2.SubmitReportRequest(envelope=envelope.to_json())
            client.call(request, "SubmitReport")
    fleet.stage.shadowing.tick()
    told = fleet.stage.shadowing.told(fleet.stage.model)
    assert (told["counts"]["complete"], told["verdict"]) == (1400, "INCONCLUSIVE")


def test_a_failure_at_one_gateway_is_not_outvoted_by_the_others(fleet: Fleet) -> None:
    stage, two = fleet.stage, version(fleet, 2)
    shadow(fleet, two)
    agree(fleet, GATEWAY, 0, 5000)
    agree(fleet, TWO, 0, 100, candidate=False)
    stage.clock += 10
    fleet.once()
    stage.shadowing.tick()
    known = stage.authority.candidate(stage.model, two)
    assert known.state == "rejected"
    (row,) = [r for r in stage.authority.ledger.reader.rows() if r.kind == "shadow_result"]
    report = json.loads(row.body)["report"]
    assert parse(stage.home.statement(report).payload, ShadowReport).predicate.gateway == TWO


def test_a_seed_is_committed_to_in_the_leaders_ledger(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    run = fleet.ones[TWO].follower.home.run(fleet.stage.model)
    assert run is not None
    told = commitment(bytes.fromhex(run["seed"])).encode()
    rows = list(fleet.stage.authority.ledger.reader.rows())
    assert any(row.kind == "seed" and told in row.body for row in rows)
