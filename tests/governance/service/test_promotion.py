"""Promotion: only by signatures and a comparison, whole or not at all."""

from pathlib import Path

import pytest

from governance.errors import GovernanceError
from governance.predicates import Deployment
from governance.service.approvals import keep
from governance.service.promotion import Promotion
from governance.service_verifier import verify_for_serving
from governance.statements import parse
from tests.governance.service.stage import Stage


def refused(stage: Stage, candidate: str, *envelopes: object) -> str:
    before = stage.live()
    with pytest.raises(GovernanceError) as error:
        stage.promotion.promote(stage.model, candidate, envelopes)  # type: ignore[arg-type]
    assert stage.live() == before
    return error.value.reason


def test_a_first_model_goes_live_by_its_approvals(stage: Stage, digests: list[str]) -> None:
    assert stage.live() == (digests[0],) * 3


def test_a_model_that_passed_goes_live_when_two_people_sign(
    stage: Stage, passed: list[str]
) -> None:
    stage.promote(passed[1])
    assert stage.live() == (passed[1],) * 3
    now = stage.home.live(stage.model)
    assert now is not None
    assert now.previous_model == passed[0]
    deployment = stage.home.statement(now.deployment)
    verify_for_serving(
        passed[1], deployment, stage.by, stage.authority.revocations(), model=stage.model
    )
    assert parse(deployment.payload, Deployment).predicate.previous == passed[0]


def test_the_same_approvals_again_answer_as_the_first_time(stage: Stage, passed: list[str]) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    first = stage.promotion.promote(stage.model, passed[1], [approval])
    size = stage.authority.ledger.reader.size
    again = stage.promotion.promote(stage.model, passed[1], [approval])
    assert again.repeated
    assert again.deployment == first.deployment
    assert stage.authority.ledger.reader.size == size


def test_one_signature_is_not_enough(stage: Stage, passed: list[str]) -> None:
    assert refused(stage, passed[1], stage.approval("promote", passed[1], "dora")) == (
        "too_few_persons"
    )


def test_what_was_not_compared_is_not_promoted(stage: Stage, digests: list[str]) -> None:
    fake = "sha256:" + "0" * 64
    approval = stage.approval("promote", digests[1], "dora", "greta", shadow_report=fake)
    assert refused(stage, digests[1], approval) == "no_shadow_report"


def test_a_known_refusal_blocks_approvals(stage: Stage, passed: list[str]) -> None:
    refusal = stage.approval("promote", passed[1], "greta", decision="refuse", comment="no")
    stage.home.keep(refusal)
    approval = stage.approval("promote", passed[1], "dora", "greta")
    assert refused(stage, passed[1], approval) == "refused_by_person"


def test_approvals_that_are_kept_are_found(stage: Stage, passed: list[str]) -> None:
    one = stage.approval("promote", passed[1], "dora")
    keep(stage.authority, one)
    keep(stage.authority, stage.approval("promote", passed[1], "greta"))
    assert stage.promotion.promote(stage.model, passed[1]).candidate == passed[1]


def test_a_signer_who_saw_another_ledger_is_noticed(stage: Stage, passed: list[str]) -> None:
    from governance.predicates import LedgerHead  # noqa: PLC0415

    size = stage.authority.ledger.reader.size
    for head, reason in (
        (LedgerHead(size, "sha256:" + "0" * 64), "ledger_forked"),
        (LedgerHead(size + 5, "sha256:" + "0" * 64), "ledger_ahead"),
        (None, "no_ledger_head"),
    ):
        approval = stage.approval("promote", passed[1], "dora", "greta", ledger=head)
        assert refused(stage, passed[1], approval) == reason


def test_a_swap_that_fails_leaves_the_old_model_and_says_so(
    stage: Stage, passed: list[str]
) -> None:
    stage.double.refuses = True
    approval = stage.approval("promote", passed[1], "dora", "greta")
    assert refused(stage, passed[1], approval) == "plane_refused"
    assert stage.authority.state(stage.model).intent is None
    stage.double.refuses = False
    # The nonces are spent: they sign again.
    assert refused(stage, passed[1], approval) == "replayed_nonce"
    stage.promote(passed[1])


def test_a_gateway_that_is_away_leaves_nothing_half_done(stage: Stage, passed: list[str]) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    stage.double.away = True
    with pytest.raises(GovernanceError) as error:
        stage.promotion.promote(stage.model, passed[1], [approval])
    assert error.value.reason == "plane_away"
    stage.double.away = False
    stage.promotion.settle(stage.model)
    assert stage.live() == (passed[0],) * 3


def test_without_its_witness_nothing_is_promoted_and_serving_goes_on(
    stage: Stage, passed: list[str], tmp_path: Path
) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    witness = tmp_path / "witness.jsonl"
    kept = tmp_path / "kept"
    witness.rename(kept)
    witness.mkdir()
    assert refused(stage, passed[1], approval) == "not_witnessed"
    witness.rmdir()
    kept.rename(witness)
    stage.promotion.settle(stage.model)
    assert stage.live() == (passed[0],) * 3
    stage.promote(passed[1])
    assert stage.live() == (passed[1],) * 3


def test_an_outcome_that_cannot_be_logged_takes_the_swap_back(
    stage: Stage, passed: list[str]
) -> None:
    connection = stage.authority.ledger.reader.connection

    def read_only(step: str) -> None:
        if step == "served":
            connection.execute("PRAGMA query_only=ON")

    promotion = Promotion(stage.authority, read_only)
    approval = stage.approval("promote", passed[1], "dora", "greta")
    with pytest.raises(GovernanceError) as error:
        promotion.promote(stage.model, passed[1], [approval])
    assert error.value.reason == "read_only"
    assert stage.live() == (passed[0],) * 3
    connection.execute("PRAGMA query_only=OFF")
    promotion.settle(stage.model)
    assert stage.live() == (passed[0],) * 3
    assert stage.authority.state(stage.model).intent is None


def test_an_outcome_that_lacks_its_witness_is_shown_again_by_the_same_call(
    stage: Stage, passed: list[str], tmp_path: Path
) -> None:
    witness, kept = tmp_path / "witness.jsonl", tmp_path / "kept"

    def away(step: str) -> None:
        if step == "served":
            witness.rename(kept)
            witness.mkdir()

    promotion = Promotion(stage.authority, away)
    approval = stage.approval("promote", passed[1], "dora", "greta")
    with pytest.raises(GovernanceError) as error:
        promotion.promote(stage.model, passed[1], [approval])
    assert error.value.reason == "not_witnessed"
    assert stage.live() == (passed[1],) * 3
    witness.rmdir()
    kept.rename(witness)
    assert promotion.promote(stage.model, passed[1], [approval]).repeated


def test_an_approval_under_an_older_policy_that_is_kept_stands_in_nobodys_way(
    stage: Stage, passed: list[str]
) -> None:
    for changes in ({"policy": passed[0]}, {"evidence": passed[0]}, {"decision": "refuse"}):
        stale = stage.approval(
            "promote", passed[1], "greta", comment="no", **{"policy": passed[0]} | changes
        )
        keep(stage.authority, stale)
    keep(stage.authority, stage.approval("promote", passed[1], "dora", "greta"))
    assert stage.promotion.promote(stage.model, passed[1]).candidate == passed[1]


def test_what_a_service_or_a_trainer_signed_is_not_kept(stage: Stage, passed: list[str]) -> None:
    for name, reason in (("tom", "trainer_approves"), ("gateway-1", "service_approves")):
        with pytest.raises(GovernanceError) as error:
            keep(stage.authority, stage.approval("promote", passed[1], name))
        assert error.value.reason == reason


def test_a_broken_glass_makes_live_without_a_report(stage: Stage, digests: list[str]) -> None:
    glass = stage.glass(digests[2], "sam", "olga")
    stage.promotion.promote(stage.model, digests[2], [glass])
    assert stage.live() == (digests[2],) * 3
    assert stage.authority.state(stage.model).glass_until == stage.clock + 600


def test_a_broken_glass_takes_two_people(stage: Stage, digests: list[str]) -> None:
    assert refused(stage, digests[2], stage.glass(digests[2], "olga")) == "too_few_persons"
