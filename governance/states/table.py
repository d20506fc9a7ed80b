"""The transition table: every state, every event, who signs, what must be shown. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CANDIDATE: Final = "candidate"
EVAL_ACCEPTED: Final = "eval_accepted"
EXPORTED: Final = "exported"
SHADOWING: Final = "shadowing"
CANARY: Final = "canary"
LIVE: Final = "live"
VALIDATED: Final = "validated"
SUPERSEDED: Final = "superseded"
DEPRECATED: Final = "deprecated"
REJECTED: Final = "rejected"
ROLLED_BACK: Final = "rolled_back"
REVOKED: Final = "revoked"

STATES: Final[Mapping[str, str]] = {
    CANDIDATE: "registered with its provenance; not scored yet",
    EVAL_ACCEPTED: "core score, held-out score and regressions passed in one run",
    EXPORTED: "packed as a model directory, its evidence bundle complete",
    SHADOWING: "mirrored live requests are compared with the incumbent's answers",
    CANARY: "signed for; answers a small share of live requests",
    LIVE: "answers all requests",
    VALIDATED: "live, and confirmed by the domain expert on live pairs",
    SUPERSEDED: "was live, a newer one took its place; what a rollback goes back to",
    DEPRECATED: "retired for good",
    REJECTED: "refused for good: evaluation, comparison or a person said no",
    ROLLED_BACK: "was live and was taken back; has to shadow anew",
    REVOKED: "withdrawn for good: its key, approval or data can no longer be trusted",
}
SERVING: Final = frozenset({LIVE, VALIDATED})
FINAL: Final = frozenset({DEPRECATED, REJECTED, REVOKED})

OPERATOR: Final = "operator"
EXPERT: Final = "domain_expert"
APPROVER: Final = "governance_approver"
SECURITY: Final = "security"

REVIEW_SECONDS: Final = 72 * 3600
"""After a rollback or a broken glass two people look at it within this time."""


@dataclass(frozen=True)
class Transition:
    """What one event does.

    `sources` to `target`; None as source is a candidate that does not exist yet, None as target
    leaves the state as it is. `all_of`: each of these roles signs, with a key of its own; `one_of`:
    at least one of these. `evidence`: the entry's fields that name what was shown. `guards` are
    those of guards.GUARDS, asked in this order once roles and state are right.
    """

    sources: tuple[str | None, ...]
    target: str | None
    does: str
    all_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()


_ANY = tuple(state for state in STATES if state not in FINAL)

TABLE: Final[Mapping[str, Transition]] = {
    "register": Transition(
        (None,), CANDIDATE, "a trainer proposes a candidate", evidence=("provenance",)
    ),
    "accept_eval": Transition(
        (CANDIDATE,), EVAL_ACCEPTED, "the locked thresholds are met", evidence=("evaluation",)
    ),
    "fail_eval": Transition(
        (CANDIDATE,), REJECTED, "the locked thresholds are missed", evidence=("evaluation",)
    ),
    "export": Transition(
        (EVAL_ACCEPTED,), EXPORTED, "packed, bundle complete", evidence=("bundle",)
    ),
    "shadow": Transition(
        (EXPORTED, ROLLED_BACK, SUPERSEDED),
        SHADOWING,
        "the comparison with the incumbent starts; an attempt is spent",
        all_of=(OPERATOR,),
        evidence=("policy",),
        guards=("incumbent_there", "incumbent_same", "not_previous", "attempt_next"),
    ),
    "shadow_result": Transition(
        (SHADOWING,),
        None,
        "PASS is kept with its report; FAIL rejects; INCONCLUSIVE goes back to exported",
        evidence=("report",),
        guards=("incumbent_same", "attempt_current", "no_intent", "no_verdict_yet"),
    ),
    "stop_shadow": Transition(
        (SHADOWING,),
        EXPORTED,
        "the comparison ends without a verdict; the attempt stays spent",
        guards=("no_intent",),
    ),
    "refuse": Transition(
        (CANDIDATE, EVAL_ACCEPTED, EXPORTED, SHADOWING),
        REJECTED,
        "a person says no",
        one_of=(EXPERT, APPROVER, SECURITY),
        guards=("no_intent",),
    ),
    "promote_intent": Transition(
        (SHADOWING, EXPORTED),
        None,
        "promotion is decided; the swap may begin. From exported only if nothing is live",
        all_of=(EXPERT, APPROVER),
        evidence=("report", "bundle", "policy"),
        guards=("incumbent_same", "no_open_intent", "review_not_overdue", "passed", "head_seen"),
    ),
    "canary": Transition(
        (SHADOWING,),
        CANARY,
        "the intended model answers a share first (optional)",
        guards=("own_intent", "not_break_glass"),
    ),
    "canary_result": Transition(
        (CANARY,),
        None,
        "PASS lets the promotion finish; FAIL rejects; INCONCLUSIVE goes back to exported",
        evidence=("report",),
        guards=("own_intent", "no_canary_verdict_yet"),
    ),
    "promote_done": Transition(
        (SHADOWING, CANARY, EXPORTED, SUPERSEDED, ROLLED_BACK),
        LIVE,
        "the gateway serves it; the incumbent is superseded and stays resident",
        evidence=("deployment",),
        guards=("own_intent", "canary_passed"),
    ),
    "promote_failed": Transition(
        (SHADOWING, CANARY, EXPORTED, SUPERSEDED, ROLLED_BACK),
        None,
        "the swap did not happen; the incumbent stays. From canary back to exported",
        guards=("own_intent",),
    ),
    "validate": Transition(
        (LIVE,),
        VALIDATED,
        "confirmed on live pairs",
        all_of=(EXPERT,),
        evidence=("report",),
    ),
    "deprecate": Transition(
        (SUPERSEDED, ROLLED_BACK, EXPORTED),
        DEPRECATED,
        "retired; a live model has to be superseded first",
        all_of=(OPERATOR,),
        guards=("no_intent",),
    ),
    "rollback": Transition(
        (LIVE, VALIDATED),
        ROLLED_BACK,
        "the previous model is live again; an open promotion is void; a review falls due",
        all_of=(OPERATOR,),
        guards=("previous_there",),
    ),
    "revoke": Transition(
        _ANY,
        REVOKED,
        "withdrawn; if it was live the previous model is live again",
        all_of=(SECURITY,),
        evidence=("revocation",),
    ),
    "break_glass": Transition(
        (EXPORTED, SHADOWING, SUPERSEDED, ROLLED_BACK),
        None,
        "promotion without a comparison, until it expires; a review falls due",
        all_of=(SECURITY, OPERATOR),
        evidence=("justification",),
        guards=("incumbent_same", "no_open_intent", "expires_soon"),
    ),
    "break_glass_expired": Transition(
        (LIVE, VALIDATED),
        ROLLED_BACK,
        "the time of a broken glass is over: the previous model, or nothing, is live again",
        guards=("glass_expired",),
    ),
    "review": Transition(
        tuple(STATES),
        None,
        "two people have looked at a rollback or a broken glass",
        all_of=(EXPERT, APPROVER),
        guards=("review_open",),
    ),
}

MODELSMITH: Final[Mapping[str, tuple[str, ...]]] = {
    "candidate": (CANDIDATE,),
    "eval-accepted": (EVAL_ACCEPTED,),
    "artifact-exported": (EXPORTED, SHADOWING, CANARY),
    "customer-deployed": (LIVE,),
    "production-validated": (VALIDATED,),
    "deprecated": (SUPERSEDED, DEPRECATED),
}
"""The six states that Modelsmith publishes, and ours that stand for each."""
