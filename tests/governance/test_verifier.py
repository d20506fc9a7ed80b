"""The strict verifier of approvals, break-glass and revocations."""

import pytest

from tests.governance.signing import Promotion, policy


@pytest.fixture(scope="module")
def promotion() -> Promotion:
    return Promotion(policy())


def test_two_people_in_the_two_roles_approve(promotion: Promotion) -> None:
    approved = promotion.verify(promotion.approved("dora", "greta"))
    assert approved.persons == {"dora": "domain_expert", "greta": "governance_approver"}
    assert len(approved.nonces) == len(approved.statements) == 1
