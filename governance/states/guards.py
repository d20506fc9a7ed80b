"""Conditions on an event beyond state and roles. Each refuses for its own reason, or says nothing.

The conditions are those of the table's `guards`; a name there without a function here does not
import.
"""

from collections.abc import Callable, Mapping

from governance.states.model import Candidate, Event, Intent, ModelState, TransitionError
from governance.states.table import EXPORTED, TABLE

Guard = Callable[[ModelState, Candidate, Event], None]
LONGEST_GLASS = 24 * 3600


def _refuse(reason: str, sentence: str) -> None:
    raise TransitionError(reason, sentence)


def _incumbent_there(model: ModelState, _: Candidate, event: Event) -> None:
    if model.incumbent is None:
        _refuse(
            "no_incumbent",
            f"nothing of {event.model} is live to compare with; the first model is promoted from "
            "exported by its approvals",
        )


def _incumbent_same(model: ModelState, _: Candidate, event: Event) -> None:
    expected = event.body["incumbent"]
    if expected != model.incumbent:
        _refuse(
            "incumbent_moved",
            f"{event.kind} expects {expected} to be live, but {model.incumbent} is: compare with "
            "that one, and sign again",
        )


def _not_previous(model: ModelState, _: Candidate, event: Event) -> None:
    if event.candidate == model.previous:
        _refuse(
            "is_previous",
            f"{event.candidate} is what a rollback goes back to; roll back instead of shadowing it",
        )


def _attempt_next(model: ModelState, _: Candidate, event: Event) -> None:
    spent = model.attempts.get(model.incumbent or "", 0)
    if event.body["attempt"] != spent + 1:
        _refuse(
            "wrong_attempt",
            f"this would be attempt {spent + 1} against this incumbent, not "
            f"{event.body['attempt']}",
        )


def _attempt_current(_: ModelState, candidate: Candidate, event: Event) -> None:
    if event.body["attempt"] != candidate.attempt:
        _refuse(
            "wrong_attempt",
            f"the report is of attempt {event.body['attempt']}, the run is {candidate.attempt}",
        )


def _no_verdict_yet(_: ModelState, candidate: Candidate, event: Event) -> None:
    if candidate.report is not None:
        _refuse("verdict_stands", f"the run of {event.candidate} has its verdict already")


def _no_intent(model: ModelState, _: Candidate, event: Event) -> None:
    if model.intent is not None and model.intent.candidate == event.candidate:
        _refuse("intent_open", f"{event.candidate} is being promoted; wait for the outcome")


def _no_open_intent(model: ModelState, _: Candidate, event: Event) -> None:
    if model.intent is not None:
        _refuse(
            "intent_open",
            f"{model.intent.candidate} is being promoted; one promotion of {event.model} at a time",
        )


def _intent(model: ModelState, event: Event) -> Intent:
    if model.intent is None or model.intent.candidate != event.candidate:
        raise TransitionError(
            "no_intent", f"no promotion of {event.candidate} is open: promote_intent comes first"
        )
    return model.intent


def _own_intent(model: ModelState, _: Candidate, event: Event) -> None:
    _intent(model, event)


def _not_break_glass(model: ModelState, _: Candidate, event: Event) -> None:
    if _intent(model, event).expires is not None:
        _refuse("glass_has_no_canary", "a broken glass swaps at once; it has no canary")


def _no_canary_verdict_yet(model: ModelState, _: Candidate, event: Event) -> None:
    if _intent(model, event).canary is not None:
        _refuse("verdict_stands", f"the canary of {event.candidate} has its verdict already")


def _canary_passed(model: ModelState, candidate: Candidate, event: Event) -> None:
    if candidate.state == "canary" and _intent(model, event).canary != "PASS":
        _refuse("canary_not_passed", f"the canary of {event.candidate} has not passed")


def _review_not_overdue(model: ModelState, _: Candidate, event: Event) -> None:
    if model.review_due is not None and event.at > model.review_due:
        _refuse(
            "review_overdue",
            f"the last rollback or broken glass of {event.model} was to be reviewed by "
            f"{model.review_due}; a domain expert and a governance approver sign `review` first",
        )


def _passed(model: ModelState, candidate: Candidate, event: Event) -> None:
    if candidate.state == EXPORTED and model.incumbent is None:
        if event.body["report"] is not None:
            _refuse("wrong_report", "there was nothing to compare with; the report must be null")
        return
    if candidate.state == "shadowing" and candidate.report is None:
        _refuse("not_passed", f"the comparison of {event.candidate} has not passed yet")
    if candidate.state == EXPORTED:
        _refuse(
            "shadow_required", f"{event.candidate} was not compared with the model that is live now"
        )
    if candidate.state == "shadowing" and event.body["report"] != candidate.report:
        _refuse(
            "wrong_report",
            f"the approvals are for report {event.body['report']}, the run's is {candidate.report}",
        )


def _head_seen(_: ModelState, candidate: Candidate, event: Event) -> None:
    for approval in event.approvals:
        if not candidate.report_index < approval["head"] <= event.index:
            _refuse(
                "approved_before_report",
                f"approval {approval['statement']} saw {approval['head']} entries, the report is "
                f"entry {candidate.report_index} and this one {event.index}: sign again",
            )


def _previous_there(model: ModelState, _: Candidate, event: Event) -> None:
    if model.previous is None:
        _refuse("no_previous", f"there is no earlier model of {event.model} to go back to")


def _expires_soon(_: ModelState, __: Candidate, event: Event) -> None:
    if not event.at < event.body["expires"] <= event.at + LONGEST_GLASS:
        _refuse("bad_expiry", "a broken glass expires within 24 hours, and not in the past")


def _glass_expired(model: ModelState, _: Candidate, event: Event) -> None:
    if model.glass_until is None or event.candidate != model.incumbent:
        _refuse("no_glass", f"{event.candidate} is not live by a broken glass")
    elif event.at < model.glass_until:
        _refuse("glass_not_expired", f"the broken glass holds until {model.glass_until}")


def _review_open(model: ModelState, _: Candidate, event: Event) -> None:
    if model.review_due is None:
        _refuse("no_review", f"no review of {event.model} is open")


GUARDS: Mapping[str, Guard] = {
    name: globals()[f"_{name}"] for row in TABLE.values() for name in row.guards
}
