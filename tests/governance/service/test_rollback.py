"""Rollback and revocation: back to the model before, whatever else is broken."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from governance.errors import GovernanceError
from governance.keys import key_id
from governance.ledger.errors import LedgerUnavailableError
from governance.service.deciding import decide
from governance.service.repository import digest_of
from tests.governance.service.double import complete
from tests.governance.service.stage import Stage, pack
from tests.governance.signing import NOW, signer


@pytest.fixture
def promoted(stage: Stage, passed: list[str]) -> list[str]:
    stage.promote(passed[1])
    return passed


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    """The ledger takes no entry: SQLite says so, as on a disk that went read-only."""
    connection = stage.authority.ledger.reader.connection
    connection.execute("PRAGMA query_only=ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only=OFF")


def test_a_rollback_takes_one_operator(stage: Stage, promoted: list[str]) -> None:
    approval = stage.approval("rollback", promoted[1], "olga")
    done = stage.rollback.roll_back(stage.model, [approval])
    assert (done.candidate, done.version, done.logged) == (promoted[0], 1, True)
    assert stage.live() == (promoted[0],) * 3
    assert stage.authority.candidate(stage.model, promoted[1]).state == "rolled_back"
    # What was signed is there for the audit.
    assert stage.home.statement(approval.digest) == approval


def test_a_review_that_two_people_sign_lets_promotions_go_on(
    stage: Stage, promoted: list[str]
) -> None:
    stage.rollback.roll_back(stage.model, [stage.approval("rollback", promoted[1], "olga")])
    stage.clock += 73 * 3600
    stage.shadowing.start(stage.model, promoted[2], [stage.approval("shadow", promoted[2], "olga")])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.shadowing.tick()
    with pytest.raises(GovernanceError) as error:
        stage.promote(promoted[2])
    assert error.value.reason == "review_overdue"
    one = stage.approval("review", promoted[1], "dora")
    with pytest.raises(GovernanceError) as error:
        decide(stage.authority, "review", stage.model, promoted[1], [one])
    assert error.value.reason == "too_few_persons"
    both = stage.approval("review", promoted[1], "dora", "greta")
    decide(stage.authority, "review", stage.model, promoted[1], [both])
    stage.promote(promoted[2])
    assert stage.live() == (promoted[2],) * 3


def test_validated_and_deprecated_are_signed_for(stage: Stage, promoted: list[str]) -> None:
    done = decide(
        stage.authority,
        "validate",
        stage.model,
        promoted[1],
        [stage.approval("validate", promoted[1], "dora")],
    )
    assert done.state == "validated"
    done = decide(
        stage.authority,
        "deprecate",
        stage.model,
        promoted[0],
        [stage.approval("deprecate", promoted[0], "olga")],
    )
    assert done.state == "deprecated"
    with pytest.raises(GovernanceError) as error:
        decide(stage.authority, "promote", stage.model, promoted[1], [])
    assert error.value.reason == "wrong_action"


def test_a_rollback_without_an_operator_is_refused(stage: Stage, promoted: list[str]) -> None:
    with pytest.raises(GovernanceError) as error:
        stage.rollback.roll_back(stage.model, [stage.approval("rollback", promoted[1], "dora")])
    assert error.value.reason == "too_few_persons"
    assert stage.live() == (promoted[1],) * 3


def test_an_approval_to_roll_back_counts_once(stage: Stage, promoted: list[str]) -> None:
    approval = stage.approval("rollback", promoted[1], "olga")
    stage.rollback.roll_back(stage.model, [approval])
    with pytest.raises(GovernanceError) as error:
        stage.rollback.roll_back(stage.model, [approval])
    assert error.value.reason == "wrong_candidate"


def test_a_rollback_works_while_the_ledger_cannot_be_written_and_is_logged_later(
    stage: Stage, promoted: list[str]
) -> None:
    approval = stage.approval("rollback", promoted[1], "olga")
    with read_only(stage):
        done = stage.rollback.roll_back(stage.model, [approval])
        assert not done.logged
        assert stage.live()[1:] == (promoted[0],) * 2
        with pytest.raises(LedgerUnavailableError):
            stage.rollback.settle(stage.model)
    stage.reopen()
    assert stage.rollback.owed() == [stage.model]
    stage.rollback.settle(stage.model)
    assert stage.live() == (promoted[0],) * 3
    assert stage.rollback.owed() == []


def test_a_rollback_works_without_any_ledger(stage: Stage, promoted: list[str]) -> None:
    approval = stage.approval("rollback", promoted[1], "olga")
    stage.close()
    ledger = stage.home.ledger
    ledger.rename(ledger.with_suffix(".kept"))
    ledger.mkdir()
    stage.open()
    assert not stage.rollback.roll_back(stage.model, [approval]).logged
    assert [s.digest for s in stage.plane.status()] == [promoted[0]]
    ledger.rmdir()
    ledger.with_suffix(".kept").rename(ledger)
    stage.rollback.settle(stage.model)
    assert stage.live() == (promoted[0],) * 3


def test_a_promotion_while_the_ledger_is_read_only_is_refused_and_serving_goes_on(
    stage: Stage, passed: list[str]
) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    with read_only(stage), pytest.raises(LedgerUnavailableError) as error:
        stage.promotion.promote(stage.model, passed[1], [approval])
    assert error.value.reason == "read_only"
    assert stage.live() == (passed[0],) * 3


def test_a_revoked_model_is_pulled_back(stage: Stage, promoted: list[str]) -> None:
    affected = stage.revoking.revoke(stage.revocation("model", promoted[1], "sam"))
    assert [(a.candidate, a.pulled_back) for a in affected] == [(promoted[1], True)]
    assert stage.live() == (promoted[0],) * 3
    assert stage.authority.candidate(stage.model, promoted[1]).state == "revoked"
    assert stage.revoking.revoke(stage.revocation("model", promoted[1], "sam")) == []


def test_what_was_approved_with_a_key_that_was_lost_by_then_is_pulled_back(
    stage: Stage, promoted: list[str]
) -> None:
    lost = key_id(signer("greta").public_key)
    affected = stage.revoking.revoke(stage.revocation("key", lost, "sam"))
    # The first was approved with it before it was lost.
    assert [a.pulled_back for a in affected] == [True]
    assert stage.live() == (promoted[0],) * 3


def test_when_nothing_may_be_served_in_its_place_nothing_answers(
    stage: Stage, promoted: list[str]
) -> None:
    lost = key_id(signer("greta").public_key)
    early = stage.revocation("key", lost, "sam", since=NOW - 10)
    (affected,) = stage.revoking.revoke(early)
    assert (affected.pulled_back, affected.unloaded) == (False, True)
    assert stage.live() == (None, None, None)


def test_a_data_plane_that_was_away_is_told_to_unload_when_it_is_back(
    stage: Stage, digests: list[str]
) -> None:
    stage.double.away = True
    (affected,) = stage.revoking.revoke(stage.revocation("model", digests[0], "sam"))
    assert (affected.pulled_back, affected.unloaded) == (False, False)
    with pytest.raises(GovernanceError):
        stage.promotion.settle(stage.model)
    stage.double.away = False
    assert stage.live() == (None, None, digests[0])
    stage.promotion.settle(stage.model)
    assert stage.live() == (None, None, None)


def test_what_governance_never_made_live_is_not_unloaded(stage: Stage) -> None:
    digest = pack(stage.models, 9)
    stage.submit(9, digest)
    stage.plane.swap(stage.model, 9)
    stage.promotion.settle(stage.model)
    assert stage.live() == (None, None, digest)


def test_a_broken_glass_of_a_first_model_is_unloaded_when_its_time_is_over(stage: Stage) -> None:
    digest = stage.submit(1, digest_of(stage.models / stage.model / "1"))
    stage.promotion.promote(stage.model, digest, [stage.glass(digest, "sam", "olga")])
    stage.clock += 600
    assert stage.rollback.expire(stage.model)
    assert stage.live() == (None, None, None)


def test_a_broken_glass_is_taken_back_when_its_time_is_over(
    stage: Stage, digests: list[str]
) -> None:
    glass = stage.glass(digests[2], "sam", "olga")
    stage.promotion.promote(stage.model, digests[2], [glass])
    assert not stage.rollback.expire(stage.model)
    stage.clock += 600
    assert stage.rollback.expire(stage.model)
    assert stage.live() == (digests[0],) * 3
    assert stage.authority.candidate(stage.model, digests[2]).state == "rolled_back"


def test_a_revoked_approval_takes_what_it_made_live_with_it(
    stage: Stage, passed: list[str]
) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    stage.promotion.promote(stage.model, passed[1], [approval])
    affected = stage.revoking.revoke(stage.revocation("approval", approval.digest, "sam"))
    assert [a.pulled_back for a in affected] == [True]
    assert stage.live() == (passed[0],) * 3


def test_only_security_revokes(stage: Stage, promoted: list[str]) -> None:
    with pytest.raises(GovernanceError):
        stage.revoking.revoke(stage.revocation("model", promoted[1], "olga"))
    assert stage.live() == (promoted[1],) * 3
