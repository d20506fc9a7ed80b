"""What people decide beside what is live: validated, deprecated, a review that was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from governance.dsse import Envelope
from governance.errors import StatementError
from governance.service import approvals, evidence
from governance.service.approvals import About
from governance.service.authority import Authority, approvals_of, key_of
from governance.verifier import verify_approvals
from governance.vocabulary import Action

DECISIONS: Final[tuple[Action, ...]] = ("validate", "deprecate", "review")


@dataclass(frozen=True)
class Decided:
    """The candidate's state after it, and the entry's place in the ledger."""

    state: str
    index: int


def decide(
    authority: Authority, action: str, model: str, candidate: str, given: Sequence[Envelope]
) -> Decided:
    """Log a decision by the approvals given, or by all that are kept for it.

    Raises:
        GovernanceError: it is not approved, or not possible in this state.

    """
    known_action = next((a for a in DECISIONS if a == action), None)
    if known_action is None:
        raise StatementError(
            "wrong_action", f"{action!r} is not decided so", expected=", ".join(DECISIONS)
        )
    with authority.lock:
        known, policy = authority.candidate(model, candidate), authority.home.policy()
        incumbent = authority.state(model).incumbent
        bundle = None
        if known_action == "validate":
            bundle = evidence.require(authority.home, policy, model, candidate, known, "validate")
        about = About(known_action, model, candidate, incumbent, None, bundle)
        envelopes = approvals.find(authority, about, given)
        proposer, keys = authority.proposer(known.trainer, policy)
        approved = verify_approvals(
            envelopes,
            policy=policy,
            action=known_action,
            model=model,
            candidate=candidate,
            incumbent=incumbent,
            shadow_report=None,
            evidence_digest=bundle,
            audience=policy.audience,
            now=authority.clock(),
            proposer=proposer,
            trainer_keys=keys,
            used_nonces=authority.registry.nonces,
            revocations=authority.revocations(),
            clock_floor=authority.clock_floor(),
        )
        authority.check_heads(approved.heads)
        for envelope in envelopes:
            authority.home.keep(envelope)
        # A first model has no report: its evidence is what was confirmed.
        more: dict[str, Any] = {}
        if known_action == "validate":
            more["report"] = known.report or known.bundle
        receipt = authority.record(
            known_action,
            key_of(known_action, *sorted(approved.statements)),
            model=model,
            candidate=candidate,
            approvals=approvals_of(approved, envelopes, policy),
            **more,
        )
        return Decided(authority.candidate(model, candidate).state, receipt.index)
