"""The fold: every state with every event, the guards, two-phase promotion, rollback, revocation."""

from collections.abc import Callable

import pytest

from governance.ledger.kinds import KINDS
from governance.states import TransitionError
from governance.states.__main__ import PAGE
from governance.states.guards import GUARDS
from governance.states.page import BRANCHES, render
from governance.states.table import FINAL, MODELSMITH, STATES, TABLE
from tests.governance.ledgers import NOW, digest
from tests.governance.states.story import MODEL, TRAINER, Story

Bring = Callable[[Story], None]


def _candidate(story: Story) -> None:
    story.first("a")
    story.register("b")


def _eval_accepted(story: Story) -> None:
    _candidate(story)
    story.step("accept_eval", "b", evaluation=digest(1))


def _exported(story: Story) -> None:
    story.first("a")
    story.exported("b")


def _shadowing(story: Story) -> None:
    _exported(story)
    story.shadow("b")


def _canary(story: Story) -> None:
    story.first("a")
    story.passed("b")
    story.intend("b")
    story.step("canary", "b", share="0.01")


def _live(story: Story) -> None:
    story.first("a")
    story.promoted("b")


def _validated(story: Story) -> None:
    _live(story)
    story.step("validate", "b", approvals=story.by("domain_expert"), report=digest(1))


def _superseded(story: Story) -> None:
    _live(story)
    story.promoted("c")
    story.promoted("d")


def _deprecated(story: Story) -> None:
    _superseded(story)
    story.step("deprecate", "b", approvals=story.by("operator"))


def _rejected(story: Story) -> None:
    _shadowing(story)
    story.result("b", "FAIL")


def _rolled_back(story: Story) -> None:
    _live(story)
    story.step("rollback", "b", approvals=story.by("operator"))


def _revoked(story: Story) -> None:
    _exported(story)
    story.step("revoke", "b", approvals=story.by("security"), revocation=digest(1))


BRING: dict[str, Bring] = {
    "candidate": _candidate,
    "eval_accepted": _eval_accepted,
    "exported": _exported,
    "shadowing": _shadowing,
    "canary": _canary,
    "live": _live,
    "validated": _validated,
    "superseded": _superseded,
    "deprecated": _deprecated,
    "rejected": _rejected,
    "rolled_back": _rolled_back,
    "revoked": _revoked,
}
SEND: dict[str, Bring] = {
    "register": lambda s: s.register("b"),
    "accept_eval": lambda s: s.step("accept_eval", "b", evaluation=digest(1)),
    "fail_eval": lambda s: s.step("fail_eval", "b", evaluation=digest(1)),
    "export": lambda s: s.step("export", "b", bundle=digest(1)),
    "shadow": lambda s: s.shadow("b"),
    "shadow_result": lambda s: s.result("b", "PASS"),
    "stop_shadow": lambda s: s.step("stop_shadow", "b", cause="operator"),
    "refuse": lambda s: s.step("refuse", "b", approvals=s.by("domain_expert")),
    "promote_intent": lambda s: s.intend("b"),
    "canary": lambda s: s.step("canary", "b", share="0.01"),
    "canary_result": lambda s: s.step("canary_result", "b", report=digest(2), verdict="PASS"),
    "promote_done": lambda s: s.done("b"),
    "promote_failed": lambda s: s.step("promote_failed", "b", cause="load"),
    "validate": lambda s: s.step(
        "validate", "b", approvals=s.by("domain_expert"), report=digest(1)
    ),
    "deprecate": lambda s: s.step("deprecate", "b", approvals=s.by("operator")),
    "rollback": lambda s: s.step("rollback", "b", approvals=s.by("operator")),
    "revoke": lambda s: s.step("revoke", "b", approvals=s.by("security"), revocation=digest(1)),
    "break_glass": lambda s: s.break_glass("b"),
    "break_glass_expired": lambda s: s.step("break_glass_expired", "b"),
    "review": lambda s: s.step(
        "review", "b", approvals=s.by("domain_expert", "governance_approver")
    ),
}
# What each event makes of each state it is possible in; every other pair is refused.
ALLOWED = {
    ("candidate", "accept_eval"): "eval_accepted",
    ("candidate", "fail_eval"): "rejected",
    ("candidate", "refuse"): "rejected",
    ("candidate", "revoke"): "revoked",
    ("eval_accepted", "export"): "exported",
    ("eval_accepted", "refuse"): "rejected",
    ("eval_accepted", "revoke"): "revoked",
    ("exported", "shadow"): "shadowing",
    ("exported", "refuse"): "rejected",
    ("exported", "deprecate"): "deprecated",
    ("exported", "revoke"): "revoked",
    ("exported", "break_glass"): "exported",
    ("shadowing", "shadow_result"): "shadowing",
    ("shadowing", "stop_shadow"): "exported",
    ("shadowing", "refuse"): "rejected",
    ("shadowing", "revoke"): "revoked",
    ("shadowing", "break_glass"): "shadowing",
    ("canary", "canary_result"): "canary",
    ("canary", "promote_failed"): "exported",
    ("canary", "revoke"): "revoked",
    ("live", "validate"): "validated",
    ("live", "rollback"): "rolled_back",
    ("live", "revoke"): "revoked",
    ("validated", "rollback"): "rolled_back",
    ("validated", "revoke"): "revoked",
    ("superseded", "shadow"): "shadowing",
    ("superseded", "deprecate"): "deprecated",
    ("superseded", "revoke"): "revoked",
    ("superseded", "break_glass"): "superseded",
    ("rolled_back", "shadow"): "shadowing",
    ("rolled_back", "deprecate"): "deprecated",
    ("rolled_back", "revoke"): "revoked",
    ("rolled_back", "break_glass"): "rolled_back",
    ("rolled_back", "review"): "rolled_back",
}
# Refusals that are not about the state itself; all others are `wrong_state`.
GUARDED = {
    ("exported", "promote_intent"): "shadow_required",
    ("shadowing", "promote_intent"): "not_passed",
    ("shadowing", "canary"): "no_intent",
    ("canary", "promote_done"): "canary_not_passed",
    ("live", "break_glass_expired"): "no_glass",
    ("validated", "break_glass_expired"): "no_glass",
    **{(state, "register"): "registered_before" for state in STATES},
    **{(state, "review"): "no_review" for state in STATES if state != "rolled_back"},
    **{
        (state, event): "no_intent"
        for state in ("shadowing", "exported", "superseded", "rolled_back")
        for event in ("promote_done", "promote_failed")
    },
}


@pytest.mark.parametrize("event", TABLE)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state_does_what_it_should_or_is_refused(
    state: str, event: str
) -> None:
    story = Story()
    BRING[state](story)
    assert story.state("b") == state
    before = story.registry
    if (state, event) in ALLOWED:
        SEND[event](story)
        assert story.state("b") == ALLOWED[state, event]
        return
    with pytest.raises(TransitionError) as refused:
        SEND[event](story)
    assert refused.value.reason == GUARDED.get((state, event), "wrong_state")
    assert story.registry is before


def test_no_event_but_register_is_about_an_unknown_candidate() -> None:
    for event, send in SEND.items():
        if event not in ("register", "shadow_result"):
            with pytest.raises(TransitionError) as refused:
                send(Story())
            assert refused.value.reason == "not_registered"


def test_every_event_has_its_ledger_entry_with_its_evidence_and_approvals() -> None:
    for name, row in TABLE.items():
        assert set(row.evidence) <= KINDS[name].keys()
        assert bool(row.all_of or row.one_of) == ("approvals" in KINDS[name])
        assert ("cause" in KINDS[name]) <= (not row.all_of)


def test_every_guard_that_is_defined_is_used_and_every_branch_is_of_an_event() -> None:
    assert set(GUARDS) == {name for row in TABLE.values() for name in row.guards}
    assert set(BRANCHES) <= set(TABLE)
    assert {state for states in MODELSMITH.values() for state in states} <= set(STATES)
    assert all(not set(row.sources) & FINAL for name, row in TABLE.items() if name != "review")


def test_the_page_of_states_is_current() -> None:
    assert PAGE.read_text() == render(), "run python -m governance.states --write"


@pytest.mark.parametrize(("verdict", "state"), [("FAIL", "rejected"), ("INCONCLUSIVE", "exported")])
def test_a_comparison_that_did_not_pass_ends(verdict: str, state: str) -> None:
    story = Story()
    _shadowing(story)
    story.result("b", verdict)
    assert story.state("b") == state


@pytest.mark.parametrize(("verdict", "state"), [("FAIL", "rejected"), ("INCONCLUSIVE", "exported")])
def test_a_canary_that_did_not_pass_ends_the_promotion(verdict: str, state: str) -> None:
    story = Story()
    _canary(story)
    story.step("canary_result", "b", report=digest(2), verdict=verdict)
    assert (story.state("b"), story.incumbent) == (state, digest("a"))
    assert story.registry.model(MODEL).intent is None


def test_a_canary_that_passed_goes_live() -> None:
    story = Story()
    _canary(story)
    story.step("canary_result", "b", report=digest(2), verdict="PASS")
    story.done("b")
    assert (story.incumbent, story.state("a")) == (digest("b"), "superseded")


def test_a_promotion_supersedes_the_incumbent_and_keeps_it_for_a_rollback() -> None:
    story = Story()
    _live(story)
    model = story.registry.model(MODEL)
    assert (model.incumbent, model.previous) == (digest("b"), digest("a"))
    assert story.state("a") == "superseded"


def test_a_rollback_gives_the_previous_model_back_what_it_was() -> None:
    story = Story()
    story.first("a")
    story.step("validate", "a", approvals=story.by("domain_expert"), report=digest(1))
    story.promoted("b")
    story.step("rollback", "b", approvals=story.by("operator"))
    assert (story.incumbent, story.state("a"), story.state("b")) == (
        digest("a"),
        "validated",
        "rolled_back",
    )
    with pytest.raises(TransitionError) as refused:
        story.step("rollback", "a", approvals=story.by("operator"))
    assert refused.value.reason == "no_previous"


def test_a_rollback_voids_the_promotion_that_is_open() -> None:
    story = Story()
    _live(story)
    story.passed("c")
    story.intend("c")
    story.step("rollback", "b", approvals=story.by("operator"))
    assert story.state("c") == "exported"
    with pytest.raises(TransitionError) as refused:
        story.done("c")
    assert refused.value.reason == "no_intent"


def test_a_review_that_is_overdue_stops_promotions_until_two_people_sign() -> None:
    story = Story()
    _rolled_back(story)
    story.passed("c")
    story.now = NOW + 72 * 3600 + 1
    with pytest.raises(TransitionError) as refused:
        story.intend("c")
    assert refused.value.reason == "review_overdue"
    SEND["review"](story)
    story.intend("c")


def test_revoking_the_live_model_brings_the_previous_back() -> None:
    story = Story()
    _live(story)
    SEND["revoke"](story)
    assert (story.incumbent, story.state("a"), story.state("b")) == (digest("a"), "live", "revoked")
    story.step("revoke", "a", approvals=story.by("security"), revocation=digest(2))
    assert story.incumbent is None


def test_revoking_the_previous_model_leaves_nothing_to_roll_back_to() -> None:
    story = Story()
    _live(story)
    story.step("revoke", "a", approvals=story.by("security"), revocation=digest(2))
    with pytest.raises(TransitionError) as refused:
        story.step("rollback", "b", approvals=story.by("operator"))
    assert refused.value.reason == "no_previous"


def test_a_broken_glass_expires_and_asks_for_a_review() -> None:
    story = Story()
    _exported(story)
    story.break_glass("b")
    story.done("b")
    assert (story.incumbent, story.registry.model(MODEL).review_due) == (
        digest("b"),
        NOW + 72 * 3600,
    )
    with pytest.raises(TransitionError) as early:
        story.step("break_glass_expired", "b")
    assert early.value.reason == "glass_not_expired"
    story.now += 3600
    story.step("break_glass_expired", "b")
    assert (story.incumbent, story.state("b")) == (digest("a"), "rolled_back")


@pytest.mark.parametrize("expires", [NOW, NOW - 1, NOW + 24 * 3600 + 1])
def test_a_broken_glass_is_for_a_day_at_most(expires: int) -> None:
    story = Story()
    _exported(story)
    with pytest.raises(TransitionError) as refused:
        story.break_glass("b", expires=expires)
    assert refused.value.reason == "bad_expiry"


def test_a_broken_glass_has_no_canary() -> None:
    story = Story()
    _shadowing(story)
    story.break_glass("b")
    with pytest.raises(TransitionError) as refused:
        SEND["canary"](story)
    assert refused.value.reason == "glass_has_no_canary"


def test_attempts_are_counted_for_all_candidates_against_one_incumbent() -> None:
    story = Story()
    story.first("a")
    for name in ("b", "c"):
        story.exported(name)
        story.shadow(name)
        story.result(name, "INCONCLUSIVE")
    with pytest.raises(TransitionError) as refused:
        story.shadow("b", attempt=1)
    assert refused.value.reason == "wrong_attempt"
    story.shadow("b", attempt=3)
    story.result("b", "PASS")
    story.intend("b")
    story.done("b")
    story.exported("d")
    story.shadow("d", attempt=1)


def test_one_verdict_a_run() -> None:
    story = Story()
    _shadowing(story)
    story.result("b", "PASS")
    with pytest.raises(TransitionError) as refused:
        story.result("b", "PASS")
    assert refused.value.reason == "verdict_stands"


def test_one_promotion_at_a_time() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    story.passed("c")
    story.intend("b")
    with pytest.raises(TransitionError) as refused:
        story.intend("c")
    assert refused.value.reason == "intent_open"
    for event in ("stop_shadow", "refuse"):
        with pytest.raises(TransitionError) as held:
            SEND[event](story)
        assert held.value.reason == "intent_open"


def test_a_promotion_that_failed_can_be_signed_for_again() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    story.intend("b")
    SEND["promote_failed"](story)
    assert (story.state("b"), story.incumbent) == ("shadowing", digest("a"))
    story.intend("b")
    story.done("b")
    assert story.incumbent == digest("b")


def test_what_is_kept_for_a_rollback_is_not_shadowed() -> None:
    story = Story()
    _live(story)
    with pytest.raises(TransitionError) as refused:
        story.shadow("a")
    assert refused.value.reason == "is_previous"


def test_the_first_model_has_nothing_to_be_compared_with() -> None:
    story = Story()
    story.exported("a")
    with pytest.raises(TransitionError) as compared:
        story.shadow("a")
    assert compared.value.reason == "no_incumbent"
    with pytest.raises(TransitionError) as reported:
        story.intend("a", report=digest(1))
    assert reported.value.reason == "wrong_report"


def test_a_trainer_approves_nothing_about_its_own_candidate() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    approvals = story.by("domain_expert", "governance_approver")
    approvals[0]["signers"][0]["key"] = TRAINER
    with pytest.raises(TransitionError) as refused:
        story.intend("b", approvals=approvals)
    assert refused.value.reason == "trainer_signed"


def test_one_key_is_not_two_roles() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    approvals = story.by("domain_expert", "governance_approver")
    approvals[1]["signers"][0]["key"] = approvals[0]["signers"][0]["key"]
    with pytest.raises(TransitionError) as refused:
        story.intend("b", approvals=approvals)
    assert refused.value.reason == "one_key_two_roles"


def test_one_statement_signed_by_both_is_enough() -> None:
    story = Story()
    story.first("a")
    story.passed("b")
    one, other = story.by("domain_expert", "governance_approver")
    one["signers"] += other["signers"]
    story.intend("b", approvals=[one])
    story.done("b")
    assert story.incumbent == digest("b")


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(TransitionError) as refused:
        Story().step("bless", "a")
    assert refused.value.reason == "unknown_event"
