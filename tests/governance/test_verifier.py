"""The strict verifier of approvals, break-glass and revocations."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.dsse import Envelope, Signature
from governance.errors import GovernanceError
from governance.keys import key_id
from governance.policy import Policy
from governance.revocations import Revocations
from governance.verifier import Approved, verify_break_glass, verify_revocation
from tests.governance import samples
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    DAY,
    INCUMBENT,
    MODEL,
    NOW,
    Promotion,
    digest_of,
    key,
    policy,
    signed,
    signer,
    with_key,
)

PROMOTION = Promotion(policy())
GOOD = PROMOTION.approved("dora", "greta")


def refusal(*envelopes: Envelope, of: Promotion = PROMOTION, **changes: Any) -> str:
    with pytest.raises(GovernanceError) as refused:
        of.verify(*envelopes, **changes)
    return refused.value.reason


def test_two_people_in_the_two_roles_approve() -> None:
    approved = PROMOTION.verify(GOOD)
    assert approved.persons == {"dora": "domain_expert", "greta": "governance_approver"}
    assert len(approved.nonces) == len(approved.statements) == 1
    assert approved.statements == (GOOD.digest,)
    assert approved.expires == NOW + 3600
    assert approved.heads[0].size == 12


def test_one_payload_may_be_signed_in_several_envelopes() -> None:
    approved = PROMOTION.verify(PROMOTION.approved("dora"), PROMOTION.approved("greta"))
    assert len(approved.persons) == 2
    assert len(approved.nonces) == 1


def test_each_may_sign_a_payload_of_their_own_with_a_nonce_of_its_own() -> None:
    dora = PROMOTION.approved("dora", nonce="a" * 32, comment="mine", expires=NOW + 600)
    greta = PROMOTION.approved("greta", nonce="b" * 32)
    approved = PROMOTION.verify(dora, greta)
    assert approved.nonces == {"a" * 32, "b" * 32}
    assert approved.expires == NOW + 600
    for nonce in ("a" * 32, "b" * 32):
        assert refusal(dora, greta, used_nonces={nonce}) == "replayed_nonce"


def test_two_payloads_with_one_nonce_are_refused() -> None:
    one, other = PROMOTION.approved("dora"), PROMOTION.approved("greta", comment="other")
    assert refusal(one, other) == "nonce_reused"


@pytest.mark.parametrize("action", ["shadow", "validate", "deprecate", "rollback"])
def test_other_actions_need_one_person_and_no_report(action: str) -> None:
    who = "dora" if action == "validate" else "olga"
    envelope = PROMOTION.approved(who, action=action, shadow_report=None)
    assert PROMOTION.verify(envelope, action=action, shadow_report=None).persons.keys() == {who}
    other = "olga" if action == "validate" else "dora"
    envelope = PROMOTION.approved(other, action=action, shadow_report=None)
    assert refusal(envelope, action=action, shadow_report=None) == "too_few_persons"


def test_the_first_model_of_a_route_has_no_incumbent() -> None:
    envelope = PROMOTION.approved("olga", action="shadow", shadow_report=None, incumbent=None)
    PROMOTION.verify(envelope, action="shadow", shadow_report=None, incumbent=None)
    assert refusal(envelope, action="shadow", shadow_report=None) == "wrong_incumbent"


@pytest.mark.parametrize("action", ["revoke", "break_glass"])
def test_revocation_and_break_glass_are_not_approved_by_an_approval(action: str) -> None:
    assert refusal(GOOD, action=action) == "wrong_action"


def test_a_refusal_blocks_whatever_the_others_signed() -> None:
    no = PROMOTION.approved("greta", decision="refuse", comment="segment 3", nonce="c" * 32)
    yes = PROMOTION.approved("dora", "greta")
    assert refusal(yes, no) == "refused_by_person"
    assert refusal(no) == "refused_by_person"


def test_a_refusal_by_somebody_without_a_say_neither_blocks_nor_counts() -> None:
    no = PROMOTION.approved("olga", decision="refuse", comment="no", nonce="c" * 32)
    assert len(PROMOTION.verify(GOOD, no).persons) == 2
    assert refusal(no) == "no_statements"
    mixed = PROMOTION.approved("dora")
    assert refusal(mixed, no) == "too_few_persons"


def test_a_signature_too_many_does_no_harm() -> None:
    approved = PROMOTION.verify(PROMOTION.approved("dora", "greta", "tom", "stranger", "olga"))
    assert approved.persons.keys() == {"dora", "greta"}
    assert set(approved.keys) == {signer("dora").public_key, signer("greta").public_key}


def test_an_expired_policy_still_lets_people_go_back() -> None:
    now = PROMOTION.by.expires + 60
    times: dict[str, Any] = {"not_before": now - 60, "expires": now + 60}
    back = PROMOTION.approved("olga", action="rollback", shadow_report=None, **times)
    PROMOTION.verify(back, action="rollback", shadow_report=None, now=now)
    assert refusal(PROMOTION.approved("dora", "greta", **times), now=now) == "policy_expired"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    what = data.draw(st.sampled_from(["payload", "type", "signature"]))
    flip = data.draw(st.integers(1, 255))

    def altered(found: bytes) -> bytes:
        at = data.draw(st.integers(0, len(found) - 1))
        return found[:at] + bytes([found[at] ^ flip]) + found[at + 1 :]

    if what == "payload":
        envelope = replace(GOOD, payload=altered(GOOD.payload))
    elif what == "type":
        kind = altered(GOOD.payload_type.encode()).decode("latin-1")
        envelope = replace(GOOD, payload_type=kind)
    else:
        first, second = GOOD.signatures
        envelope = replace(GOOD, signatures=(replace(first, sig=altered(first.sig)), second))
    expected = {
        "payload": {"no_valid_signature"},
        "type": {"wrong_payload_type"},
        "signature": {"too_few_persons"},
    }
    assert refusal(envelope) in expected[what]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_any_cut_or_lengthened_envelope_is_refused(tail: bytes, cut: int) -> None:
    data = GOOD.to_json()[: max(0, len(GOOD.to_json()) - cut)] + tail
    try:
        envelope = Envelope.from_json(data)
    except GovernanceError:
        return
    assert envelope == GOOD


def test_a_changed_key_id_changes_nothing() -> None:
    signatures = tuple(Signature(s.sig, "nobody") for s in GOOD.signatures)
    assert PROMOTION.verify(replace(GOOD, signatures=signatures)) == PROMOTION.verify(GOOD)


def test_a_revoked_approval_model_or_key_is_refused() -> None:
    assert (
        refusal(GOOD, revocations=Revocations(approvals={GOOD.digest: NOW})) == "revoked_approval"
    )
    assert refusal(GOOD, revocations=Revocations(models={CANDIDATE: NOW})) == "revoked_model"
    lost = key_id(signer("greta").public_key)
    assert refusal(GOOD, revocations=Revocations(keys={lost: NOW})) == "revoked_key"


def test_of_two_revocations_the_earlier_time_counts() -> None:
    early, late = samples.revocation(), replace(samples.revocation(), since=NOW - 60)
    for both in ((early, late), (late, early)):
        assert Revocations.of(both).models == {CANDIDATE: NOW - 600}


def break_glass(*names: str, by: Policy = samples.POLICY, **changes: Any) -> Approved:
    arguments: dict[str, Any] = {
        "policy": by,
        "action": "promote",
        "model": MODEL,
        "candidate": CANDIDATE,
        "incumbent": INCUMBENT,
        "audience": AUDIENCE,
        "now": NOW,
        "proposer": "tom",
        "trainer_keys": (),
        "used_nonces": (),
        "revocations": Revocations(),
    }
    said = replace(samples.break_glass(), **changes.pop("said", {}))
    return verify_break_glass([signed(said, *names)], **(arguments | changes))


def test_security_and_an_operator_break_the_glass() -> None:
    approved = break_glass("sam", "olga")
    assert approved.persons == {"olga": "operator", "sam": "security"}
    assert approved.expires == NOW + 600


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        (("sam",), {}, "too_few_persons"),
        (("olga", "oscar"), {}, "missing_role"),
        (("sam", "olga"), {"said": {"expires": NOW + 4000}}, "valid_too_long"),
        (("sam", "olga"), {"now": NOW + 601}, "expired"),
        (("sam", "olga"), {"action": "rollback"}, "wrong_action"),
        (("sam", "olga"), {"incumbent": None}, "wrong_incumbent"),
        (("sam", "olga"), {"candidate": INCUMBENT}, "wrong_candidate"),
        (("sam", "olga"), {"model": "fraud-2"}, "wrong_model"),
        (("sam", "olga"), {"proposer": "olga"}, "proposer_approves"),
        (("sam", "olga"), {"used_nonces": {samples.break_glass().nonce}}, "replayed_nonce"),
        (("sam", "olga"), {"said": {"policy": digest_of("other")}}, "wrong_policy"),
        (("sam", "olga"), {"said": {"audience": "bidders-us"}}, "wrong_audience"),
        (("sam", "olga"), {"audience": "bidders-us"}, "wrong_audience"),
        (("sam", "olga"), {"now": NOW + 90 * DAY}, "policy_expired"),
        (("sam", "olga"), {"clock_floor": NOW + 1}, "clock_set_back"),
        (("sam", "olga"), {"revocations": Revocations(models={CANDIDATE: 0})}, "revoked_model"),
    ],
)
def test_break_glass_is_bound_like_an_approval(
    names: tuple[str, ...], changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(GovernanceError) as refused:
        break_glass(*names, **changes)
    assert refused.value.reason == expected


def test_two_people_with_two_justifications_have_not_agreed() -> None:
    other = replace(samples.break_glass(), justification="another", nonce="e" * 32)
    with pytest.raises(GovernanceError) as refused:
        verify_break_glass(
            [signed(samples.break_glass(), "sam"), signed(other, "olga")],
            policy=samples.POLICY,
            action="promote",
            model=MODEL,
            candidate=CANDIDATE,
            incumbent=INCUMBENT,
            audience=AUDIENCE,
            now=NOW,
            proposer="tom",
            trainer_keys=(),
            used_nonces=(),
            revocations=Revocations(),
        )
    assert refused.value.reason == "several_statements"


def revoke(*names: str, model: str = MODEL, now: int = NOW, **said: Any) -> Any:
    envelope = signed(replace(samples.revocation(), **said), *names, model=model)
    return verify_revocation(
        [envelope],
        policy=samples.POLICY,
        audience=AUDIENCE,
        now=now,
        revocations=Revocations(),
    )


def test_security_revokes_late_and_under_an_expired_policy_too() -> None:
    said, quorum = revoke("sam")
    assert (said.what, quorum.persons) == ("model", {"sam": "security"})
    revoke("sam", now=samples.POLICY.expires + DAY)


@pytest.mark.parametrize(
    ("names", "model", "said", "expected"),
    [
        (("olga",), MODEL, {}, "too_few_persons"),
        ((), MODEL, {}, "unsigned"),
        (("sam",), "credit", {}, "no_risk_class"),
        (("sam",), MODEL, {"what": "key"}, "wrong_subject"),
        (("sam",), MODEL, {"audience": "bidders-us"}, "wrong_audience"),
        (("sam",), MODEL, {"issued": NOW + DAY}, "not_yet_valid"),
    ],
)
def test_a_revocation_that_does_not_count_is_refused(
    names: tuple[str, ...], model: str, said: dict[str, Any], expected: str
) -> None:
    with pytest.raises(GovernanceError) as refused:
        revoke(*names, model=model, **said)
    assert refused.value.reason == expected


@pytest.mark.parametrize(
    ("audience", "now", "expected"),
    [
        ("bidders-us", NOW, "wrong_audience"),
        (AUDIENCE, NOW - 11 * DAY, "policy_not_yet_valid"),
    ],
)
def test_a_revocation_is_checked_by_the_policy_of_its_fleet(
    audience: str, now: int, expected: str
) -> None:
    said = replace(samples.revocation(), audience=audience)
    with pytest.raises(GovernanceError) as refused:
        verify_revocation(
            [signed(said, "sam")],
            policy=samples.POLICY,
            audience=audience,
            now=now,
            revocations=Revocations(),
        )
    assert refused.value.reason == expected


def test_a_key_is_revoked_by_its_id() -> None:
    lost = key_id(signer("dora").public_key)
    said, _ = revoke("sam", model="key", what="key", target=lost)
    assert refusal(GOOD, revocations=Revocations.of([said])) == "revoked_key"


def test_a_key_that_may_fill_two_roles_fills_the_one_that_is_left() -> None:
    both = key("erika", "domain_expert", "governance_approver")
    fleet = Promotion(policy(keys=with_key(both)))
    approved = fleet.verify(fleet.approved("erika", "dora"))
    assert approved.persons == {"erika": "governance_approver", "dora": "domain_expert"}
    assert refusal(fleet.approved("erika"), of=fleet) == "too_few_persons"


def test_a_rule_may_ask_for_more_people_than_roles() -> None:
    rules = {"rollback": {"roles": ["operator"], "persons": 2}}
    fleet = Promotion(policy(rules=rules))
    arguments: dict[str, Any] = {"action": "rollback", "shadow_report": None}
    two = fleet.verify(fleet.approved("olga", "oscar", **arguments), **arguments)
    assert sorted(two.persons.values()) == ["", "operator"]
    one = fleet.approved("olga", "dora", **arguments)
    assert refusal(one, of=fleet, **arguments) == "too_few_persons"


def test_the_verifier_imports_nothing_of_others_but_cryptography() -> None:
    code = (
        "import sys, governance.verifier, governance.service_verifier, governance.policy_chain\n"
        "names = {m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*sorted(n for n in names if not n.startswith('_')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    found = set(run.stdout.split()) & {"gateway", "google", "grpc", "numpy", "typer", "rich"}
    assert "cryptography" in run.stdout
    assert not found


def test_the_first_model_of_a_name_needs_no_report_and_a_later_one_cannot_do_without() -> None:
    promotion = Promotion(changes={"incumbent": None, "shadow_report": None})
    first = promotion.approved("dora", "greta", incumbent=None, shadow_report=None)
    assert promotion.verify(first).incumbent is None
    with pytest.raises(GovernanceError) as refused:
        promotion.verify(first, incumbent=INCUMBENT)
    assert refused.value.reason == "no_shadow_report"
