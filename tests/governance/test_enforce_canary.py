"""What the serving process asks before a candidate answers a share of the callers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance.errors import GovernanceError
from governance.predicates import Revocation
from governance.statements import Statement
from tests.governance.folder import Folder, folder
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    DAY,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    policy,
    report,
    signed_policy,
    signer,
)


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    found = folder(tmp_path)
    found.lives()
    return found


def agree(made: Folder, *names: str, **changes: Any) -> str:
    """Keep a report and an approval of a promotion on it."""
    found = report(made.by, candidate=CANDIDATE, incumbent=INCUMBENT)
    reported = made.keep(found, GATEWAY)
    return made.keep(approval(made.by, shadow_report=reported, **changes), *names)


def refusal(made: Folder, now: int = NOW + 60, model: str = MODEL) -> str:
    with pytest.raises(GovernanceError) as refused:
        made.gate(now).may_canary(model, CANDIDATE)
    return refused.value.reason


def test_a_canary_takes_the_signatures_of_a_promotion(made: Folder) -> None:
    assert refusal(made) == "not_approved"
    agree(made, "dora", "greta")
    made.gate(NOW + 60).may_canary(MODEL, CANDIDATE)


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("dora",), "too_few_persons"), (("olga", "oscar"), "too_few_persons")],
)
def test_too_few_or_the_wrong_people_are_refused(
    made: Folder, names: tuple[str, ...], reason: str
) -> None:
    agree(made, *names)
    assert refusal(made) == reason


def test_two_approvals_of_one_person_each_count_together(made: Folder) -> None:
    agree(made, "dora", nonce="a" * 32)
    assert refusal(made) == "too_few_persons"
    agree(made, "greta", nonce="b" * 32)
    made.gate(NOW + 60).may_canary(MODEL, CANDIDATE)


def test_approvals_for_another_action_incumbent_or_name_do_not_help(made: Folder) -> None:
    shadow = approval(made.by, action="shadow", shadow_report=None)
    made.keep(shadow, "olga")
    assert refusal(made) == "not_approved"
    agree(made, "dora", incumbent=digest_of("another"), nonce="c" * 32)
    agree(made, "greta", nonce="d" * 32)
    assert refusal(made) in ("too_few_persons", "wrong_incumbent")
    agree(made, "dora", nonce="e" * 32)
    assert refusal(made, model="fraud-eu") == "not_approved"


def test_a_first_models_approval_is_none_for_a_canary(made: Folder) -> None:
    first = approval(made.by, incumbent=None, shadow_report=None)
    made.keep(first, "dora", "greta")
    assert refusal(made) == "not_approved"


def test_a_report_that_did_not_pass_or_that_nobody_signed_is_refused(made: Folder) -> None:
    found = report(made.by, candidate=CANDIDATE, incumbent=INCUMBENT)
    failed = made.keep(replace(found, verdict="FAIL"), GATEWAY)
    made.keep(approval(made.by, shadow_report=failed), "dora", "greta")
    assert refusal(made) == "verdict_not_pass"
    forged = made.keep(found, "olga")
    made.keep(approval(made.by, shadow_report=forged, nonce="f" * 32), "dora", "greta")
    assert refusal(made) in ("not_a_gateway", "verdict_not_pass")


def test_expired_approvals_allow_nothing_and_stand_in_no_others_way(made: Folder) -> None:
    agree(made, "dora", "greta", nonce="a" * 32)
    late = NOW + 2 * DAY
    assert refusal(made, late) == "expired"
    agree(made, "dora", "greta", nonce="b" * 32, not_before=late - 60, expires=late + 600)
    made.gate(late).may_canary(MODEL, CANDIDATE)


def test_a_refusal_blocks_until_it_expires(made: Folder) -> None:
    agree(made, "dora", "greta", nonce="a" * 32)
    agree(made, "greta", nonce="b" * 32, decision="refuse")
    assert refusal(made) == "refused_by_person"


def test_approvals_under_an_older_policy_are_refused(made: Folder) -> None:
    agree(made, "dora", "greta")
    second = policy(version=2, previous=made.by.digest, valid_from=NOW)
    made.home.add_policy(signed_policy(second, "rita", "rolf"), 2)
    assert refusal(made) == "wrong_policy"


@pytest.mark.parametrize("what", ["approval", "model"])
def test_a_revoked_approval_or_model_is_refused(made: Folder, what: Any) -> None:
    target = {"approval": agree(made, "dora", "greta"), "model": CANDIDATE}[what]
    said = Revocation(what, target, "a mistake", NOW, AUDIENCE, NOW)
    name = MODEL if what == "model" else what
    made.home.keep(Statement(name, target, said).envelope(signer("sam")))
    assert refusal(made) == f"revoked_{what}"
