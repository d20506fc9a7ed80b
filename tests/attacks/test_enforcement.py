"""Attacks on what the serving process checks by itself, by who has the service and its folder."""

from pathlib import Path
from typing import Any

import pytest

from governance.errors import GovernanceError
from tests.governance.folder import Folder, folder
from tests.governance.signing import (
    CANDIDATE,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    report,
)

MOVED = digest_of("what was promoted meanwhile")


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    """Genuine approvals of a shadow and of a promotion, in place of INCUMBENT, which is live."""
    found = folder(tmp_path)
    found.lives()
    found.keep(approval(found.by, action="shadow", shadow_report=None), "olga")
    agree(found)
    return found


def agree(made: Folder, incumbent: str = INCUMBENT, **changes: Any) -> None:
    reported = made.keep(report(made.by, candidate=CANDIDATE, incumbent=incumbent), GATEWAY)
    said = approval(made.by, incumbent=incumbent, shadow_report=reported, **changes)
    made.keep(said, "dora", "greta")


def refusal(made: Folder, purpose: str) -> str:
    with pytest.raises(GovernanceError) as refused:
        getattr(made.gate(NOW + 60), purpose)(MODEL, CANDIDATE)
    return refused.value.reason


@pytest.mark.parametrize("purpose", ["may_shadow", "may_canary"])
def test_approvals_given_against_another_live_model_are_of_no_use_once_it_has_moved(
    made: Folder, purpose: str
) -> None:
    getattr(made.gate(NOW + 60), purpose)(MODEL, CANDIDATE)
    made.lives(MOVED)
    assert refusal(made, purpose) == "wrong_incumbent"


@pytest.mark.parametrize("purpose", ["may_shadow", "may_canary"])
def test_nothing_stands_beside_a_model_that_is_not_live(made: Folder, purpose: str) -> None:
    made.home.set_live(MODEL, None)
    assert refusal(made, purpose) == "wrong_incumbent"


def test_stale_approvals_do_not_stand_in_the_way_of_those_that_fit(made: Folder) -> None:
    made.lives(MOVED)
    agree(made, MOVED, nonce="b" * 32)
    made.gate(NOW + 60).may_canary(MODEL, CANDIDATE)


def test_a_stale_approval_does_not_make_up_for_a_missing_one(made: Folder) -> None:
    made.lives(MOVED)
    found = report(made.by, candidate=CANDIDATE, incumbent=MOVED)
    said = approval(
        made.by, incumbent=MOVED, shadow_report=made.keep(found, GATEWAY), nonce="c" * 32
    )
    made.keep(said, "dora")
    assert refusal(made, "may_canary") == "too_few_persons"
