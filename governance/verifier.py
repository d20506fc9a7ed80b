"""The strict verifier of what people sign: approvals, break-glass, revocations.

Everything that an act depends on is an argument, and the statement must say the same: an approval
cannot be used for another model, fleet, report or policy, nor late, nor twice. What gateways sign
is in `service_verifier`.

Signatures are looked at before the payload is read, and the payload is read as it was received.
People may sign one payload together (in one envelope or in several with the same payload: it is one
approval, with one nonce), or each a payload of their own (each with a nonce of its own). One act
uses up the nonces of all its approvals: `Approved.nonces` belongs into the same transaction as the
act.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from governance.binding import Verified, bound
from governance.dsse import Envelope
from governance.errors import PolicyError, SignatureError, StatementError
from governance.policy import Key, Policy, RiskClass, Rule
from governance.predicates import Approval, BreakGlass, LedgerHead, Predicate, Revocation
from governance.revocations import Revocations
from governance.shadow_report import ShadowReport
from governance.signatories import Excluded, Exclusion, Quorum, Signatories, require, signatories
from governance.statements import Statement, check_payload_type, parse
from governance.vocabulary import APPROVALS, PERMITTED_AFTER_EXPIRY, Action

MAX_ENVELOPES = 16
# Over all envelopes: a signature that is nobody's is tried against every key of the policy.
MAX_SIGNATURES = 32
# Clocks of an approver and of a gateway differ.
CLOCK_SKEW = 60

P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Approved:
    """An act that was approved by those whom the policy asks for.

    Attributes:
        action: what may be done.
        model: the model's name.
        candidate, incumbent: the digests that it was approved for.
        statements: payload digests of the approvals that counted.
        persons: who, and in which role.
        keys: the public keys that counted.
        nonces: used up by the act.
        expires: the act must happen before.
        heads: the ledger's heads that the signers saw; the ledger must extend each.

    """

    action: Action
    model: str
    candidate: str
    incumbent: str | None
    statements: tuple[str, ...]
    persons: dict[str, str]
    keys: tuple[bytes, ...]
    nonces: frozenset[str]
    expires: int
    heads: tuple[LedgerHead, ...]


def verify_approvals(
    envelopes: Sequence[Envelope],
    *,
    policy: Policy,
    action: Action,
    model: str,
    candidate: str,
    incumbent: str | None,
    shadow_report: Verified[ShadowReport] | None,
    evidence_digest: str | None,
    audience: str,
    now: int,
    proposer: str,
    trainer_keys: Iterable[bytes],
    used_nonces: Container[str],
    revocations: Revocations,
    clock_floor: int = 0,
) -> Approved:
    """Decide whether an action is approved, here and now.

    Args:
        envelopes: the approvals, and any refusal that is known; every one must be about this.
        policy: the one that is followed now.
        action: what is to be done: one of `vocabulary.APPROVALS`.
        model: the model's name.
        candidate: the digest of the model to act on.
        incumbent: the digest of the model that is live now, or None.
        shadow_report: the verified report, where the action needs one and a model is live.
        evidence_digest: the digest of the evidence bundle, where the action needs one.
        audience: the fleet's name.
        now: seconds since 1970 UTC.
        proposer: the person or service that proposed the candidate.
        trainer_keys: public keys of those who trained it.
        used_nonces: nonces that earlier acts used up.
        revocations: what is revoked.
        clock_floor: the latest time that was ever recorded; a clock behind it was set back.

    Raises:
        GovernanceError: it is not approved; the reason says why.

    """
    needs = APPROVALS.get(action)
    if needs is None:
        raise StatementError("wrong_action", f"'{action}' is not approved by an approval")
    # The first model of a name has nothing to be compared with.
    compared = needs.shadow_report and incumbent is not None
    _check_report(shadow_report, compared, model, candidate, incumbent, now)
    if needs.evidence and evidence_digest is None:
        raise StatementError("no_evidence", f"'{action}' needs an evidence bundle")
    _check_frame(policy, audience, now, clock_floor, action)
    _check_revoked_model(candidate, revocations)
    risk = policy.risk_class(model)
    excluded = Excluded(proposer, frozenset(trainer_keys))
    report = shadow_report.digest if shadow_report is not None else None

    def check(statement: Statement[Approval]) -> None:
        said = statement.predicate
        bound("action", said.action, action)
        bound("model", statement.name, model)
        bound("candidate", said.candidate, candidate)
        bound("audience", said.audience, audience)
        bound("policy", said.policy, policy.digest)
        bound("policy", said.policy_version, policy.version)
        bound("incumbent", said.incumbent, incumbent)
        bound("shadow_report", said.shadow_report, report)
        bound("evidence", said.evidence, evidence_digest)
        _check_time(said.not_before, said.expires, now, risk.approval_seconds)
        if shadow_report is not None and said.not_before < shadow_report.predicate.ended:
            raise StatementError(
                "older_than_report", "the approval was given before the comparison ended"
            )

    signed = _gather(envelopes, Approval, policy, now, revocations, excluded, check)
    _check_nonces([statement.predicate.nonce for statement, _ in signed], used_nonces)
    rule = risk.rules[action]
    _check_refusals(signed, rule)
    counted = [entry for entry in signed if entry[0].predicate.decision == "approve"]
    quorum = require(rule, _together(who for _, who in counted), action)
    said = [statement.predicate for statement, _ in counted]
    return Approved(
        action,
        model,
        candidate,
        incumbent,
        tuple(statement.payload_digest for statement, _ in counted),
        quorum.persons,
        quorum.keys,
        frozenset(approval.nonce for approval in said),
        min(approval.expires for approval in said),
        tuple(approval.ledger for approval in said if approval.ledger is not None),
    )


def verify_break_glass(
    envelopes: Sequence[Envelope],
    *,
    policy: Policy,
    action: Action,
    model: str,
    candidate: str,
    incumbent: str | None,
    audience: str,
    now: int,
    proposer: str,
    trainer_keys: Iterable[bytes],
    used_nonces: Container[str],
    revocations: Revocations,
    clock_floor: int = 0,
) -> Approved:
    """Decide whether something may be done in an emergency.

    Arguments are those of `verify_approvals`. All signers sign one payload: they agree on one
    justification.

    Raises:
        GovernanceError: it may not; the reason says why.

    """
    _check_frame(policy, audience, now, clock_floor, "break_glass")
    _check_revoked_model(candidate, revocations)
    risk = policy.risk_class(model)

    def check(statement: Statement[BreakGlass]) -> None:
        said = statement.predicate
        bound("action", said.action, action)
        bound("model", statement.name, model)
        bound("candidate", said.candidate, candidate)
        bound("audience", said.audience, audience)
        bound("policy", said.policy, policy.digest)
        bound("incumbent", said.incumbent, incumbent)
        _check_time(said.not_before, said.expires, now, risk.break_glass_seconds)

    excluded = Excluded(proposer, frozenset(trainer_keys))
    signed = _gather(envelopes, BreakGlass, policy, now, revocations, excluded, check)
    statement, who = _only(signed)
    _check_nonces([statement.predicate.nonce], used_nonces)
    quorum = require(risk.rules["break_glass"], who, "break_glass")
    return Approved(
        action,
        model,
        candidate,
        incumbent,
        (statement.payload_digest,),
        quorum.persons,
        quorum.keys,
        frozenset({statement.predicate.nonce}),
        statement.predicate.expires,
        (),
    )


def verify_revocation(
    envelopes: Sequence[Envelope],
    *,
    policy: Policy,
    audience: str,
    now: int,
    revocations: Revocations,
) -> tuple[Revocation, Quorum]:
    """Check a revocation. It may come late, and under a policy that has expired.

    A model's revocation needs the rule of its class of risk; any other needs the rules of all
    classes.

    Raises:
        GovernanceError: it does not count; the reason says why.

    """
    _check_frame(policy, audience, now, 0, "revoke")

    def check(statement: Statement[Revocation]) -> None:
        said = statement.predicate
        bound("audience", said.audience, audience)
        if said.what != "model":
            bound("subject", statement.name, said.what)
        if said.issued > now + CLOCK_SKEW:
            raise StatementError("not_yet_valid", "the revocation was issued in the future")

    nobody = Excluded("", frozenset())
    signed = _gather(envelopes, Revocation, policy, now, revocations, nobody, check)
    statement, who = _only(signed)
    said = statement.predicate
    classes: Iterable[RiskClass] = policy.risk_classes.values()
    if said.what == "model":
        classes = [policy.risk_class(statement.name)]
    quorums = [require(risk.rules["revoke"], who, "revoke") for risk in classes]
    return said, quorums[0]


def _gather(
    envelopes: Sequence[Envelope],
    kind: type[P],
    policy: Policy,
    now: int,
    revocations: Revocations,
    excluded: Excluded,
    check: Callable[[Statement[P]], None],
) -> list[tuple[Statement[P], Signatories]]:
    """Each distinct payload with those who signed it. Every one must hold, or none is taken."""
    if not envelopes:
        raise SignatureError("no_statements", "nothing was signed for this")
    if len(envelopes) > MAX_ENVELOPES:
        raise SignatureError(
            "too_many_envelopes", f"{len(envelopes)} envelopes", expected=f"at most {MAX_ENVELOPES}"
        )
    count = sum(len(envelope.signatures) for envelope in envelopes)
    if count > MAX_SIGNATURES:
        raise SignatureError(
            "too_many_signatures", f"{count} signatures", expected=f"at most {MAX_SIGNATURES}"
        )
    by_payload: dict[bytes, list[Envelope]] = {}
    for envelope in envelopes:
        check_payload_type(envelope)
        by_payload.setdefault(envelope.payload, []).append(envelope)
    found = []
    for payload, group in by_payload.items():
        who = signatories(group, policy, now=now, revocations=revocations, excluded=excluded)
        statement = parse(payload, kind)
        check(statement)
        if group[0].digest in revocations.approvals:
            raise StatementError("revoked_approval", f"{group[0].digest} is revoked")
        found.append((statement, who))
    return found


def _only(signed: list[tuple[Statement[P], Signatories]]) -> tuple[Statement[P], Signatories]:
    if len(signed) != 1:
        raise StatementError(
            "several_statements",
            f"{len(signed)} different statements",
            expected="one that everybody signed",
        )
    return signed[0]


def _together(several: Iterable[Signatories]) -> Signatories:
    keys: dict[str, Key] = {}
    excluded: list[Exclusion] = []
    for who in several:
        keys.update({key.public: key for key in who.keys})
        excluded.extend(who.excluded)
    return Signatories(tuple(keys.values()), tuple(excluded))


def _check_refusals(signed: list[tuple[Statement[Approval], Signatories]], rule: Rule) -> None:
    for statement, who in signed:
        said = statement.predicate
        entitled = [key.person for key in who.keys if set(key.roles) & set(rule.roles)]
        if said.decision == "refuse" and entitled:
            raise StatementError(
                "refused_by_person",
                f"{entitled[0]} refused: {said.comment!r}",
                remedy="settle it with them; the refusal ends when it expires",
            )
    if all(statement.predicate.decision == "refuse" for statement, _ in signed):
        raise SignatureError("no_statements", "nobody approved this")


def _check_report(
    report: Verified[ShadowReport] | None,
    needed: bool,
    model: str,
    candidate: str,
    incumbent: str | None,
    now: int,
) -> None:
    if report is None:
        if needed:
            raise StatementError(
                "no_shadow_report", "there is no shadow report", remedy="run a comparison first"
            )
        return
    said = report.predicate
    bound("model", report.name, model)
    bound("candidate", said.candidate, candidate)
    bound("incumbent", said.incumbent, incumbent)
    if said.ended > now + CLOCK_SKEW:
        raise StatementError(
            "clock_set_back",
            f"the comparison ended at {said.ended}, and it is {now}",
            remedy="look at the clock",
        )
    if needed and said.verdict != "PASS":
        raise StatementError(
            "verdict_not_pass",
            f"the comparison's verdict is {said.verdict}: " + "; ".join(said.reasons),
            remedy="a candidate that did not pass cannot be promoted; compare again or correct it",
        )


def _check_frame(policy: Policy, audience: str, now: int, clock_floor: int, action: Action) -> None:
    if now < clock_floor:
        raise StatementError(
            "clock_set_back",
            f"it is {now}, and {clock_floor} was recorded before",
            remedy="look at the clock",
        )
    if action not in PERMITTED_AFTER_EXPIRY or now < policy.valid_from:
        policy.check_current(now)
    if policy.audience != audience:
        raise PolicyError(
            "wrong_audience", f"the policy is for '{policy.audience}'", expected=f"'{audience}'"
        )


def _check_revoked_model(candidate: str, revocations: Revocations) -> None:
    if candidate in revocations.models:
        raise StatementError("revoked_model", f"model {candidate} is revoked")


def _check_time(not_before: int, expires: int, now: int, longest: int) -> None:
    if expires - not_before > longest:
        raise StatementError(
            "valid_too_long", f"it is valid for {expires - not_before} s", expected=f"{longest} s"
        )
    if now < not_before - CLOCK_SKEW:
        raise StatementError("not_yet_valid", f"it is valid from {not_before}, and it is {now}")
    if now >= expires:
        raise StatementError("expired", f"it expired at {expires}, and it is {now}")


def _check_nonces(nonces: Sequence[str], used: Container[str]) -> None:
    if len(set(nonces)) != len(nonces):
        raise StatementError("nonce_reused", "two different statements have one nonce")
    for nonce in nonces:
        if nonce in used:
            raise StatementError("replayed_nonce", f"nonce {nonce} was used before")
