"""A follower commits to its seed before it draws, and tells it once nothing is drawn by it."""

import json
from dataclasses import replace

from governance.shadow.sampling import commitment, drawn
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.statements import Statement, parse
from governance.wire import admin_pb2
from tests.attacks.test_fleet import TWO, agree, fleet, refused, reported, shadow, version
from tests.governance.follow.fleet import OTHERS, Fleet
from tests.governance.signing import GATEWAY, signer

__all__ = ["fleet"]


def told(fleet: Fleet) -> dict[str, ShadowReport]:
    """Reports by which seeds were told, by gateway."""
    stage = fleet.stage
    rows = [r for r in stage.authority.ledger.reader.rows() if r.kind == "seed_revealed"]
    digests = [json.loads(row.body)["report"] for row in rows]
    found = [parse(stage.home.statement(d).payload, ShadowReport).predicate for d in digests]
    return {said.gateway: said for said in found}


def seed(fleet: Fleet, name: str) -> bytes:
    run = fleet.ones[name].follower.home.run(fleet.stage.model)
    assert run is not None
    return bytes.fromhex(run["seed"])


def test_followers_tell_their_seeds_when_the_comparison_is_over(fleet: Fleet) -> None:
    shadow(fleet, version(fleet, 2))
    seeds = {name: seed(fleet, name) for name in OTHERS}
    for name in (GATEWAY, *OTHERS):
        agree(fleet, name, 0, 40)
    fleet.stage.clock += 10
    fleet.once()
    assert told(fleet) == {}
    fleet.stage.shadowing.stop(fleet.stage.model)
    fleet.once()
    found = told(fleet)
    assert {name: bytes.fromhex(str(said.seed)) for name, said in found.items()} == seeds
    for name, said in found.items():
        verify(said)
        assert said.seed_commitment == commitment(seeds[name])
        assert 0 <= drawn(seeds[name], 0, 5) < 5
    # Once is enough.
    fleet.once()
    assert told(fleet) == found
    assert [one.failures() for one in fleet.ones.values()] == [[], []]


def tell(fleet: Fleet, said: ShadowReport, by: str = TWO) -> str:
    envelope = Statement(fleet.stage.model, said.candidate, said).envelope(signer(by))
    request = admin_pb2.SubmitReportRequest(envelope=envelope.to_json())
    return refused(fleet, request, "SubmitReport")


def test_a_seed_is_not_taken_early_nor_from_another_nor_if_nobody_committed_to_it(
    fleet: Fleet,
) -> None:
    shadow(fleet, version(fleet, 2))
    agree(fleet, TWO, 0, 40)
    fleet.stage.clock += 10
    fleet.once()
    said = replace(reported(fleet, TWO), seed=seed(fleet, TWO).hex())
    assert tell(fleet, said) == "goes_on"
    fleet.stage.shadowing.stop(fleet.stage.model)
    assert tell(fleet, said, "olga") == "not_a_gateway"
    assert tell(fleet, said, GATEWAY) == "wrong_gateway"
    assert tell(fleet, replace(said, seed="00" * 32)) == "other_seed"
    other = replace(said, seed="00" * 32, seed_commitment=commitment(bytes(32)))
    assert tell(fleet, other) == "seed_not_committed"
    assert told(fleet) == {}
