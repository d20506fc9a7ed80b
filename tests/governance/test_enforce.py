"""The gate at load: only what people signed for is served, whoever wrote the folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from governance.errors import GovernanceError
from governance.home import Live
from governance.predicates import Deployment, Revocation
from governance.statements import parse
from tests.governance.folder import Folder, folder
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    DAY,
    EVIDENCE,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    key,
    with_key,
)

OTHER = digest_of("another model")


@pytest.fixture
def promoted(tmp_path: Path) -> Folder:
    made = folder(tmp_path)
    made.promote(INCUMBENT, digest_of("the first"))
    made.promote()
    return made


def refusal(made: Folder, digest: str = CANDIDATE, model: str = MODEL) -> str:
    with pytest.raises(GovernanceError) as refused:
        made.gate().may_serve(model, digest)
    return refused.value.reason


def test_what_was_promoted_and_what_was_before_it_may_be_served(promoted: Folder) -> None:
    gate = promoted.gate()
    gate.may_serve(MODEL, CANDIDATE)
    gate.may_serve(MODEL, INCUMBENT)
    assert (gate.live(MODEL), gate.live("other")) == (CANDIDATE, None)


def test_a_model_that_nobody_signed_for_is_refused(promoted: Folder) -> None:
    assert refusal(promoted, OTHER) == "not_deployed"
    assert refusal(promoted, CANDIDATE, "fraud-2") == "not_deployed"


def test_the_gateways_key_alone_cannot_make_a_model_live(promoted: Folder) -> None:
    # Whoever holds the folder and the gateway's key signs a deployment on the old approval.
    live = promoted.home.live(MODEL)
    assert live is not None
    old = promoted.promote()
    forged = promoted.keep(replace(old, candidate=OTHER), GATEWAY)
    promoted.home.set_live(MODEL, replace(live, model_digest=OTHER, deployment=forged))
    assert refusal(promoted, OTHER) == "wrong_candidate"


@pytest.mark.parametrize(
    ("signers", "reason"),
    [
        (("dora",), "too_few_persons"),
        (("dora", "dora"), "too_few_persons"),
        (("dora", "olga"), "too_few_persons"),
        ((), "unsigned"),
        (("mallory",), "no_valid_signature"),
    ],
)
def test_an_approval_that_too_few_have_signed_is_none(
    tmp_path: Path, signers: tuple[str, ...], reason: str
) -> None:
    made = folder(tmp_path)
    made.promote(signers=signers)
    assert refusal(made) == reason


def test_a_deployment_that_the_gateway_did_not_sign_is_none(promoted: Folder) -> None:
    made = promoted.promote()
    forged = promoted.keep(replace(made, ledger_index=15), "greta")
    live = promoted.home.live(MODEL)
    assert live is not None
    promoted.home.set_live(MODEL, replace(live, deployment=forged))
    assert refusal(promoted) == "not_a_gateway"


def test_a_statement_that_is_gone_or_swapped_is_found(promoted: Folder) -> None:
    live = promoted.home.live(MODEL)
    assert live is not None
    path = promoted.home.root / "statements" / f"{live.deployment[7:]}.json"
    kept = path.read_bytes()
    path.unlink()
    assert refusal(promoted) == "no_statement"
    other = next(p for p in path.parent.glob("*.json") if p != path)
    path.write_bytes(other.read_bytes())
    assert refusal(promoted) == "statement_changed"
    path.write_bytes(kept)
    promoted.gate().may_serve(MODEL, CANDIDATE)


@pytest.mark.parametrize("what", ["model", "approval"])
def test_what_is_revoked_is_not_loaded_again(promoted: Folder, what: str) -> None:
    made = promoted.promote()
    target = {"model": CANDIDATE, "approval": made.approvals[0]}[what]
    revocation = Revocation(what, target, "data was wrong", NOW, AUDIENCE, NOW)  # type: ignore[arg-type]
    name = MODEL if what == "model" else what
    replace(promoted, model=name).keep(revocation, "sam")
    assert refusal(promoted) == f"revoked_{what}"


def test_a_revocation_that_nobody_with_the_right_signed_revokes_nothing(promoted: Folder) -> None:
    revocation = Revocation("model", CANDIDATE, "I would rather not", NOW, AUDIENCE, NOW)
    promoted.keep(revocation, "olga")
    promoted.gate().may_serve(MODEL, CANDIDATE)


def test_a_policy_folder_without_pin_or_with_another_chain_serves_nothing(
    promoted: Folder,
) -> None:
    pin = promoted.home.root / "pin"
    pin.write_text(digest_of("another policy"))
    assert refusal(promoted) == "not_pinned"
    pin.unlink()
    assert refusal(promoted) == "no_pin"


def test_a_live_record_that_points_elsewhere_does_not_help(promoted: Folder) -> None:
    live = promoted.home.live(MODEL)
    assert live is not None
    # The deployment of another model under this one's name.
    promoted.home.set_live(MODEL, Live(OTHER, live.deployment))
    assert refusal(promoted, OTHER) == "wrong_candidate"


def test_approvals_for_a_model_do_not_bring_the_one_back_that_it_replaced(
    promoted: Folder,
) -> None:
    live = promoted.home.live(MODEL)
    assert live is not None
    said = parse(promoted.home.statement(live.deployment).payload, Deployment).predicate
    # By who has the gateway's key: the same two models, the other way round.
    turned = replace(said, candidate=INCUMBENT, previous=said.candidate)
    promoted.home.set_live(MODEL, Live(INCUMBENT, promoted.keep(turned, GATEWAY)))
    assert refusal(promoted, INCUMBENT) == "wrong_candidate"


def test_shadowing_needs_an_operators_signature_that_still_holds(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.lives()
    gate = made.gate(NOW)
    with pytest.raises(GovernanceError) as refused:
        gate.may_shadow(MODEL, CANDIDATE)
    assert refused.value.reason == "not_approved"
    agreed = approval(made.by, action="shadow", shadow_report=None, evidence=EVIDENCE)
    made.keep(agreed, "dora")
    with pytest.raises(GovernanceError) as refused:
        gate.may_shadow(MODEL, CANDIDATE)
    assert refused.value.reason == "too_few_persons"
    made.keep(agreed, "olga")
    gate.may_shadow(MODEL, CANDIDATE)
    with pytest.raises(GovernanceError) as refused:
        made.gate(NOW + DAY).may_shadow(MODEL, CANDIDATE)
    assert refused.value.reason == "expired"


def test_a_new_policy_does_not_unmake_what_was_promoted_under_the_old_one(tmp_path: Path) -> None:
    from tests.governance.signing import policy, signed_policy  # noqa: PLC0415

    made = folder(tmp_path)
    made.promote()
    keys = with_key(key("dan", "domain_expert"), without={"oscar"})
    second = policy(version=2, previous=made.by.digest, keys=keys, valid_from=NOW + 60)
    made.home.add_policy(signed_policy(second, "rita", "rolf"), 2)
    made.gate().may_serve(MODEL, CANDIDATE)
