"""Attacks on the signed bytes: genuine signatures over what could be read in two ways."""

import json
from typing import Any

import pytest

from governance import canonical
from governance.dsse import Envelope, sign
from governance.errors import GovernanceError, MalformedError
from governance.predicates import Approval
from governance.revocations import Revocations
from governance.service_verifier import verify_for_serving
from governance.statements import KINDS, PAYLOAD_TYPE
from tests.governance import samples
from tests.governance.signing import Promotion, approval, policy, signed, signer

PROMOTION = Promotion(policy())
TEXT = PROMOTION.approved().payload.decode()


def refusal(payload: str, kind: str = PAYLOAD_TYPE) -> str:
    envelope = sign(payload.encode(), kind, signer("dora"), signer("greta"))
    with pytest.raises(GovernanceError) as refused:
        PROMOTION.verify(envelope)
    return refused.value.reason


def test_the_text_itself_is_approved() -> None:
    PROMOTION.verify(sign(TEXT.encode(), PAYLOAD_TYPE, signer("dora"), signer("greta")))


def test_a_key_that_occurs_twice_is_refused() -> None:
    # Whoever takes the first reads a refusal, whoever takes the last an approval.
    twice = TEXT.replace('"decision":"approve"', '"decision":"refuse","decision":"approve"')
    assert twice != TEXT
    assert refusal(twice) == "duplicate_key"


@pytest.mark.parametrize("number", ["1.0", "1e0", "NaN", "Infinity", "-Infinity"])
def test_floating_point_is_refused(number: str) -> None:
    assert refusal(TEXT.replace('"policyVersion":1', f'"policyVersion":{number}')) == "float"


def test_an_integer_that_others_would_round_is_refused() -> None:
    large = TEXT.replace('"size":12', '"size":9007199254740993')
    assert refusal(large) == "number_out_of_range"


def test_an_oversized_payload_is_refused() -> None:
    with pytest.raises(MalformedError) as refused:
        Envelope(PAYLOAD_TYPE, b" " * (canonical.MAX_BYTES + 1))
    assert refused.value.reason == "too_large"


def test_a_comment_of_a_megabyte_is_refused() -> None:
    assert refusal(TEXT.replace("read the report", "x" * 1_000_000)) == "bad_value"


def test_deep_nesting_is_refused() -> None:
    assert refusal("[" * 200_000 + "]" * 200_000) == "too_deep"


@pytest.mark.parametrize("change", [(":", ": "), ('{"_type"', '{ "_type"'), ("read", "\\u0072ead")])
def test_another_spelling_is_refused(change: tuple[str, str]) -> None:
    assert refusal(TEXT.replace(*change)) == "not_canonical"


def test_a_line_feed_at_the_end_is_refused() -> None:
    assert refusal(TEXT + "\n") == "not_canonical"


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"approval"}))
def test_a_valid_signature_over_another_kind_of_statement_is_refused(kind: str) -> None:
    assert refusal(samples.statements()[kind].payload.decode()) == "wrong_predicate_type"


def test_a_kind_of_statement_that_nobody_knows_is_refused() -> None:
    unknown = TEXT.replace(Approval.TYPE, "urn:sluicegate:approval:v2")
    assert refusal(unknown) == "wrong_predicate_type"


@pytest.mark.parametrize("kind", ["application/json", "", "application/vnd.sluicegate.policy+json"])
def test_a_valid_signature_as_another_type_of_payload_is_refused(kind: str) -> None:
    assert refusal(TEXT, kind) == "wrong_payload_type"


def test_a_payload_whose_type_was_changed_after_signing_is_refused() -> None:
    other = sign(TEXT.encode(), "application/json", signer("dora"), signer("greta"))
    moved = Envelope(PAYLOAD_TYPE, other.payload, other.signatures)
    with pytest.raises(GovernanceError) as refused:
        PROMOTION.verify(moved)
    assert refused.value.reason == "no_valid_signature"


def _refusal_of(*envelopes: Envelope, **changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        PROMOTION.verify(*envelopes, **changes)
    return refused.value.reason


def test_no_evidence_at_all_is_refused() -> None:
    good = PROMOTION.approved("dora", "greta")
    assert _refusal_of(good, evidence_digest=None) == "no_evidence"
    assert refusal(json.dumps(_without_evidence(), **SPELLING)) == "no_evidence"


def test_no_report_at_all_is_refused() -> None:
    assert _refusal_of(PROMOTION.approved("dora", "greta"), shadow_report=None) == (
        "no_shadow_report"
    )


def test_an_empty_list_of_approvals_is_refused() -> None:
    assert _refusal_of() == "no_statements"


def test_a_deployment_without_an_approval_behind_it_is_refused() -> None:
    document = canonical.decode(samples.statements()["deployment"].payload)
    document["predicate"]["approvals"] = []
    envelope = sign(canonical.encode(document), PAYLOAD_TYPE, signer("gateway-1"))
    with pytest.raises(GovernanceError) as refused:
        verify_for_serving(
            samples.deployment().candidate, envelope, samples.POLICY, Revocations(), model="fraud"
        )
    assert refused.value.reason == "bad_value"


SPELLING: dict[str, Any] = {"sort_keys": True, "separators": (",", ":")}


def _without_evidence() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(TEXT)
    document["predicate"]["evidence"] = None
    return document


def test_a_candidate_hidden_in_the_subject_is_refused() -> None:
    document = json.loads(TEXT)
    document["subject"][0]["digest"]["sha256"] = "0" * 64
    assert refusal(json.dumps(document, **SPELLING)) == "subject_mismatch"


def test_a_second_subject_is_refused() -> None:
    document = json.loads(TEXT)
    document["subject"] *= 2
    assert refusal(json.dumps(document, **SPELLING)) == "wrong_subject"


def test_a_field_that_the_verifier_does_not_know_is_refused() -> None:
    document = json.loads(TEXT)
    document["predicate"]["expiresAt"] = 1
    assert refusal(json.dumps(document, **SPELLING)) == "unknown_field"


def test_two_names_that_look_the_same_are_refused() -> None:
    composed = signed(approval(PROMOTION.by, comment="caf\u00e9"), "dora", "greta")
    PROMOTION.verify(composed)
    assert refusal(TEXT.replace("read the report", "cafe\\u0301")) == "not_normal_form"
