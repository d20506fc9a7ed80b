"""Attacks with what was made from a data set that is revoked: nothing of it goes live again."""

import hashlib

import pytest

from governance.enforce import Gate
from governance.errors import GovernanceError
from governance.service.repository import digest_of
from tests.governance.service.conftest import stage, start
from tests.governance.service.double import complete
from tests.governance.service.stage import Stage

__all__ = ["stage"]

STOLEN = "sha256:" + hashlib.sha256(b"stolen").hexdigest()


def compared(stage: Stage, *used: bytes) -> list[str]:
    """Versions of which the first is live and the second has passed; what each was made from."""
    found = [digest_of(stage.models / stage.model / str(n)) for n in range(1, len(used) + 1)]
    stage.submit(1, found[0], used[0])
    approval = stage.approval("promote", found[0], "dora", "greta")
    stage.promotion.promote(stage.model, found[0], [approval])
    for version, data in enumerate(used[1:], 2):
        stage.submit(version, found[version - 1], data)
    start(stage, found[1])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.clock += 60
    stage.shadowing.tick()
    return found


def revoke(stage: Stage) -> list[tuple[str, bool, bool]]:
    told = stage.revoking.revoke(stage.revocation("dataset", STOLEN, "sam"))
    return [(a.candidate, a.pulled_back, a.unloaded) for a in told]


def test_what_is_live_by_a_revoked_data_set_is_pulled_back(stage: Stage) -> None:
    found = compared(stage, b"fine", b"stolen")
    stage.promote(found[1])
    assert revoke(stage) == [(found[1], True, False)]
    assert stage.live() == (found[0],) * 3


def test_nothing_is_pulled_back_to_another_model_of_that_data_set(
    stage: Stage,
) -> None:
    found = compared(stage, b"stolen", b"stolen")
    stage.promote(found[1])
    assert revoke(stage) == [(found[1], False, True)]
    assert stage.live() == (None, None, None)


def test_a_rollback_to_a_model_of_a_revoked_data_set_is_refused(
    stage: Stage,
) -> None:
    found = compared(stage, b"stolen", b"fine")
    stage.promote(found[1])
    assert revoke(stage) == []
    approval = stage.approval("rollback", found[1], "olga")
    with pytest.raises(GovernanceError) as refused:
        stage.rollback.roll_back(stage.model, [approval])
    assert refused.value.reason == "revoked_dataset"
    assert stage.live() == (found[1],) * 3
    with pytest.raises(GovernanceError) as refused:
        Gate(stage.home, lambda: stage.clock).may_serve(stage.model, found[0])
    assert refused.value.reason == "revoked_dataset"


def test_a_candidate_that_passed_before_its_data_set_was_revoked_is_not_promoted(
    stage: Stage,
) -> None:
    found = compared(stage, b"fine", b"stolen", b"stolen")
    approval = stage.approval("promote", found[1], "dora", "greta")
    glass = stage.glass(found[2], "sam", "olga")
    assert revoke(stage) == []
    for candidate, said in ((found[1], approval), (found[2], glass)):
        with pytest.raises(GovernanceError) as refused:
            stage.promotion.promote(stage.model, candidate, [said])
        assert refused.value.reason == "revoked_dataset"
    with pytest.raises(GovernanceError) as refused:
        start(stage, found[2])
    assert refused.value.reason == "revoked_dataset"
    assert stage.live() == (found[0],) * 3
