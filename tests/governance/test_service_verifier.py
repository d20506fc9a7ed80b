"""What gateways sign, and what may be served after a restart."""

from dataclasses import replace
from typing import Any

import pytest

from governance.binding import Verified
from governance.dsse import sign
from governance.errors import GovernanceError
from governance.keys import key_id
from governance.predicates import Deployment
from governance.revocations import Revocations
from governance.service_verifier import verify_for_serving, verify_shadow_report
from governance.shadow_report import ShadowReport
from tests.governance import samples
from tests.governance.samples import POLICY
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    DAY,
    GATEWAY,
    INCUMBENT,
    KEYS,
    MODEL,
    NOW,
    digest_of,
    key,
    policy,
    report,
    signed,
    signer,
    verified_report,
    with_key,
)


def serve(*names: str, said: dict[str, Any] | None = None, **changes: Any) -> Verified[Deployment]:
    deployment = replace(samples.deployment(), **(said or {}))
    arguments: dict[str, Any] = {
        "manifest_digest": CANDIDATE,
        "deployment": signed(deployment, *names),
        "policy": POLICY,
        "revocations": Revocations(),
        "model": MODEL,
    }
    return verify_for_serving(**(arguments | changes))


def refusal(*names: str, **changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        serve(*names, **changes)
    return refused.value.reason


def test_what_was_promoted_may_be_served() -> None:
    found = serve(GATEWAY)
    assert found.predicate == samples.deployment()
    assert found.key == signer(GATEWAY).public_key


def test_it_may_be_served_after_its_key_and_its_policy_have_expired() -> None:
    old = [k | {"not_after": NOW + 1} if k["person"] == GATEWAY else k for k in KEYS]
    later = policy(version=2, previous=POLICY.digest, keys=old, expires=NOW + 2)
    assert serve(GATEWAY, policy=later).name == MODEL


KEY = key_id(signer(GATEWAY).public_key)
DORA = key_id(signer("dora").public_key)
SECOND = policy(keys=with_key(key("gateway-2", "gateway")))
REVOKED = policy(
    keys=[k | {"revoked_at": NOW + DAY} if k["person"] == GATEWAY else k for k in KEYS]
)


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        ((), {}, "unsigned"),
        (("stranger",), {}, "no_valid_signature"),
        (("olga",), {}, "not_a_gateway"),
        (("ledger-1",), {}, "not_a_gateway"),
        (("gateway-2",), {"policy": SECOND}, "wrong_gateway"),
        ((GATEWAY,), {"manifest_digest": INCUMBENT}, "wrong_candidate"),
        ((GATEWAY,), {"model": "fraud-2"}, "wrong_model"),
        ((GATEWAY,), {"said": {"audience": "bidders-us"}}, "wrong_audience"),
        ((GATEWAY,), {"said": {"effective": NOW + 400 * DAY}}, "expired_key"),
        ((GATEWAY,), {"said": {"effective": NOW - 40 * DAY}}, "key_not_yet_valid"),
        ((GATEWAY,), {"policy": REVOKED}, "revoked_key"),
        ((GATEWAY,), {"revocations": Revocations(keys={KEY: NOW + 1})}, "revoked_key"),
        ((GATEWAY,), {"revocations": Revocations(models={CANDIDATE: 0})}, "revoked_model"),
        (
            (GATEWAY,),
            {"revocations": Revocations(approvals={digest_of("approval"): NOW})},
            "revoked_approval",
        ),
        (
            (GATEWAY,),
            {
                "revocations": Revocations(datasets={digest_of("data"): NOW}),
                "datasets": {digest_of("data")},
            },
            "revoked_dataset",
        ),
        ((GATEWAY,), {"revocations": Revocations(keys={DORA: NOW})}, "revoked_key"),
    ],
)
def test_what_may_not_be_served_is_refused_for_its_own_reason(
    names: tuple[str, ...], changes: dict[str, Any], expected: str
) -> None:
    assert refusal(*names, **changes) == expected


def test_a_key_lost_after_the_promotion_takes_nothing_back() -> None:
    assert serve(GATEWAY, revocations=Revocations(keys={DORA: NOW + 1})).name == MODEL


def test_a_deployment_signed_as_another_type_of_payload_is_refused() -> None:
    payload = signed(samples.deployment()).payload
    envelope = sign(payload, "application/json", signer(GATEWAY))
    assert refusal(deployment=envelope) == "wrong_payload_type"


def test_a_deployment_cannot_be_used_as_a_report() -> None:
    with pytest.raises(GovernanceError) as refused:
        check(signed(samples.deployment(), GATEWAY))
    assert refused.value.reason == "wrong_predicate_type"


def check(envelope: Any, **changes: Any) -> Verified[ShadowReport]:
    arguments: dict[str, Any] = {
        "policy": POLICY,
        "model": MODEL,
        "candidate": CANDIDATE,
        "incumbent": INCUMBENT,
        "audience": AUDIENCE,
        "now": NOW,
        "revocations": Revocations(),
    }
    return verify_shadow_report(envelope, **(arguments | changes))


def test_a_report_is_known_by_its_payload_s_digest() -> None:
    envelope = signed(report(POLICY), GATEWAY)
    assert check(envelope).digest == envelope.digest == verified_report(POLICY).digest


@pytest.mark.parametrize(
    ("names", "said", "changes", "expected"),
    [
        (("olga",), {}, {}, "not_a_gateway"),
        ((GATEWAY,), {"gateway": "gateway-2"}, {}, "wrong_gateway"),
        ((GATEWAY,), {}, {"model": "fraud-2"}, "wrong_model"),
        ((GATEWAY,), {}, {"candidate": INCUMBENT}, "wrong_candidate"),
        ((GATEWAY,), {}, {"incumbent": CANDIDATE}, "wrong_incumbent"),
        ((GATEWAY,), {"audience": "bidders-us"}, {}, "wrong_audience"),
        ((GATEWAY,), {"policy": digest_of("other")}, {}, "wrong_policy"),
        ((GATEWAY,), {}, {"now": NOW + 400 * DAY}, "expired_key"),
    ],
)
def test_a_report_on_something_else_is_refused(
    names: tuple[str, ...], said: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(GovernanceError) as refused:
        check(signed(report(POLICY, **said), *names), **changes)
    assert refused.value.reason == expected
