"""The strict verifier of what gateways sign: shadow reports and deployments.

A gateway signs for itself alone: its key's holder in the policy is the gateway that the statement
names. Its role approves nothing.
"""

from collections.abc import Collection
from typing import TypeVar

from governance.binding import Verified, bound
from governance.dsse import Envelope, verified_keys
from governance.errors import SignatureError, StatementError
from governance.keys import key_id
from governance.policy import Key, Policy
from governance.predicates import Deployment, Predicate
from governance.revocations import Revocations
from governance.shadow_report import ShadowReport
from governance.signatories import refuse_unsigned, unfit_key
from governance.statements import Statement, check_payload_type, parse

P = TypeVar("P", bound=Predicate)


def verify_shadow_report(
    envelope: Envelope,
    *,
    policy: Policy,
    model: str,
    candidate: str,
    incumbent: str,
    audience: str,
    now: int,
    revocations: Revocations,
) -> Verified[ShadowReport]:
    """Check that a gateway of the policy signed a report on this comparison.

    Whether the verdict follows from the counts is the verdict's to recompute; whether it is PASS,
    `verify_approvals` asks.

    Raises:
        GovernanceError: it did not; the reason says why.

    """
    statement, keys = _read(envelope, ShadowReport, policy)
    said = statement.predicate
    bound("model", statement.name, model)
    bound("candidate", said.candidate, candidate)
    bound("incumbent", said.incumbent, incumbent)
    bound("audience", said.audience, audience)
    bound("policy", said.policy, policy.digest)
    key = _gateway_key(keys, said.gateway, now, revocations)
    return Verified(statement.name, envelope.digest, said, key.public_key)


def verify_deployment(
    envelope: Envelope,
    *,
    policy: Policy,
    model: str,
    audience: str,
    revocations: Revocations,
) -> Verified[Deployment]:
    """Check that a gateway signed that it made a model live.

    Its key had to be valid then; it may have expired since, so that a restart next month serves
    what was rightly promoted. A revoked key verifies nothing, old or new: the policy keeps keys of
    gateways, with their `not_after`, for as long as their deployments may be served.

    Raises:
        GovernanceError: it did not; the reason says why.

    """
    statement, keys = _read(envelope, Deployment, policy)
    said = statement.predicate
    bound("model", statement.name, model)
    bound("audience", said.audience, audience)
    key = _gateway_key(keys, said.gateway, said.effective, revocations)
    if key.revoked_at is not None:
        # Whoever has the key writes any time into `effective`, so the time of revocation, be it
        # one to come, does not matter.
        raise SignatureError("revoked_key", f"the key of {key.person} is revoked")
    return Verified(statement.name, envelope.digest, said, key.public_key)


def verify_for_serving(
    manifest_digest: str,
    deployment: Envelope,
    policy: Policy,
    revocations: Revocations,
    *,
    model: str,
    datasets: Collection[str] = (),
) -> Verified[Deployment]:
    """Decide at a start or a rollback whether a model may be served.

    Expiry and nonces of its approvals bounded the act of promotion and are not asked for again;
    neither is the time of day, nor whether the policy has expired.

    Args:
        manifest_digest: the digest of the model directory that was read.
        deployment: the gateway's own statement that this model was made live.
        policy: the highest version that the gateway has seen.
        revocations: everything that is revoked.
        model: the name under which it is to be served.
        datasets: digests of what it was trained with, where they are known.

    Raises:
        GovernanceError: it may not; the reason says why.

    """
    if manifest_digest in revocations.models:
        raise StatementError("revoked_model", f"model {manifest_digest} is revoked")
    found = verify_deployment(
        deployment,
        policy=policy,
        model=model,
        audience=policy.audience,
        revocations=revocations,
    )
    said = found.predicate
    bound("candidate", said.candidate, manifest_digest)
    for digest in said.approvals:
        if digest in revocations.approvals:
            raise StatementError("revoked_approval", f"approval {digest} is revoked")
    for digest in datasets:
        if digest in revocations.datasets:
            raise StatementError("revoked_dataset", f"data set {digest} is revoked")
    for public in said.approvers:
        _check_approver(bytes.fromhex(public), said.effective, policy, revocations)
    return found


def _check_approver(
    public: bytes, effective: int, policy: Policy, revocations: Revocations
) -> None:
    # The time is the gateway's word and not the approver's: a key that was lost last week takes
    # nothing back that was promoted last year.
    key = policy.by_public.get(public)
    times = [revocations.keys.get(key_id(public))]
    times.append(key.revoked_at if key is not None else None)
    if any(time is not None and time <= effective for time in times):
        who = key.person if key is not None else public.hex()
        raise StatementError("revoked_key", f"it was approved with the revoked key of {who}")


def _read(envelope: Envelope, kind: type[P], policy: Policy) -> tuple[Statement[P], list[Key]]:
    check_payload_type(envelope)
    signed = verified_keys(envelope, policy.by_public)
    if not signed:
        refuse_unsigned([envelope])
    keys = [policy.by_public[public] for public in signed]
    gateways = [key for key in keys if "gateway" in key.roles]
    if not gateways:
        raise SignatureError(
            "not_a_gateway", f"{keys[0].person} signed", expected="a key in the role 'gateway'"
        )
    return parse(envelope.payload, kind), gateways


def _gateway_key(keys: list[Key], gateway: str, at: int, revocations: Revocations) -> Key:
    own = [key for key in keys if key.person == gateway]
    if not own:
        raise StatementError(
            "wrong_gateway",
            f"the statement is in the name of gateway '{gateway}'",
            expected=f"'{keys[0].person}', who signed",
        )
    unfit = [unfit_key(key, at, revocations) for key in own]
    for key, exclusion in zip(own, unfit, strict=True):
        if exclusion is None:
            return key
    first = next(exclusion for exclusion in unfit if exclusion is not None)
    raise SignatureError(first.reason, first.sentence)
