"""A gateway that joined a comparison and fell silent: told by name, its time by the policy."""

import pytest

from tests.attacks.test_fleet import THREE, TWO, agree, fleet, shadow, version
from tests.governance.follow.fleet import OTHERS, Fleet
from tests.governance.ledgers import digest
from tests.governance.signing import GATEWAY

__all__ = ["fleet"]


def silence(fleet: Fleet, seconds: int) -> list[tuple[str, str]]:
    """The last gateway is heard of no more; what the status says of it."""
    shadow(fleet, version(fleet, 2))
    for name in (GATEWAY, *OTHERS):
        agree(fleet, name, 0, 20)
    fleet.stage.clock += 10
    fleet.once()
    fleet.stage.shadowing.tick()
    fleet.stage.clock += seconds
    fleet.ones[TWO].once()
    fleet.stage.shadowing.tick()
    told = fleet.stage.shadowing.told(fleet.stage.model)
    return [(r["reason"], r["sentence"]) for r in told["reasons"] if THREE in r["sentence"]]


def test_a_gateway_that_joined_and_fell_silent_is_told_by_its_name(fleet: Fleet) -> None:
    ((reason, sentence),) = silence(fleet, 3600)
    assert reason == "gateway_silent"
    assert sentence.startswith(
        f"{THREE} has reported nothing for 60 minutes: the sum's time stands"
    )


def test_a_gateway_that_joined_and_never_reported_is_told_by_its_name(fleet: Fleet) -> None:
    fleet.ones.pop(TWO)
    stage = fleet.stage
    stage.shadowing.start(
        stage.model, version(fleet, 2), [stage.approval("shadow", version(fleet, 2), "olga")]
    )
    run = stage.shadowing.run(stage.model)
    stage.shadowing.join(stage.model, run.plan.candidate, run.plan.attempt, THREE, digest("seed"))
    told = stage.shadowing.told(stage.model)
    sentence = f"{THREE} has joined and reported nothing yet"
    assert {"reason": "not_reported", "sentence": sentence} in told["reasons"]


@pytest.mark.parametrize("fleet", [{"silent_minutes": 30}], indirect=True)
def test_by_the_signed_policy_a_silent_gateways_time_no_longer_counts_but_its_pairs_do(
    fleet: Fleet,
) -> None:
    ((reason, sentence),) = silence(fleet, 3600)
    assert reason == "gateway_silent"
    assert sentence.endswith("its pairs count, its time does not (silent_minutes)")
    told = fleet.stage.shadowing.told(fleet.stage.model)
    assert told["counts"]["complete"] == 60
    assert {s["gateway"]: s["n"] for s in told["fleet"]} == {TWO: 20, THREE: 20}
