"""Attacks with genuine approvals, used for something else, late, or twice."""

from typing import Any

import pytest

from governance.dsse import Envelope
from governance.errors import GovernanceError
from tests.governance.signing import (
    DAY,
    NOW,
    Promotion,
    approval,
    digest_of,
    gate,
    policy,
    signed,
    verified_report,
)

PROMOTION = Promotion(policy())
GOOD = PROMOTION.approved("dora", "greta")


def refusal(*envelopes: Envelope, **changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        PROMOTION.verify(*envelopes, **changes)
    return refused.value.reason


def approved(**changes: Any) -> Envelope:
    return PROMOTION.approved("dora", "greta", **changes)


def test_an_approval_older_than_the_shadow_report_is_refused() -> None:
    assert refusal(approved(not_before=NOW - 3601)) == "older_than_report"


def test_an_approval_for_another_shadow_report_is_refused() -> None:
    assert refusal(approved(shadow_report=digest_of("another"))) == "wrong_shadow_report"


def test_an_approval_is_not_carried_over_to_a_second_comparison() -> None:
    second = verified_report(PROMOTION.by, attempt=2)
    assert refusal(GOOD, shadow_report=second) == "wrong_shadow_report"


def test_an_approval_for_another_route_is_refused() -> None:
    other = verified_report(PROMOTION.by)
    assert refusal(GOOD, model="fraud-2", shadow_report=other) == "wrong_model"
    rollback: dict[str, Any] = {"action": "rollback", "shadow_report": None}
    envelope = PROMOTION.approved("olga", **rollback)
    assert refusal(envelope, model="fraud-2", **rollback) == "wrong_model"


def test_a_report_is_not_lent_to_another_route() -> None:
    envelope = signed(approval(PROMOTION.by), "dora", "greta", model="fraud-2")
    assert refusal(envelope, model="fraud-2") == "wrong_model"


def test_a_report_is_not_lent_to_another_incumbent() -> None:
    moved = digest_of("new incumbent")
    assert refusal(approved(incumbent=moved), incumbent=moved) == "wrong_incumbent"


def test_a_policy_is_not_lent_to_another_fleet() -> None:
    us = "bidders-us"
    assert refusal(approved(audience=us), audience=us) == "wrong_audience"


def test_an_approval_for_another_fleet_is_refused() -> None:
    assert refusal(approved(audience="bidders-us")) == "wrong_audience"
    assert refusal(GOOD, audience="bidders-us") == "wrong_audience"


def test_an_approval_for_another_candidate_is_refused() -> None:
    assert refusal(approved(candidate=digest_of("other"))) == "wrong_candidate"


def test_a_report_on_another_candidate_is_refused() -> None:
    other = verified_report(PROMOTION.by, candidate=digest_of("other"))
    assert refusal(GOOD, shadow_report=other) == "wrong_candidate"


def test_an_approval_is_refused_once_the_incumbent_has_moved() -> None:
    moved = digest_of("new incumbent")
    report = verified_report(PROMOTION.by, incumbent=moved)
    assert refusal(GOOD, incumbent=moved, shadow_report=report) == "wrong_incumbent"
    assert refusal(GOOD, incumbent=moved) == "wrong_incumbent"


def test_an_approval_for_another_action_is_refused() -> None:
    assert refusal(approved(action="validate")) == "wrong_action"


def test_an_approval_on_other_evidence_is_refused() -> None:
    assert refusal(approved(evidence=digest_of("other"))) == "wrong_evidence"


@pytest.mark.parametrize("changes", [{"policy": digest_of("other")}, {"policy_version": 2}])
def test_an_approval_under_another_policy_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(approved(**changes)) == "wrong_policy"


def test_an_expired_approval_is_refused() -> None:
    assert refusal(GOOD, now=NOW + 3600) == "expired"


def test_an_approval_is_not_valid_for_longer_than_the_policy_allows() -> None:
    assert refusal(approved(expires=NOW - 60 + DAY + 1)) == "valid_too_long"
    PROMOTION.verify(approved(expires=NOW - 60 + DAY))


def test_a_nonce_that_was_used_is_refused() -> None:
    used = PROMOTION.verify(GOOD).nonces
    assert refusal(GOOD, used_nonces=used) == "replayed_nonce"


def test_other_words_around_a_used_nonce_do_not_renew_it() -> None:
    used = PROMOTION.verify(GOOD).nonces
    assert refusal(approved(comment="again"), used_nonces=used) == "replayed_nonce"


def test_a_clock_set_back_to_before_the_approval_is_noticed() -> None:
    assert refusal(approved(not_before=NOW - 60), now=NOW - 121) == "not_yet_valid"


def test_a_clock_set_back_to_before_the_comparison_ended_is_noticed() -> None:
    assert refusal(GOOD, now=NOW - DAY) == "clock_set_back"


def test_a_clock_behind_what_was_recorded_is_noticed() -> None:
    late = NOW + 4000
    assert refusal(GOOD, now=late) == "expired"
    assert refusal(GOOD, now=NOW, clock_floor=late) == "clock_set_back"


def test_a_candidate_that_failed_is_not_promoted_with_any_signatures() -> None:
    for verdict in ("FAIL", "INCONCLUSIVE"):
        report = verified_report(PROMOTION.by, verdict=verdict, gates=(gate(state=verdict),))
        envelope = approved(shadow_report=report.digest)
        assert refusal(envelope, shadow_report=report) == "verdict_not_pass"


def test_one_stale_approval_spoils_the_lot() -> None:
    stale = PROMOTION.approved("greta", evidence=digest_of("old"), nonce="d" * 32)
    assert refusal(PROMOTION.approved("dora"), stale) == "wrong_evidence"
