"""The fold: a registry's state and one event give the next state, or a refusal with its reason.

The registry is nothing but this fold over the ledger's entries, so that replaying the ledger gives
it back bit for bit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from governance.states.guards import GUARDS
from governance.states.model import (
    Candidate,
    Event,
    Intent,
    ModelState,
    Registry,
    TransitionError,
)
from governance.states.table import (
    CANARY,
    CANDIDATE,
    EXPORTED,
    LIVE,
    REJECTED,
    REVIEW_SECONDS,
    SHADOWING,
    SUPERSEDED,
    TABLE,
    Transition,
)

V = TypeVar("V")
Effect = Callable[[ModelState, Event], ModelState]


def fold(events: Iterable[Event], registry: Registry | None = None) -> Registry:
    """Apply events one after another.

    Raises:
        TransitionError: one of them is refused; the ledger then holds what it never should.

    """
    state = registry or Registry()
    for event in events:
        state = apply(state, event)
    return state


def apply(registry: Registry, event: Event) -> Registry:
    """State after the event. Nothing is changed in place.

    Raises:
        TransitionError: the event is unknown, not signed by the roles that it needs, not possible
            in this state, or one of its guards refuses it; `reason` says which.

    """
    row = TABLE.get(event.kind)
    if row is None:
        raise TransitionError("unknown_event", f"there is no event {event.kind}")
    model = registry.model(event.model)
    nonces = [approval["nonce"] for approval in event.approvals]
    if len(set(nonces)) < len(nonces) or registry.nonces.intersection(nonces):
        raise TransitionError("nonce_used", "an approval's nonce was used before: sign again")
    candidate = _candidate(model, event)
    _signed(row, candidate, event)
    state = candidate.state if candidate is not None else None
    if state not in row.sources:
        possible = ", ".join(s or "nothing" for s in row.sources)
        raise TransitionError(
            "wrong_state",
            f"{event.kind} is not possible while {event.candidate} is {state or 'not registered'}; "
            f"it is from {possible}",
        )
    if candidate is not None:
        for name in row.guards:
            GUARDS[name](model, candidate, event)
        if row.target is not None:
            model = _moved(model, event.candidate, row.target)
    effect = EFFECTS.get(event.kind)
    after = effect(model, event) if effect is not None else model
    models = MappingProxyType({**registry.models, event.model: after})
    return Registry(models, registry.nonces.union(nonces))


def _candidate(model: ModelState, event: Event) -> Candidate | None:
    if event.kind == "register":
        if event.candidate in model.candidates:
            raise TransitionError(
                "registered_before", f"{event.candidate} is known: a digest is registered once"
            )
        return None
    found = model.candidates.get(event.candidate)
    if found is None:
        raise TransitionError(
            "not_registered", f"{event.candidate} is no candidate of {event.model}"
        )
    return found


def _signed(row: Transition, candidate: Candidate | None, event: Event) -> None:
    """Every role that must sign has, each with a key of its own, none of them the trainer's.

    That two keys are two persons the verifier knows, which has the policy: the ledger has no names.
    """
    keys: dict[str, set[str]] = {}
    for approval in event.approvals:
        for signer in approval["signers"]:
            keys.setdefault(signer["role"], set()).add(signer["key"])
            if candidate is not None and signer["key"] == candidate.trainer:
                raise TransitionError(
                    "trainer_signed", "who proposed a candidate can approve nothing about it"
                )
    if unknown := keys.keys() - {*row.all_of, *row.one_of}:
        raise TransitionError(
            "role_not_in_table", f"{event.kind} is not signed by {', '.join(sorted(unknown))}"
        )
    if missing := [role for role in row.all_of if role not in keys]:
        raise TransitionError(
            "role_missing", f"{event.kind} needs the signature of {' and '.join(missing)}"
        )
    if row.one_of and not keys:
        raise TransitionError(
            "role_missing", f"{event.kind} needs the signature of {' or '.join(row.one_of)}"
        )
    if not _distinct([keys[role] for role in row.all_of]):
        raise TransitionError(
            "one_key_two_roles", f"{event.kind} needs {len(row.all_of)} different keys"
        )


def _distinct(sets: list[set[str]]) -> bool:
    """Whether one key can be picked from each set, all different. There are at most two sets."""
    return len(sets) < 2 or len(set().union(*sets)) >= len(sets)


def _moved(model: ModelState, digest: str, state: str, **more: Any) -> ModelState:
    after = replace(model.candidates[digest], state=state, **more)
    return replace(model, candidates=_with(model.candidates, digest, after))


def _with(mapping: Mapping[str, V], key: str, value: V) -> Mapping[str, V]:
    return MappingProxyType({**mapping, key: value})


def _register(model: ModelState, event: Event) -> ModelState:
    new = Candidate(CANDIDATE, str(event.body["trainer"]))
    return replace(model, candidates=_with(model.candidates, event.candidate, new))


def _export(model: ModelState, event: Event) -> ModelState:
    return _moved(model, event.candidate, EXPORTED, bundle=str(event.body["bundle"]))


def _shadow(model: ModelState, event: Event) -> ModelState:
    attempt = int(event.body["attempt"])
    model = replace(model, attempts=_with(model.attempts, str(model.incumbent), attempt))
    return _moved(model, event.candidate, SHADOWING, attempt=attempt, report=None, report_index=-1)


def _shadow_result(model: ModelState, event: Event) -> ModelState:
    verdict = event.body["verdict"]
    if verdict == "PASS":
        report = str(event.body["report"])
        return _moved(model, event.candidate, SHADOWING, report=report, report_index=event.index)
    return _sent_back(model, event.candidate, REJECTED if verdict == "FAIL" else EXPORTED)


def _sent_back(model: ModelState, digest: str, state: str) -> ModelState:
    """To a state in which no report counts any more."""
    return _moved(model, digest, state, report=None, report_index=-1)


def _stop_shadow(model: ModelState, event: Event) -> ModelState:
    return _sent_back(model, event.candidate, EXPORTED)


def _promote_intent(model: ModelState, event: Event) -> ModelState:
    return replace(model, intent=Intent(event.candidate, model.incumbent, event.index))


def _break_glass(model: ModelState, event: Event) -> ModelState:
    intent = Intent(event.candidate, model.incumbent, event.index, int(event.body["expires"]))
    return replace(model, intent=intent)


def _canary_result(model: ModelState, event: Event) -> ModelState:
    verdict = str(event.body["verdict"])
    if verdict == "PASS" and model.intent is not None:
        return replace(model, intent=replace(model.intent, canary=verdict))
    model = replace(model, intent=None)
    return _sent_back(model, event.candidate, REJECTED if verdict == "FAIL" else EXPORTED)


def _promote_done(model: ModelState, event: Event) -> ModelState:
    glass = model.intent.expires if model.intent else None
    before = model.incumbent
    if before is not None:
        was = model.candidates[before].state
        model = _moved(model, before, SUPERSEDED, returns_to=was)
    model = replace(
        model,
        incumbent=event.candidate,
        previous=before,
        intent=None,
        glass_until=glass,
        review_due=model.review_due if glass is None else event.at + REVIEW_SECONDS,
    )
    return _others_must_shadow(model)


def _promote_failed(model: ModelState, event: Event) -> ModelState:
    model = replace(model, intent=None)
    if model.candidates[event.candidate].state == CANARY:
        return _sent_back(model, event.candidate, EXPORTED)
    return model


def _deprecate(model: ModelState, event: Event) -> ModelState:
    return replace(model, previous=None) if model.previous == event.candidate else model


def _rollback(model: ModelState, event: Event) -> ModelState:
    return replace(_pulled_back(model), review_due=event.at + REVIEW_SECONDS)


def _revoke(model: ModelState, event: Event) -> ModelState:
    if model.intent is not None and model.intent.candidate == event.candidate:
        model = replace(model, intent=None)
    if model.previous == event.candidate:
        model = replace(model, previous=None)
    return _pulled_back(model) if model.incumbent == event.candidate else model


def _pulled_back(model: ModelState) -> ModelState:
    """The previous model, if there is one, is live again as what it was."""
    back = model.previous
    if back is not None:
        model = _moved(model, back, model.candidates[back].returns_to or LIVE)
    model = replace(model, incumbent=back, previous=None, intent=None, glass_until=None)
    return _others_must_shadow(model)


def _others_must_shadow(model: ModelState) -> ModelState:
    """Another model is live now: what was compared with the one before counts no more."""
    for digest, candidate in model.candidates.items():
        if candidate.state in (SHADOWING, CANARY):
            model = _sent_back(model, digest, EXPORTED)
    return model


def _review(model: ModelState, _: Event) -> ModelState:
    return replace(model, review_due=None)


EFFECTS: Mapping[str, Effect] = {
    "register": _register,
    "export": _export,
    "shadow": _shadow,
    "shadow_result": _shadow_result,
    "stop_shadow": _stop_shadow,
    "promote_intent": _promote_intent,
    "canary_result": _canary_result,
    "promote_done": _promote_done,
    "promote_failed": _promote_failed,
    "deprecate": _deprecate,
    "rollback": _rollback,
    "revoke": _revoke,
    "break_glass": _break_glass,
    "break_glass_expired": _rollback,
    "review": _review,
}
