"""Candidates come in: a model directory of the repository, where it is from, how it tested."""

from dataclasses import dataclass
from typing import TypeVar

from governance.attestations import Evaluation, Provenance
from governance.binding import bound
from governance.bundle.errors import BundleError
from governance.dsse import Envelope, verified_keys
from governance.errors import SignatureError, StatementError
from governance.ledger.kinds import DIGEST
from governance.policy import Policy
from governance.predicates import Predicate
from governance.revocations import Revocations
from governance.service import evidence as bundle_kept
from governance.service.authority import Authority, key_of
from governance.service.repository import RepositoryError, refuse_offline, verify
from governance.signatories import refuse_unsigned, unfit_key
from governance.statements import Statement, check_payload_type, parse

P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Submitted:
    """What became of a candidate: its digest and its state by the registry."""

    digest: str
    state: str


def submit(
    authority: Authority,
    model: str,
    version: int,
    provenance: Envelope,
    evaluation: Envelope,
    bundle: str | None,
) -> Submitted:
    """Register REPOSITORY/model/version with its statements; again changes nothing.

    `bundle` is the evidence bundle's digest; without it the candidate waits for `evidence`.

    Raises:
        GovernanceError: the directory is not what its manifest says, a statement is not a
            trainer's or about something else, or the registry refuses; the reason says why.

    """
    folder = authority.models / model / str(version)
    digest = verify(folder)
    refuse_offline(folder)
    policy, now = authority.home.policy(), authority.clock()
    policy.check_current(now)
    with authority.lock:
        revocations = authority.revocations()
        if digest in revocations.models:
            raise StatementError("revoked_model", f"model {digest} is revoked")
        made, trainer = _by_trainer(provenance, Provenance, policy, now, revocations)
        tested, _ = _by_trainer(evaluation, Evaluation, policy, now, revocations)
        for statement in (made, tested):
            bound("model", statement.name, model)
            bound("candidate", statement.digest, digest)
        for data in made.predicate.datasets:
            if data in revocations.datasets:
                raise StatementError("revoked_dataset", f"data set {data} is revoked")
        about = {"model": model, "candidate": digest}
        for envelope in (provenance, evaluation):
            authority.home.keep(envelope)
        authority.record(
            "register",
            key_of("register", model, digest),
            **about,
            trainer=trainer,
            provenance=provenance.digest,
        )
        passed = tested.predicate.result == "PASSED"
        authority.record(
            "accept_eval" if passed else "fail_eval",
            key_of("evaluation", model, digest),
            **about,
            evaluation=evaluation.digest,
        )
        if passed and bundle is not None:
            return evidence(authority, model, digest, bundle)
        return Submitted(digest, authority.candidate(model, digest).state)


def evidence(authority: Authority, model: str, candidate: str, bundle: str) -> Submitted:
    """Say that a candidate's evidence bundle is there, or that it has grown.

    The first digest is logged; of a candidate that is exported already the bundle that is kept must
    be this one and have grown from that.

    Raises:
        GovernanceError: the digest is none, the bundle lacks what the policy asks for at `export`,
            or the registry refuses.

    """
    if not DIGEST.fullmatch(bundle):
        raise RepositoryError("bad_digest", f"{bundle!r} is no digest of a bundle")
    with authority.lock:
        known = authority.candidate(model, candidate)
        if known.bundle not in (None, bundle):
            if bundle_kept.digest(authority.home, model, candidate, known) != bundle:
                raise BundleError(
                    "other_evidence",
                    f"the bundle {bundle} is not what is kept, or did not grow from {known.bundle}",
                    remedy="add to the bundle that was handed in: `sluicegate bundle add`",
                )
            return Submitted(candidate, known.state)
        policy = authority.home.policy()
        for gate in ("accept_eval", "export"):
            bundle_kept.require(authority.home, policy, model, candidate, known, gate)
        authority.record(
            "export",
            key_of("export", model, candidate),
            model=model,
            candidate=candidate,
            bundle=bundle,
        )
        return Submitted(candidate, authority.candidate(model, candidate).state)


def _by_trainer(
    envelope: Envelope, kind: type[P], policy: Policy, now: int, revocations: Revocations
) -> tuple[Statement[P], str]:
    """The statement, and the id of the trainer's key that signed it."""
    check_payload_type(envelope)
    signed = verified_keys(envelope, policy.by_public)
    if not signed:
        refuse_unsigned([envelope])
    keys = [policy.by_public[public] for public in signed]
    trainers = [key for key in keys if "trainer" in key.roles]
    if not trainers:
        raise SignatureError(
            "not_a_trainer", f"{keys[0].person} signed", expected="a key in the role 'trainer'"
        )
    if (unfit := unfit_key(trainers[0], now, revocations)) is not None:
        raise SignatureError(unfit.reason, unfit.sentence)
    return parse(envelope.payload, kind), trainers[0].key_id
