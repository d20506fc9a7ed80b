"""Attacks on the state machine: past the roles, past a rejection, past the comparison."""

import pytest

from governance.states import TransitionError
from governance.states.table import TABLE
from tests.governance.ledgers import digest
from tests.governance.states.story import MODEL, Story


def refusal(story: Story, step: object) -> str:
    assert callable(step)
    before = story.registry
    with pytest.raises(TransitionError) as refused:
        step()
    assert story.registry is before
    return refused.value.reason


@pytest.mark.parametrize("role", ["auditor", "gateway", "ledger", "root", "admin"])
@pytest.mark.parametrize("event", [name for name, row in TABLE.items() if row.all_of or row.one_of])
def test_a_role_that_is_not_in_the_table_signs_nothing(event: str, role: str) -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    approvals = [*story.by(*TABLE[event].all_of), *story.by(role)]
    assert refusal(story, lambda: story.step(event, "b", approvals=approvals)) == (
        "role_not_in_table"
    )


@pytest.mark.parametrize("event", [name for name, row in TABLE.items() if row.all_of])
def test_no_role_of_those_that_must_sign_can_be_left_out(event: str) -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    for missing in TABLE[event].all_of:
        signed = story.by(*(role for role in TABLE[event].all_of if role != missing))
        assert refusal(story, lambda s=signed: story.step(event, "b", approvals=s)) == (
            "role_missing"
        )


def test_a_refusal_nobody_signed_is_none() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    assert refusal(story, lambda: story.step("refuse", "b", approvals=[])) == "role_missing"


def test_a_rejected_candidate_does_not_come_back_even_with_signatures() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    story.shadow("b")
    story.result("b", "FAIL")
    assert refusal(story, lambda: story.intend("b")) == "wrong_state"
    assert refusal(story, lambda: story.shadow("b")) == "wrong_state"
    assert refusal(story, lambda: story.break_glass("b")) == "wrong_state"
    assert refusal(story, lambda: story.register("b")) == "registered_before"


def test_of_two_approved_candidates_the_second_has_to_shadow_again() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    story.passed("c")
    story.intend("b")
    signed = story.by("domain_expert", "governance_approver")
    story.done("b")
    again = lambda: story.intend("c", approvals=signed, incumbent=digest("a"))  # noqa: E731
    assert refusal(story, again) == "incumbent_moved"
    assert refusal(story, lambda: story.intend("c")) == "shadow_required"
    story.shadow("c")
    assert refusal(story, lambda: story.intend("c")) == "not_passed"
    story.result("c", "PASS")
    story.intend("c")


def test_an_approval_older_than_the_report_does_not_count() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    story.shadow("b")
    early = story.by("domain_expert", "governance_approver")
    story.result("b", "PASS")
    assert refusal(story, lambda: story.intend("b", approvals=early)) == "approved_before_report"


def test_an_approval_that_saw_a_future_ledger_does_not_count() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    signed = story.by("domain_expert", "governance_approver", head=story.index + 1)
    assert refusal(story, lambda: story.intend("b", approvals=signed)) == "approved_before_report"


def test_an_approval_of_another_report_does_not_count() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    assert refusal(story, lambda: story.intend("b", report=digest("other"))) == "wrong_report"
    assert refusal(story, lambda: story.intend("b", report=None)) == "wrong_report"


def test_an_approval_is_spent_once() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    signed = story.by("domain_expert", "governance_approver")
    story.intend("b", approvals=signed)
    story.step("promote_failed", "b", cause="load")
    assert refusal(story, lambda: story.intend("b", approvals=signed)) == "nonce_used"


def test_a_promotion_that_was_never_decided_is_not_done() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    assert refusal(story, lambda: story.done("b")) == "no_intent"


def test_taking_the_live_model_away_is_no_way_round_the_comparison() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    gone = lambda: story.step("deprecate", "a", approvals=story.by("operator"))  # noqa: E731
    assert refusal(story, gone) == "wrong_state"
    assert refusal(story, lambda: story.intend("b", incumbent=None, report=None)) == (
        "incumbent_moved"
    )


def test_a_verdict_on_another_incumbent_is_refused() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    story.shadow("b")
    wrong = lambda: story.step(  # noqa: E731
        "shadow_result",
        "b",
        incumbent=digest("x"),
        attempt=1,
        report=digest("r"),
        verdict="PASS",
    )
    assert refusal(story, wrong) == "incumbent_moved"


def test_alpha_is_not_won_back_by_calling_an_attempt_the_first() -> None:
    story = Story()
    story.first("a")
    story.exported("b")
    story.shadow("b")
    story.result("b", "INCONCLUSIVE")
    assert refusal(story, lambda: story.shadow("b", attempt=1)) == "wrong_attempt"
    assert story.registry.model(MODEL).attempts == {digest("a"): 1}


def test_a_revoked_model_is_not_brought_back_by_a_rollback() -> None:
    story = Story()
    story.first("a")
    story.promoted("b")
    story.step("revoke", "a", approvals=story.by("security"), revocation=digest(1))
    back = lambda: story.step("rollback", "b", approvals=story.by("operator"))  # noqa: E731
    assert refusal(story, back) == "no_previous"
