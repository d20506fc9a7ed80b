"""The signed statements of a bundle, each verified by the strict verifier for its kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from governance.attestations import Evaluation, Provenance
from governance.binding import Verified
from governance.bundle.folder import Bundle
from governance.bundle.rejudge import rejudge
from governance.checks import Checks
from governance.dsse import Envelope, verified_keys
from governance.errors import GovernanceError, SignatureError
from governance.policy import Key, Policy
from governance.policy_history import PolicyHistory
from governance.predicates import Approval, Deployment, Revocation
from governance.revocations import Revocations
from governance.service_verifier import verify_deployment, verify_shadow_report
from governance.shadow.verdict import Verdict
from governance.shadow_report import ShadowReport
from governance.signatories import refuse_unsigned
from governance.statements import Statement
from governance.verifier import verify_approvals, verify_revocation

# Nothing is wrong with what was signed; somebody is still missing, or has said no.
WAITING = frozenset({"too_few_persons", "missing_role", "refused_by_person", "no_statements"})
# May change after the promotion was approved: they tell of it and of what came then.
LATER = frozenset({"approval.json", "execution.json", "post.json"})


@dataclass(frozen=True)
class Signatory:
    """Somebody whose signature is on an approval or a refusal.

    Attributes:
        person, roles: as the policy knows the key.
        action, decision, comment: what was signed.
        at: when it was given, seconds since 1970 UTC.

    """

    person: str
    roles: tuple[str, ...]
    action: str
    decision: str
    comment: str
    at: int


@dataclass(frozen=True)
class Outcome:
    """What the statements of a bundle come to.

    Attributes:
        report, verdict: the comparison and its verdict, computed again; None without one.
        signatories: everybody whose signature on an approval or a refusal is genuine.
        approved: for each action that is approved who filled which role.
        deployments: payload digests of deployments that hold.

    """

    report: Verified[ShadowReport] | None = None
    verdict: Verdict | None = None
    signatories: tuple[Signatory, ...] = ()
    approved: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    deployments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """Who made the candidate and so may not approve it."""

    person: str
    keys: frozenset[bytes]


def check_statements(bundle: Bundle, history: PolicyHistory, now: int, checks: Checks) -> Outcome:
    """Verify every statement of a bundle; what is wrong becomes a finding.

    Approvals are verified as of when the last of them was given: whether they were used in time,
    and once, the ledger tells.
    """
    revocations = _revocations(bundle, history, now, checks)
    if bundle.candidate in revocations.models:
        checks.fails(bundle.model, "revoked_model", f"{bundle.candidate} is revoked")
    trained = _trained(bundle, history, revocations, now, checks)
    _evaluations(bundle, history, revocations, now, checks)
    reports, verdicts = _reports(bundle, history, revocations, checks)
    approved = _approvals(bundle, history, reports, trained, revocations, now, checks)
    deployments = _deployments(bundle, history, revocations, checks)
    newest = max(reports.values(), key=lambda report: report.predicate.ended, default=None)
    return Outcome(
        newest,
        verdicts.get(newest.digest) if newest else None,
        tuple(_signatories(bundle, history)),
        approved,
        deployments,
    )


def signers(
    envelope: Envelope, history: PolicyHistory, revocations: Revocations, now: int
) -> list[Key]:
    """Keys of any version of the policy that signed, none of them revoked since.

    Raises:
        SignatureError: `unsigned`, `no_valid_signature` or `revoked_key`.

    """
    found = [history.keys[public] for public in verified_keys(envelope, history.keys)]
    if not found:
        refuse_unsigned([envelope])
    sound = [k for k in found if k.key_id not in revocations.keys and not k.revoked(now)]
    if not sound:
        raise SignatureError("revoked_key", f"the key of {found[0].person} is revoked")
    return sound


def told(keys: Iterable[Key]) -> str:
    """Whose keys these are, and in which roles."""
    return ", ".join(f"{key.person} ({', '.join(key.roles)})" for key in keys)


def _named(kind: str, digest: str) -> str:
    return f"{kind} {digest[:19]}…"


def _revocations(bundle: Bundle, history: PolicyHistory, now: int, checks: Checks) -> Revocations:
    found: list[Revocation] = []
    for envelope, _ in bundle.of(Revocation):
        what = _named("revocation", envelope.digest)
        with checks.finding(what):
            said, quorum = verify_revocation(
                [envelope],
                policy=history.newest,
                audience=history.newest.audience,
                now=now,
                revocations=Revocations(),
            )
            found.append(said)
            checks.holds(what, f"{said.what} revoked by {', '.join(quorum.persons)}")
    return Revocations.of(found)


def _trained(
    bundle: Bundle,
    history: PolicyHistory,
    revocations: Revocations,
    now: int,
    checks: Checks,
) -> Trained:
    person, keys = "", frozenset[bytes]()
    for envelope, _ in bundle.of(Provenance):
        what = _named("provenance", envelope.digest)
        with checks.finding(what):
            found = signers(envelope, history, revocations, now)
            makers = [key for key in found if "trainer" in key.roles]
            if not makers:
                raise SignatureError(
                    "not_a_trainer", f"{told(found)} signed", expected="a key in the role 'trainer'"
                )
            person, keys = makers[0].person, keys | {key.public_key for key in makers}
            checks.holds(what, f"signed by {told(makers)}")
    return Trained(person, keys)


def _evaluations(
    bundle: Bundle,
    history: PolicyHistory,
    revocations: Revocations,
    now: int,
    checks: Checks,
) -> None:
    for envelope, statement in bundle.of(Evaluation):
        what = _named("evaluation", envelope.digest)
        with checks.finding(what):
            found = signers(envelope, history, revocations, now)
            checks.holds(what, f"{statement.predicate.result}, signed by {told(found)}")


def _reports(
    bundle: Bundle, history: PolicyHistory, revocations: Revocations, checks: Checks
) -> tuple[dict[str, Verified[ShadowReport]], dict[str, Verdict]]:
    reports, verdicts = {}, {}
    for envelope, statement in bundle.of(ShadowReport):
        said = statement.predicate
        what = _named("shadow report", envelope.digest)
        with checks.finding(what):
            policy = history.by_digest(said.policy)
            reports[envelope.digest] = verify_shadow_report(
                envelope,
                policy=policy,
                model=bundle.model,
                candidate=bundle.candidate,
                incumbent=said.incumbent,
                audience=policy.audience,
                now=said.ended,
                revocations=revocations,
            )
            checks.holds(what, f"signed by gateway {said.gateway}")
            verdicts[envelope.digest] = rejudge(said, policy, bundle.model)
            checks.holds(
                f"{what}, verdict",
                f"{said.verdict}, {said.d} of {said.n} decisions differ: its integers say so too",
            )
    return reports, verdicts


def _approvals(
    bundle: Bundle,
    history: PolicyHistory,
    reports: Mapping[str, Verified[ShadowReport]],
    trained: Trained,
    revocations: Revocations,
    now: int,
    checks: Checks,
) -> dict[str, Mapping[str, str]]:
    groups: dict[tuple[object, ...], list[tuple[Envelope, Statement[Approval]]]] = {}
    for envelope, statement in bundle.of(Approval):
        said = statement.predicate
        one = (said.action, said.incumbent, said.shadow_report, said.evidence, said.policy)
        groups.setdefault(one, []).append((envelope, statement))
    approved: dict[str, Mapping[str, str]] = {}
    for together in groups.values():
        said = together[0][1].predicate
        what = f"approval to {said.action}"
        try:
            policy = history.by_digest(said.policy)
            if all(statement.predicate.decision == "refuse" for _, statement in together):
                # Nobody asks for anything: whatever the verdict was, they have said no.
                for envelope, statement in together:
                    who = told(signers(envelope, history, revocations, now))
                    checks.open(what, f"refused by {who}: {statement.predicate.comment!r}")
                continue
            report = reports.get(said.shadow_report) if said.shadow_report else None
            found = verify_approvals(
                [envelope for envelope, _ in together],
                policy=policy,
                action=said.action,
                model=bundle.model,
                candidate=bundle.candidate,
                incumbent=said.incumbent,
                shadow_report=report,
                evidence_digest=said.evidence,
                audience=policy.audience,
                now=max(statement.predicate.not_before for _, statement in together),
                proposer=trained.person,
                trainer_keys=trained.keys,
                used_nonces=frozenset(),
                revocations=revocations,
            )
            checks.holds(
                what, ", ".join(f"{who} ({role or 'more'})" for who, role in found.persons.items())
            )
            approved[said.action] = found.persons
            _evidence(bundle, said, what, checks)
        except GovernanceError as error:
            if error.reason in WAITING:
                checks.open(what, error.failed)
            else:
                checks.fails(what, error.reason, str(error))
    return approved


def _evidence(bundle: Bundle, said: Approval, what: str, checks: Checks) -> None:
    """What was approved is this bundle at some moment, and its evidence is still the same."""
    if said.evidence is None:
        return
    changed = [path for path in bundle.since(said.evidence) if not path.startswith("statements/")]
    if said.action in ("promote", "validate") and (other := set(changed) - LATER):
        checks.fails(
            what, "evidence_changed", f"{', '.join(sorted(other))} changed after it was approved"
        )
        return
    if said.action != "shadow" and (unseen := set(bundle.added_since(said.evidence)) - LATER):
        checks.open(
            f"{what}, evidence", f"{', '.join(sorted(unseen))} came later: not approved with it"
        )
    later = f"; {', '.join(changed)} written anew since" if changed else ""
    checks.holds(f"{what}, evidence", f"this bundle as it was at {said.evidence[:19]}…{later}")


def _deployments(
    bundle: Bundle, history: PolicyHistory, revocations: Revocations, checks: Checks
) -> tuple[str, ...]:
    found = []
    for envelope, _ in bundle.of(Deployment):
        what = _named("deployment", envelope.digest)
        with checks.finding(what):
            said = verify_deployment(
                envelope,
                policy=history.newest,
                model=bundle.model,
                audience=history.newest.audience,
                revocations=revocations,
            ).predicate
            history.by_digest(said.policy)
            found.append(envelope.digest)
            checks.holds(what, f"live at gateway {said.gateway}, signed by it")
    return tuple(found)


def _signatories(bundle: Bundle, history: PolicyHistory) -> Iterable[Signatory]:
    for envelope, statement in bundle.of(Approval):
        said = statement.predicate
        known: Mapping[bytes, Key] = _policy_of(said, history).by_public
        for public in sorted(verified_keys(envelope, known)):
            key = known[public]
            yield Signatory(
                key.person, key.roles, said.action, said.decision, said.comment, said.not_before
            )


def _policy_of(said: Approval, history: PolicyHistory) -> Policy:
    try:
        return history.by_digest(said.policy)
    except GovernanceError:
        return history.newest
