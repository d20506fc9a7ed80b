"""Checks while they are collected, policies of the past, and model directories as auditors read."""

from pathlib import Path

import pytest

from governance import canonical
from governance.checks import MOST_FINDINGS, Checks
from governance.errors import GovernanceError, StatementError
from governance.model_directory import find_model, model_digest
from governance.policy_history import PolicyHistory
from tests.governance.governed import model_directory
from tests.governance.signing import (
    DAY,
    MODEL,
    NOW,
    digest_of,
    policy,
    signed_policy,
    signer,
    with_key,
)
from tests.governance.signing import key as entry


def test_a_refusal_becomes_a_finding_with_its_own_reason() -> None:
    checks = Checks()
    with checks.finding("approval"):
        raise StatementError("expired", "it expired")
    checks.holds("ledger", "sound")
    assert [(c.what, c.reason) for c in checks.findings] == [("approval", "expired")]
    assert dict(checks.counts) == {"fails": 1, "holds": 1}


def test_what_is_no_refusal_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), Checks().finding("anything"):
        raise ZeroDivisionError


def test_findings_are_told_up_to_a_limit() -> None:
    checks = Checks()
    for place in range(MOST_FINDINGS + 3):
        checks.fails(str(place), "bad", "bad")
    assert len(checks.findings) == MOST_FINDINGS


def test_a_policy_of_the_past_is_found_by_digest_and_by_time() -> None:
    first = policy()
    new = with_key(entry("ruth", "operator"), without=["oscar"])
    second = policy(version=2, previous=first.digest, valid_from=NOW, keys=new)
    chain = [signed_policy(found, "rita", "rolf") for found in (first, second)]
    history = PolicyHistory.read(chain, first.digest)
    assert history.newest == second
    assert history.by_digest(first.digest) == first
    assert history.at(NOW - DAY) == first
    assert history.at(NOW) == second
    assert history.at(0) is None
    # Somebody who left still has signed what they signed.
    assert {signer("oscar").public_key, signer("ruth").public_key} <= history.keys.keys()
    with pytest.raises(GovernanceError) as refused:
        history.by_digest(digest_of("other"))
    assert refused.value.reason == "unknown_policy"


def test_a_model_is_found_by_its_digest_among_versions(tmp_path: Path) -> None:
    digests = [model_directory(tmp_path, version) for version in (1, 2, 3)]
    assert find_model(tmp_path, MODEL, digests[1]) == tmp_path / MODEL / "2"
    assert find_model(tmp_path, MODEL, digest_of("other")) is None
    assert find_model(tmp_path, "unknown", digests[0]) is None
    assert model_digest(tmp_path / MODEL / "3") == digests[2]


def test_a_model_directory_with_a_link_or_another_form_is_refused(tmp_path: Path) -> None:
    model_directory(tmp_path, 1)
    folder = tmp_path / MODEL / "1"
    (folder / "model.onnx").rename(tmp_path / "aside")
    (folder / "model.onnx").symlink_to(tmp_path / "aside")
    with pytest.raises(GovernanceError) as refused:
        model_digest(folder)
    assert refused.value.reason == "model_link"
    outside = {"path": "../aside", "sha256": canonical.digest(b"")[7:], "size": 0}
    manifest = {"files": [outside], "format": "sluicegate.model/1"}
    (folder / "manifest.json").write_bytes(canonical.encode(manifest))
    with pytest.raises(GovernanceError) as refused:
        model_digest(folder)
    assert refused.value.reason == "bad_value"
