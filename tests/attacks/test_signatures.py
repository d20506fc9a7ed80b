"""Attacks on who signed. Each must be refused, and for its own reason."""

import json
from dataclasses import replace
from typing import Any

import pytest

from governance import policy as policies
from governance.canonical import encode
from governance.dsse import Envelope, Signature
from governance.errors import GovernanceError
from governance.keys import key_id
from tests.governance.signing import (
    DAY,
    KEYS,
    NOW,
    Promotion,
    key,
    policy,
    policy_document,
    signer,
    with_key,
)

PROMOTION = Promotion(policy())


def refusal(*envelopes: Envelope, of: Promotion = PROMOTION, **changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        of.verify(*envelopes, **changes)
    return refused.value.reason


def test_an_unsigned_approval_is_refused() -> None:
    assert refusal(PROMOTION.approved()) == "unsigned"


def test_a_signature_by_a_key_that_nobody_enrolled_is_refused() -> None:
    assert refusal(PROMOTION.approved("mallory", "eve")) == "no_valid_signature"


def test_a_signature_moved_from_another_payload_is_refused() -> None:
    other = PROMOTION.approved("dora", "greta", comment="another")
    moved = replace(PROMOTION.approved(), signatures=other.signatures)
    assert refusal(moved) == "no_valid_signature"


def test_one_person_of_two_is_not_enough() -> None:
    assert refusal(PROMOTION.approved("dora")) == "too_few_persons"


def test_two_people_in_one_role_are_not_two_roles() -> None:
    fleet = Promotion(policy(keys=with_key(key("dirk", "domain_expert"))))
    assert refusal(fleet.approved("dora", "dirk"), of=fleet) == "missing_role"


def test_one_key_under_two_names_is_not_enrolled() -> None:
    twice = [*KEYS, key("dora", "governance_approver", person="dora2")]
    with pytest.raises(GovernanceError) as refused:
        policies.parse(encode(policy_document(keys=twice)))
    assert refused.value.reason == "duplicate_key"


def test_one_signature_under_two_key_ids_counts_once() -> None:
    once = PROMOTION.approved("dora")
    other = Signature(once.signatures[0].sig, key_id(signer("greta").public_key))
    twice = replace(once, signatures=(*once.signatures, other))
    assert refusal(twice) == "too_few_persons"


def test_one_person_with_two_keys_is_one_person() -> None:
    second = key("dora-2", "governance_approver", person="dora")
    fleet = Promotion(policy(keys=with_key(second)))
    assert refusal(fleet.approved("dora", "dora-2"), of=fleet) == "same_person"


def test_who_proposed_does_not_approve() -> None:
    assert refusal(PROMOTION.approved("dora", "greta"), proposer="dora") == "proposer_approves"


def test_who_proposed_does_not_approve_with_another_key_either() -> None:
    second = key("dora-2", "domain_expert", person="dora")
    fleet = Promotion(policy(keys=with_key(second)))
    envelope = fleet.approved("dora-2", "greta")
    assert refusal(envelope, of=fleet, proposer="dora") == "proposer_approves"


@pytest.mark.parametrize("enrolled", [True, False])
def test_who_trained_does_not_approve(enrolled: bool) -> None:
    who = "dora" if enrolled else "stranger"
    trainers = {signer(who).public_key}
    envelope = PROMOTION.approved(who, "greta")
    assert refusal(envelope, trainer_keys=trainers) == "trainer_approves"


def test_a_trainer_s_other_key_does_not_approve_either() -> None:
    second = key("dora-2", "domain_expert", person="dora")
    fleet = Promotion(policy(keys=with_key(second)))
    trainers = {signer("dora").public_key}
    envelope = fleet.approved("dora-2", "greta")
    assert refusal(envelope, of=fleet, trainer_keys=trainers) == "trainer_approves"


@pytest.mark.parametrize("service", ["gateway-1", "ledger-1"])
def test_a_service_s_key_approves_nothing(service: str) -> None:
    assert refusal(PROMOTION.approved("dora", service)) == "service_approves"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"not_after": NOW}, "expired_key"),
        ({"not_before": NOW + 60}, "key_not_yet_valid"),
        ({"revoked_at": NOW - DAY}, "revoked_key"),
    ],
)
def test_a_key_out_of_its_time_does_not_count(changes: dict[str, Any], expected: str) -> None:
    keys = [k | changes if k["person"] == "greta" else k for k in KEYS]
    fleet = Promotion(policy(keys=keys))
    assert refusal(fleet.approved("dora", "greta"), of=fleet) == expected


@pytest.mark.parametrize("length", [3, 88])
def test_a_hundred_thousand_junk_signatures_are_refused_unread(length: int) -> None:
    document = json.loads(PROMOTION.approved("dora", "greta").to_json())
    document["signatures"] += [{"keyid": "", "sig": "AAAA" * (length // 3)}] * 100_000
    with pytest.raises(GovernanceError) as refused:
        Envelope.from_json(json.dumps(document).encode())
    assert refused.value.reason == "too_large"


def test_a_seventeenth_signature_is_refused() -> None:
    with pytest.raises(GovernanceError) as refused:
        PROMOTION.approved(*(f"stranger {n}" for n in range(17)))
    assert refused.value.reason == "too_many_signatures"


def test_a_seventeenth_envelope_is_refused() -> None:
    many = [PROMOTION.approved("dora", nonce=f"{n:032x}") for n in range(17)]
    assert refusal(*many) == "too_many_envelopes"


def test_a_thirty_third_signature_over_all_envelopes_is_refused() -> None:
    many = [PROMOTION.approved(*(f"stranger {n}" for n in range(11)))] * 3
    assert refusal(*many) == "too_many_signatures"


def test_a_key_id_of_an_approver_makes_no_signature_of_another_valid() -> None:
    forged = PROMOTION.approved("mallory", "eve")
    ids = [key_id(signer(name).public_key) for name in ("dora", "greta")]
    signatures = tuple(replace(s, keyid=i) for s, i in zip(forged.signatures, ids, strict=True))
    assert refusal(replace(forged, signatures=signatures)) == "no_valid_signature"


def test_nothing_at_all_is_refused() -> None:
    assert refusal() == "no_statements"
