"""Each kind of entry with the statements that it rests on, verified as of its time."""

from collections.abc import Callable, Mapping
from typing import Any

from governance.attestations import Evaluation, Provenance
from governance.audit.errors import AuditError
from governance.audit.evidence import Evidence, check_told
from governance.binding import Verified, bound
from governance.bundle import harm
from governance.bundle.folder import open_bundle
from governance.bundle.measured import Serving
from governance.bundle.rejudge import rejudge
from governance.dsse import Envelope, verified_keys
from governance.errors import SignatureError
from governance.policy import Key, Policy
from governance.predicates import Approval, BreakGlass, Deployment, Revocation
from governance.service_verifier import verify_deployment, verify_shadow_report
from governance.shadow import fleet
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.signatories import refuse_unsigned, unfit_key
from governance.statements import parse_any
from governance.states.model import Event
from governance.verifier import (
    Approved,
    verify_approvals,
    verify_break_glass,
    verify_revocation,
)
from governance.vocabulary import APPROVALS, Action

Look = Callable[[Evidence, Event], str]


def _signed_by(
    envelope: Envelope, policy: Policy, event: Event, found: Evidence, role: str | None = None
) -> list[Key]:
    """Keys of a policy that signed, fit at the event's time, in a role if one is asked for."""
    keys = [policy.by_public[k] for k in sorted(verified_keys(envelope, policy.by_public))]
    if not keys:
        refuse_unsigned([envelope])
    fitting = [key for key in keys if role is None or role in key.roles]
    if not fitting:
        raise SignatureError(f"not_a_{role}", f"{keys[0].person} signed", expected=f"a {role}")
    unfit = [unfit_key(key, event.at, found.revocations) for key in fitting]
    sound = [key for key, why in zip(fitting, unfit, strict=True) if why is None]
    if not sound:
        first = next(why for why in unfit if why is not None)
        raise SignatureError(first.reason, first.sentence)
    return sound


def _register(found: Evidence, event: Event) -> str:
    envelope, statement = found.statement(event.body["provenance"], Provenance)
    bound("model", statement.name, event.model)
    bound("candidate", statement.digest, event.candidate)
    policy = found.in_force(event.at)
    keys = _signed_by(envelope, policy, event, found, "trainer")
    if event.body["trainer"] not in {key.key_id for key in keys}:
        raise AuditError("other_trainer", f"{keys[0].person} signed, another was registered")
    return f"provenance by {keys[0].person}"


def _evaluated(found: Evidence, event: Event) -> str:
    envelope, statement = found.statement(event.body["evaluation"], Evaluation)
    bound("model", statement.name, event.model)
    bound("candidate", statement.digest, event.candidate)
    keys = _signed_by(envelope, found.in_force(event.at), event, found)
    result = statement.predicate.result
    if (event.kind == "accept_eval") != (result == "PASSED"):
        raise AuditError("evaluation_differs", f"the evaluation says {result}")
    return f"{result} by {keys[0].person}"


def _export(found: Evidence, event: Event) -> str:
    found.check_evidence(event.model, event.candidate, event.body["bundle"])
    return "its evidence bundle is there"


def _approved(
    found: Evidence,
    event: Event,
    action: Action,
    *,
    incumbent: str | None,
    report: Verified[ShadowReport] | None = None,
    bundle: str | None = None,
    waits_for_nobody: bool = False,
) -> Approved:
    read = [found.statement(told["statement"], Approval) for told in event.approvals]
    said = read[0][1].predicate
    policy = found.policy(said.policy, event)
    evidence = bundle or said.evidence
    if APPROVALS[action].evidence:
        found.check_evidence(event.model, event.candidate, evidence)
    proposer, trainer = found.trainer(event.model, event.candidate)
    approved = verify_approvals(
        [envelope for envelope, _ in read],
        policy=policy,
        action=action,
        model=event.model,
        candidate=event.candidate,
        incumbent=incumbent,
        shadow_report=report,
        evidence_digest=evidence,
        audience=policy.audience,
        now=event.at,
        proposer="" if waits_for_nobody else proposer,
        trainer_keys=() if waits_for_nobody else trainer,
        used_nonces=found.registry.nonces,
        revocations=found.revocations,
    )
    check_told(event, approved, [statement for _, statement in read], policy)
    found.check_heads(approved.heads, event)
    return approved


def _persons(approved: Approved) -> str:
    return "by " + ", ".join(approved.persons)


def _shadow(found: Evidence, event: Event) -> str:
    approved = _approved(found, event, "shadow", incumbent=event.body["incumbent"])
    found.policy(event.body["policy"], event)
    found.shadow_policies[event.model, event.candidate] = event.body["policy"]
    return f"attempt {event.body['attempt']}, {_persons(approved)}"


def _report(found: Evidence, event: Event, digest: str, incumbent: str) -> Verified[ShadowReport]:
    envelope, statement = found.statement(digest, ShadowReport)
    policy = found.history.by_digest(statement.predicate.policy)
    verified = verify_shadow_report(
        envelope,
        policy=policy,
        model=event.model,
        candidate=event.candidate,
        incumbent=incumbent,
        audience=policy.audience,
        now=event.at,
        revocations=found.revocations,
    )
    rejudge(verified.predicate, policy, event.model)
    sources = verified.predicate.sources
    if sources:
        # Each is looked at as if it stood alone.
        parts = [_report(found, event, source, incumbent).predicate for source in sources]
        fleet.check(verified.predicate, parts)
    return verified


def _parts(found: Evidence, said: ShadowReport) -> list[ShadowReport]:
    """The reports that a report adds up, or itself."""
    if not said.sources:
        return [said]
    return [found.statement(source, ShadowReport)[1].predicate for source in said.sources]


def revealed(found: Evidence, model: str, body: Mapping[str, Any]) -> str:
    """A gateway's last report tells the seed that it drew by, and takes nothing back.

    Raises:
        GovernanceError: it is not signed by a gateway, the seed is not the one that it committed
            to, or it does not go on from what a result rests on.

    """
    envelope, statement = found.statement(body["report"], ShadowReport)
    said = statement.predicate
    policy = found.history.by_digest(said.policy)
    verify_shadow_report(
        envelope,
        policy=policy,
        model=model,
        candidate=said.candidate,
        incumbent=said.incumbent,
        audience=policy.audience,
        now=body["at"],
        revocations=found.revocations,
    )
    # Counts and seed: it has to open the commitment.
    verify(said)
    if said.seed is None or said.seed_commitment != body["commitment"]:
        raise AuditError("seed_not_told", f"the report of {said.gateway} does not tell this seed")
    if said.seed_commitment not in found.seeds:
        raise AuditError("seed_not_committed", "its seed was not committed to before the run")
    before = found.untold.pop(said.seed_commitment, None)
    if before is not None and not fleet.goes_on(before, said):
        raise AuditError("report_went_back", f"{said.gateway} takes back what it had reported")
    return f"{said.gateway} told the seed that it drew {said.n} pairs by"


def _shadow_result(found: Evidence, event: Event) -> str:
    said = _report(found, event, event.body["report"], event.body["incumbent"]).predicate
    run = found.shadow_policies.get((event.model, event.candidate))
    if (said.verdict, said.attempt, said.policy) != (
        event.body["verdict"],
        event.body["attempt"],
        run,
    ):
        raise AuditError(
            "report_differs",
            f"the report says {said.verdict} of attempt {said.attempt} under {said.policy}",
        )
    parts = _parts(found, said)
    if not {part.seed_commitment for part in parts} <= found.seeds:
        raise AuditError("seed_not_committed", "its seed was not committed to before the run")
    found.untold |= {part.seed_commitment: part for part in parts if part.seed is None}
    return _recomputed(said)


def _recomputed(said: ShadowReport) -> str:
    told = f"{said.verdict} recomputed: {said.d} of {said.n} decisions differ"
    told += f", at {len(said.sources)} gateways" if said.sources else ""
    if said.labels is None or not said.labels.labelled:
        return told
    labels = said.labels
    return (
        f"{told}; of {labels.labelled} outcomes the candidate alone was wrong in "
        f"{labels.only_candidate_wrong}, the incumbent alone in {labels.only_incumbent_wrong}, "
        f"log10 E {labels.log10_e} recomputed"
    )


def _canary_result(found: Evidence, event: Event) -> str:
    incumbent = str(found.registry.model(event.model).incumbent)
    said = _report(found, event, event.body["report"], incumbent).predicate
    if said.verdict != event.body["verdict"]:
        raise AuditError("report_differs", f"the report says {said.verdict}")
    return _recomputed(said)


def _promote_intent(found: Evidence, event: Event) -> str:
    digest, incumbent = event.body["report"], event.body["incumbent"]
    found.intend(event)
    report = _report(found, event, digest, incumbent) if digest is not None else None
    approved = _approved(
        found, event, "promote", incumbent=incumbent, report=report, bundle=event.body["bundle"]
    )
    limit = found.policy(event.body["policy"], event).risk_class(event.model).harm_limit
    if limit is None or incumbent is None:
        return _persons(approved)
    said = open_bundle(found.home.bundle(event.model, event.candidate)).group(Serving)
    told = float(harm.check(said, incumbent, limit))
    return f"{_persons(approved)}; the shadow cost the live model {told:.3f} times its p99"


def _break_glass(found: Evidence, event: Event) -> str:
    found.intend(event)
    envelope, statement = found.statement(event.body["justification"], BreakGlass)
    policy = found.policy(statement.predicate.policy, event)
    proposer, trainer = found.trainer(event.model, event.candidate)
    approved = verify_break_glass(
        [envelope],
        policy=policy,
        action=statement.predicate.action,
        model=event.model,
        candidate=event.candidate,
        incumbent=event.body["incumbent"],
        audience=policy.audience,
        now=event.at,
        proposer=proposer,
        trainer_keys=trainer,
        used_nonces=found.registry.nonces,
        revocations=found.revocations,
    )
    check_told(event, approved, [statement], policy)
    if event.body["expires"] > approved.expires:
        raise AuditError("bad_expiry", "the entry lets the glass be broken longer than was signed")
    return _persons(approved)


def _promote_done(found: Evidence, event: Event) -> str:
    names = found.deployments.setdefault((event.model, event.candidate), set())
    names.add(event.body["deployment"])
    intended = found.intents.pop(event.model, None)
    envelope, statement = found.statement(event.body["deployment"], Deployment)
    policy = found.history.by_digest(statement.predicate.policy)
    said = verify_deployment(
        envelope,
        policy=policy,
        model=event.model,
        audience=policy.audience,
        revocations=found.revocations,
    ).predicate
    state = found.registry.model(event.model)
    bound("candidate", said.candidate, event.candidate)
    bound("incumbent", said.previous, state.incumbent)
    if state.intent is not None:
        bound("ledger_index", said.ledger_index, state.intent.index)
    if intended is None or not intended <= set(said.approvals):
        raise AuditError("other_approvals", "the deployment rests on other approvals")
    return f"deployed by {said.gateway}"


def _validate(found: Evidence, event: Event) -> str:
    state = found.registry.model(event.model)
    known = state.candidates.get(event.candidate)
    digest, report = event.body["report"], None
    # A first model has no comparison: what was confirmed then is its evidence.
    if known is None or digest != known.bundle:
        _, statement = found.statement(digest, ShadowReport)
        report = _report(found, event, digest, statement.predicate.incumbent)
    _, first = found.statement(event.approvals[0]["statement"], Approval)
    named = report if first.predicate.shadow_report is not None else None
    approved = _approved(found, event, "validate", incumbent=state.incumbent, report=named)
    return _persons(approved)


def _deprecate(found: Evidence, event: Event) -> str:
    incumbent = found.registry.model(event.model).incumbent
    return _persons(_approved(found, event, "deprecate", incumbent=incumbent))


def _rollback(found: Evidence, event: Event) -> str:
    return _persons(
        _approved(found, event, "rollback", incumbent=event.candidate, waits_for_nobody=True)
    )


def revocation(found: Evidence, digest: str, at: int) -> tuple[Revocation, str]:
    """A revocation that the ledger names, verified as of then; it counts from now on."""
    envelope, statement = found.statement(digest, Revocation)
    policy = found.in_force(at)
    before = [each for each in found.revoked if each != statement.predicate]
    said, quorum = verify_revocation(
        [envelope],
        policy=policy,
        audience=policy.audience,
        now=at,
        revocations=type(found.revocations).of(before),
    )
    if said not in found.revoked:
        found.revoked.append(said)
    return said, "by " + ", ".join(quorum.persons)


def _revoke(found: Evidence, event: Event) -> str:
    said, who = revocation(found, event.body["revocation"], event.at)
    if said.what == "model" and said.target != event.candidate:
        raise AuditError("other_revocation", f"the revocation is of {said.target}")
    return f"{said.what} revoked {who}"


def _witnessed(found: Evidence, event: Event) -> str:
    """Signed by those whom the entry names, in the roles that it names; whatever was signed."""
    who = []
    for told in event.approvals:
        found.named.add(told["statement"])
        envelope = found.home.statement(told["statement"])
        statement = parse_any(envelope.payload)
        bound("model", statement.name, event.model)
        bound("candidate", statement.digest, event.candidate)
        keys = _signed_by(envelope, found.in_force(event.at), event, found)
        held = {key.key_id: key for key in keys}
        for signer in told["signers"]:
            key = held.get(signer["key"])
            if key is None or signer["role"] not in key.roles:
                raise AuditError(
                    "approvals_differ",
                    f"the entry tells of {told['statement']} what was not signed",
                )
            who.append(key.person)
    return "by " + ", ".join(who)


def _unsigned(_: Evidence, __: Event) -> str:
    return "needs no signature"


LOOKS: Mapping[str, Look] = {
    "register": _register,
    "accept_eval": _evaluated,
    "fail_eval": _evaluated,
    "export": _export,
    "shadow": _shadow,
    "shadow_result": _shadow_result,
    "stop_shadow": _unsigned,
    "refuse": _witnessed,
    "promote_intent": _promote_intent,
    "canary": _unsigned,
    "canary_result": _canary_result,
    "promote_done": _promote_done,
    "promote_failed": _unsigned,
    "validate": _validate,
    "deprecate": _deprecate,
    "rollback": _rollback,
    "revoke": _revoke,
    "break_glass": _break_glass,
    "break_glass_expired": _unsigned,
    "review": _witnessed,
}
"""How each event of the registry is looked at; a test holds this against the transition table."""
