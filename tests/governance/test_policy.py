"""What a policy may say."""

from typing import Any

import pytest

from governance import canonical
from governance import policy as policies
from governance.errors import GovernanceError, MalformedError, PolicyError
from governance.policy import Policy
from tests.governance.signing import (
    DAY,
    KEYS,
    MODEL,
    NOW,
    RULES,
    key,
    policy,
    policy_document,
    signer,
    with_key,
)


def parse(document: dict[str, Any]) -> Policy:
    return policies.parse(canonical.encode(document))


def refusal(**changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        parse(policy_document(**changes))
    return refused.value.reason


def test_a_policy_is_read_and_written_as_the_same_bytes() -> None:
    data = canonical.encode(policy_document())
    assert policies.parse(data).payload == data
    assert policies.parse(data).digest == canonical.digest(data)


def rule(action: str, roles: list[str], persons: int) -> dict[str, Any]:
    return {"rules": {action: {"roles": roles, "persons": persons}}}


ROOTS_EXPIRE = [k if "root" not in k["roles"] else k | {"not_after": NOW - 20 * DAY} for k in KEYS]
DE, GA = "domain_expert", "governance_approver"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"keys": [*KEYS, key("olga", "operator", person="mallory")]}, "duplicate_key"),
        ({"keys": with_key(key("x", "gateway", "operator"))}, "service_and_person"),
        ({"keys": with_key(key("x", "operator", person="gateway-1"))}, "service_and_person"),
        ({"keys": with_key(key("x", "trainer", "operator"))}, "trainer_may_not_approve"),
        ({"keys": with_key(key("x", "operator", person="tom"))}, "trainer_may_not_approve"),
        ({"keys": with_key(key("x", "operator", "operator"))}, "duplicate_role"),
        ({"keys": with_key(key("x", "king"))}, "bad_value"),
        ({"keys": with_key(key("x"))}, "bad_value"),
        ({"keys": with_key(key("x", "operator", person="Olga"))}, "bad_value"),
        ({"keys": with_key(key("x", "operator", not_after=NOW - 40 * DAY))}, "bad_validity"),
        ({"keys": with_key(key("x", "operator", public="01" + "00" * 31))}, "unsound_key"),
        ({"keys": ROOTS_EXPIRE}, "unreachable_threshold"),
        ({"root_persons": 3}, "unreachable_threshold"),
        ({"root_persons": 0}, "bad_value"),
        (rule("promote", [], 0), "empty_roles"),
        (rule("promote", [], 2), "empty_roles"),
        (rule("promote", [DE, GA], 1), "low_threshold"),
        (rule("promote", [DE, GA], 3), "unreachable_threshold"),
        (rule("promote", [DE, DE], 2), "unreachable_threshold"),
        (rule("promote", ["trainer"], 1), "role_may_not_approve"),
        (rule("promote", ["gateway"], 1), "role_may_not_approve"),
        (rule("promote", ["root"], 1), "role_may_not_approve"),
        (rule("promot", [DE], 1), "unknown_action"),
        ({"version": 0}, "bad_value"),
        ({"version": 2}, "bad_previous"),
        ({"previous": "sha256:" + "0" * 64}, "bad_previous"),
        ({"expires": NOW - 10 * DAY}, "bad_validity"),
        ({"models": [{"pattern": "*", "risk_class": "none"}]}, "unknown_risk_class"),
        ({"models": [{"pattern": "a*b", "risk_class": "high"}]}, "bad_value"),
        ({"models": []}, "bad_value"),
        ({"witnesses": [{"name": "w", "public": KEYS[0]["public"]}]}, "duplicate_key"),
        ({"witnesses": [{"name": "w", "public": "00" * 32}]}, "unsound_key"),
        ({"admins": [{"spiffe_id": "spiffe://B/x", "roles": ["operator"]}]}, "bad_value"),
        (
            {"admins": [{"spiffe_id": "spiffe://b/x", "roles": ["operator"]}] * 2},
            "duplicate_admin",
        ),
        ({"format": "sluicegate.policy/2"}, "bad_value"),
        ({"note": "hello"}, "unknown_field"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    changes: dict[str, Any], expected: str
) -> None:
    assert refusal(**changes) == expected


@pytest.mark.parametrize("field", list(policy_document()))
def test_every_field_has_to_be_there(field: str) -> None:
    document = policy_document()
    del document[field]
    with pytest.raises(MalformedError) as refused:
        parse(document)
    assert refused.value.reason == "missing_field"


@pytest.mark.parametrize("action", list(RULES))
def test_every_action_has_to_have_a_rule(action: str) -> None:
    document = policy_document()
    del document["risk_classes"]["high"]["rules"][action]
    with pytest.raises(PolicyError) as refused:
        parse(document)
    assert refused.value.reason == "missing_rule"


def test_one_person_with_both_roles_does_not_make_a_threshold_of_two_reachable() -> None:
    keys = [k for k in KEYS if k["person"] not in ("dora", "greta")]
    keys += [key("one", DE, person="erika"), key("two", GA, person="erika")]
    assert refusal(keys=keys) == "unreachable_threshold"


def test_a_revoked_key_does_not_count_towards_what_can_be_reached() -> None:
    keys = [k if k["person"] != "sam" else k | {"revoked_at": NOW - 20 * DAY} for k in KEYS]
    assert refusal(keys=keys) == "unreachable_threshold"


def test_the_first_pattern_that_fits_decides_a_model_s_class() -> None:
    low = policy_document()["risk_classes"]["high"] | {"approval_seconds": 60}
    found = policy(
        risk_classes={"high": policy_document()["risk_classes"]["high"], "low": low},
        models=[
            {"pattern": "fraud-test", "risk_class": "low"},
            {"pattern": "fraud*", "risk_class": "high"},
        ],
    )
    assert found.risk_class("fraud-test").approval_seconds == 60
    assert found.risk_class("fraud-test2").approval_seconds == DAY
    with pytest.raises(PolicyError) as refused:
        found.risk_class("credit")
    assert refused.value.reason == "no_risk_class"


def test_identities_of_administrators_are_compared_as_they_are_spelt() -> None:
    found = policy()
    assert found.admin_roles("spiffe://bank/ops/olga") == {"operator"}
    for other in ("spiffe://BANK/ops/olga", "spiffe://bank/ops/olga/", "spiffe://bank/ops"):
        assert found.admin_roles(other) == frozenset()


def test_a_policy_binds_only_within_its_time() -> None:
    found = policy()
    found.check_current(NOW)
    for now, expected in ((found.expires, "policy_expired"), (0, "policy_not_yet_valid")):
        with pytest.raises(PolicyError) as refused:
            found.check_current(now)
        assert refused.value.reason == expected


def test_what_the_shadow_section_says_is_left_alone() -> None:
    assert policy().risk_class(MODEL).shadow == {"limit": "0.005"}
    assert policy().by_public[signer("olga").public_key].person == "olga"
