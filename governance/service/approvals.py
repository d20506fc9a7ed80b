"""Approvals as they come in and as acts find them again.

People hand over envelopes one by one; an act takes those that it is given, or all that are kept
for it. Refusals that are known are always put before the verifier.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from governance.dsse import Envelope, verified_keys
from governance.errors import GovernanceError, SignatureError, StatementError
from governance.home import Home
from governance.policy import Policy
from governance.predicates import Approval, BreakGlass
from governance.service.authority import Authority
from governance.signatories import Excluded, signatories
from governance.statements import Statement, check_payload_type, parse
from governance.vocabulary import Action


@dataclass(frozen=True)
class About:
    """What an act is about.

    `report` is the shadow report's digest where there is one, `evidence` the bundle's for an action
    whose approvals name it.
    """

    action: Action
    model: str
    candidate: str
    incumbent: str | None
    report: str | None
    evidence: str | None = None


def keep(authority: Authority, envelope: Envelope) -> str:
    """Keep an approval or a break-glass statement that somebody of the policy signed.

    Signatures under a payload that is there already are added to it. Returns the digest.

    Raises:
        GovernanceError: nobody of the policy signed, or it is neither.

    """
    check_payload_type(envelope)
    try:
        parse(envelope.payload, Approval)
    except GovernanceError as error:
        if error.reason != "wrong_predicate_type":
            raise
        parse(envelope.payload, BreakGlass)
    policy = authority.home.policy()
    nobody = Excluded("", frozenset())
    with authority.lock:
        who = signatories(
            [envelope],
            policy,
            now=authority.clock(),
            revocations=authority.revocations(),
            excluded=nobody,
        )
        if not who.keys:
            raise SignatureError(who.excluded[0].reason, who.excluded[0].sentence)
        return authority.home.keep(_together(authority.home, envelope, policy))


def _together(home: Home, new: Envelope, policy: Policy) -> Envelope:
    """The new envelope with the signatures of the one that is kept, each key of the policy once.

    What nobody of the policy signed is left out: it could fill the envelope up.
    """
    try:
        old = home.statement(new.digest)
    except GovernanceError:
        return new
    kept, seen = [], frozenset[bytes]()
    for signature in (*old.signatures, *new.signatures):
        alone = Envelope(new.payload_type, new.payload, (signature,))
        signed = verified_keys(alone, policy.by_public)
        if signed and not signed <= seen:
            kept.append(signature)
            seen |= signed
    return Envelope(new.payload_type, new.payload, tuple(kept))


def find(authority: Authority, about: About, given: Sequence[Envelope]) -> list[Envelope]:
    """Envelopes to put before the verifier: those given, or all kept; and every known refusal.

    Without a fitting one those that nearly fit are taken, so that the refusal says what differs.
    """
    now, used = authority.clock(), authority.registry.nonces
    policy = authority.home.policy()
    fitting = (about.incumbent, about.report, policy.digest, policy.audience, about.evidence)
    kept: list[tuple[Envelope, Statement[Approval]]] = []
    for statement in authority.kept(Approval):
        said = statement.predicate
        same = (said.action, statement.name, said.candidate)
        if same == (about.action, about.model, about.candidate) and said.nonce not in used:
            with suppress(GovernanceError):
                kept.append((authority.home.statement(statement.payload_digest), statement))
    fits = [
        (envelope, statement)
        for envelope, statement in kept
        if _bound_to(statement.predicate) == fitting and now < statement.predicate.expires
    ]
    if not given:
        return [envelope for envelope, _ in fits or kept]
    there = {envelope.digest for envelope in given}
    refusals = [
        envelope
        for envelope, statement in fits
        if statement.predicate.decision == "refuse" and statement.payload_digest not in there
    ]
    return [*given, *refusals]


def _bound_to(said: Approval) -> tuple[str | None, ...]:
    return said.incumbent, said.shadow_report, said.policy, said.audience, said.evidence


def check_incumbent(
    authority: Authority, model: str, candidate: str, given: Sequence[Envelope]
) -> None:
    """Say first that another model is live by now: a missing report follows from that.

    Raises:
        StatementError: `incumbent_moved`.

    """
    incumbent = authority.state(model).incumbent
    for envelope in given:
        said = parse(envelope.payload, Approval).predicate
        if said.candidate == candidate and said.incumbent != incumbent:
            raise StatementError(
                "incumbent_moved",
                f"it was signed while {said.incumbent or 'nothing'} was live",
                expected=str(incumbent),
                remedy="compare with the model that is live now, and sign again",
            )
