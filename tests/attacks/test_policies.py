"""Attacks on the policy: an old one, one too new, one signed by the wrong people."""

from dataclasses import replace
from typing import Any

import pytest

from governance import policy as policies
from governance.canonical import digest, encode
from governance.dsse import Envelope, sign
from governance.errors import GovernanceError
from governance.policy import PAYLOAD_TYPE, Policy
from governance.policy_chain import accept, follow
from tests.governance.signing import (
    AUDIENCE,
    DAY,
    KEYS,
    NOW,
    Promotion,
    key,
    policy,
    policy_document,
    signed_policy,
    signer,
)

FIRST = policy()
OLD_ROOTS, NEW_ROOTS = ("rita", "rolf"), ("nora", "nils")
RENEWED = [k for k in KEYS if "root" not in k["roles"]] + [key(n, "root") for n in NEW_ROOTS]


def version(n: int, after: Policy, **changes: Any) -> Policy:
    return policy(version=n, previous=after.digest, **changes)


def refusal(
    envelope: Envelope, current: Policy | None = FIRST, pinned: str | None = None, now: int = NOW
) -> str:
    with pytest.raises(GovernanceError) as refused:
        accept(envelope, current, pinned, now)
    return refused.value.reason


def test_the_first_policy_is_the_one_that_is_pinned() -> None:
    envelope = signed_policy(FIRST, *OLD_ROOTS)
    assert accept(envelope, None, FIRST.digest, NOW) == FIRST
    assert refusal(envelope, None, digest(b"another")) == "not_pinned"
    assert refusal(envelope, None, None) == "not_pinned"


def test_the_pinned_policy_still_needs_its_roots() -> None:
    for roots in ((), ("rita",), ("rita", "olga"), ("rita", "rita")):
        assert refusal(signed_policy(FIRST, *roots), None, FIRST.digest) == "new_root_threshold"


def test_the_next_version_signed_by_all_roots_is_followed() -> None:
    second = version(2, FIRST, keys=RENEWED)
    assert accept(signed_policy(second, *OLD_ROOTS, *NEW_ROOTS), FIRST, None, NOW) == second


def test_a_policy_signed_only_by_its_own_new_roots_is_refused() -> None:
    second = version(2, FIRST, keys=RENEWED)
    assert refusal(signed_policy(second, *NEW_ROOTS)) == "old_root_threshold"


def test_a_policy_signed_only_by_the_old_roots_is_refused() -> None:
    second = version(2, FIRST, keys=RENEWED)
    assert refusal(signed_policy(second, *OLD_ROOTS)) == "new_root_threshold"


def test_an_older_version_is_refused() -> None:
    second = version(2, FIRST)
    assert refusal(signed_policy(FIRST, *OLD_ROOTS), second) == "policy_rollback"


def test_another_policy_of_the_same_version_is_refused() -> None:
    second, other = version(2, FIRST), version(2, FIRST, expires=NOW + 91 * DAY)
    assert refusal(signed_policy(other, *OLD_ROOTS), second) == "policy_rollback"
    assert refusal(signed_policy(second, *OLD_ROOTS), second) == "policy_rollback"


@pytest.mark.parametrize("n", [3, 2**53 - 1])
def test_a_version_that_leaps_is_refused(n: int) -> None:
    assert refusal(signed_policy(version(n, FIRST), *OLD_ROOTS)) == "policy_fast_forward"


def test_a_policy_that_follows_another_history_is_refused() -> None:
    fork = policy(expires=NOW + 50 * DAY)
    assert refusal(signed_policy(version(2, fork), *OLD_ROOTS)) == "wrong_previous"


def test_a_policy_of_another_fleet_is_refused() -> None:
    second = version(2, FIRST, audience="bidders-us")
    assert refusal(signed_policy(second, *OLD_ROOTS)) == "other_audience"


def test_a_backdated_policy_is_refused() -> None:
    second = version(2, FIRST, valid_from=NOW - 11 * DAY)
    assert refusal(signed_policy(second, *OLD_ROOTS)) == "backdated_policy"


def test_an_expired_policy_is_a_freeze_and_is_refused() -> None:
    second = version(2, FIRST, expires=NOW)
    assert refusal(signed_policy(second, *OLD_ROOTS)) == "policy_expired"
    promotion = Promotion(FIRST)
    with pytest.raises(GovernanceError) as refused:
        promotion.verify(promotion.approved("dora", "greta"), now=FIRST.expires)
    assert refused.value.reason == "policy_expired"


def test_a_policy_of_tomorrow_is_refused() -> None:
    second = version(2, FIRST, valid_from=NOW + DAY)
    assert refusal(signed_policy(second, *OLD_ROOTS)) == "policy_not_yet_valid"


def test_one_root_with_two_keys_is_one_root() -> None:
    keys = [*KEYS, key("rita-2", "root", person="rita")]
    first = policy(keys=keys)
    envelope = signed_policy(first, "rita", "rita-2")
    assert refusal(envelope, None, first.digest) == "new_root_threshold"


def test_a_revoked_root_does_not_sign_the_next_policy() -> None:
    keys = [k | {"revoked_at": NOW - DAY} if k["person"] == "rita" else k for k in KEYS]
    keys.append(key("rosa", "root"))
    first = policy(keys=keys)
    second = policy(version=2, previous=first.digest, keys=keys, valid_from=NOW)
    assert refusal(signed_policy(second, "rita", "rolf"), first) == "old_root_threshold"
    accept(signed_policy(second, "rosa", "rolf"), first, None, NOW)


def test_a_machine_that_was_off_follows_every_version_between() -> None:
    second = version(2, FIRST, expires=NOW - 1, keys=[*KEYS, *(key(n, "root") for n in NEW_ROOTS)])
    third = policy(version=3, previous=second.digest, keys=RENEWED)
    chain = [
        signed_policy(second, *OLD_ROOTS),
        signed_policy(third, *OLD_ROOTS, *NEW_ROOTS),
    ]
    assert follow(chain, FIRST, None, NOW) == third
    with pytest.raises(GovernanceError) as refused:
        follow(chain[:1], FIRST, None, NOW)
    assert refused.value.reason == "policy_expired"
    with pytest.raises(GovernanceError) as refused:
        follow(chain[1:], FIRST, None, NOW)
    assert refused.value.reason == "policy_fast_forward"


def test_nothing_to_follow_is_refused() -> None:
    with pytest.raises(GovernanceError) as refused:
        follow([], None, FIRST.digest, NOW)
    assert refused.value.reason == "no_policy"


def test_a_statement_is_no_policy() -> None:
    envelope = replace(signed_policy(FIRST, *OLD_ROOTS), payload_type="application/json")
    assert refusal(envelope, None, FIRST.digest) == "wrong_payload_type"
    statement = Promotion(FIRST).approved("rita", "rolf")
    as_policy = sign(statement.payload, PAYLOAD_TYPE, signer("rita"), signer("rolf"))
    assert refusal(as_policy) == "unknown_field"


def test_a_rule_without_roles_lets_nobody_through() -> None:
    document = policy_document(rules={"promote": {"roles": [], "persons": 0}})
    with pytest.raises(GovernanceError) as refused:
        policies.parse(encode(document))
    assert refused.value.reason == "empty_roles"
    assert document["audience"] == AUDIENCE
