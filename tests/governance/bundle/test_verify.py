"""Verification of a bundle offline: what holds, what is found, what is told to be unchecked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance import canonical
from governance.bundle import folder
from governance.bundle.groups import Change, Evaluated, Lineage
from governance.bundle.measured import Serving
from governance.bundle.verify import Verification, verify
from governance.predicates import Revocation
from governance.shadow_report import Callers, Scores
from governance.statements import Statement
from tests.governance.bundle import evidence
from tests.governance.bundle.evidence import CHAIN, PIN, POLICY
from tests.governance.reports import SHADOW, counts
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    digest_of,
    signer,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evidence") / "bundle"
    evidence.complete(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "bundle")


def look(root: Path, **more: Any) -> Verification:
    return verify(root, CHAIN, PIN, NOW + 60, **more)


def reasons(root: Path, **more: Any) -> set[str]:
    return {finding.reason for finding in look(root, **more).checks.findings}


def told(root: Path, state: str) -> str:
    lines = [line for line in look(root).checks.lines if line.state == state]
    return "\n".join(f"{line.what}: {line.sentence}" for line in lines)


def test_a_bundle_whose_model_is_live_holds_and_says_what_was_not_looked_at(root: Path) -> None:
    found = look(root)
    assert found.sound, found.checks.findings
    assert found.outcome.approved == {
        "promote": {"dora": "domain_expert", "greta": "governance_approver"}
    }
    assert found.outcome.verdict is not None
    assert found.outcome.verdict.outcome == "PASS"
    unchecked = {line.what for line in found.checks.lines if line.state == "unchecked"}
    assert unchecked == {"ledger", "model directory"}


def test_an_approval_that_still_lacks_somebody_is_open_and_no_finding(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b")
    evidence.approve(tmp_path / "b", "dora")
    assert reasons(tmp_path / "b") == set()
    assert "approval to promote: for 'promote' the signatures of dora" in told(
        tmp_path / "b", "open"
    )


def test_a_refusal_is_told_with_its_words(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b")
    evidence.approve(tmp_path / "b", "greta", decision="refuse", comment="segment 3")
    assert "refused by greta (governance_approver): 'segment 3'" in told(tmp_path / "b", "open")
    evidence.approve(tmp_path / "b", "dora", nonce="e" * 32)
    assert reasons(tmp_path / "b") == set()


def test_a_candidate_that_failed_and_was_refused_keeps_a_sound_bundle(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b", evidence.report(found=counts(d=60)))
    evidence.approve(tmp_path / "b", "greta", decision="refuse", comment="one in thirty")
    assert reasons(tmp_path / "b") == set()
    evidence.approve(tmp_path / "b", "dora", "greta", nonce="e" * 32)
    assert reasons(tmp_path / "b") == {"verdict_not_pass"}


def test_a_refusal_that_nobody_signed_is_found(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b")
    evidence.approve(tmp_path / "b", "mallory", decision="refuse", comment="no")
    assert reasons(tmp_path / "b") == {"no_valid_signature"}


def test_a_changed_byte_in_any_file_is_found(root: Path) -> None:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    assert len(files) > 20
    for path in files:
        kept = path.read_bytes()
        data = bytearray(kept)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert reasons(root), path
        path.write_bytes(kept)
    assert not reasons(root)


def test_evidence_that_came_after_the_approval_is_told(tmp_path: Path) -> None:
    held = evidence.before_approval(tmp_path / "b")
    (tmp_path / "b" / "risk.json").unlink()
    kept = [entry for entry in held.manifest.files if entry.path != "risk.json"]
    fewer = replace(held.manifest, files=tuple(kept))
    (tmp_path / "b" / "bundle.json").write_bytes(fewer.payload)
    evidence.approve(tmp_path / "b", "dora", "greta")
    folder.add(tmp_path / "b", {"risk": evidence.groups()["risk"]})
    assert reasons(tmp_path / "b") == set()
    assert "risk.json came later: not approved with it" in told(tmp_path / "b", "open")


def test_every_file_that_is_wrong_is_told_and_not_the_first_alone(root: Path) -> None:
    (root / "purpose.json").unlink()
    (root / "post.json").write_bytes(b"{}")
    (root / "more.json").write_bytes(b"{}")
    assert reasons(root) == {"missing_file", "file_changed", "unlisted_file"}


def test_a_digest_that_the_bundle_never_had_is_found(root: Path) -> None:
    held = folder.open_bundle(root)
    assert reasons(root, expect=held.digest) == set()
    assert reasons(root, expect=held.history[-1].digest) == set()
    assert reasons(root, expect=digest_of("other")) == {"other_evidence"}


def test_a_chain_that_is_not_the_pinned_one_is_found(root: Path) -> None:
    found = verify(root, CHAIN, digest_of("other"), NOW)
    assert {finding.reason for finding in found.checks.findings} == {"not_pinned"}
    assert {f.reason for f in verify(root, [], PIN, NOW).checks.findings} == {"no_policy"}


def grown(tmp_path: Path, **changes: Any) -> Path:
    """A bundle before approval, some of whose documents were then written anew."""
    evidence.before_approval(tmp_path / "b")
    folder.add(tmp_path / "b", **changes)
    return tmp_path / "b"


def test_evidence_that_changed_after_it_was_approved_is_found(root: Path) -> None:
    held = folder.open_bundle(root).group(Change)
    folder.add(root, {"change": replace(held, summary="Something else.")})
    assert reasons(root) == {"evidence_changed"}


def test_an_approval_of_another_bundle_is_found(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b")
    evidence.approve(tmp_path / "b", "dora", "greta", evidence=digest_of("other bundle"))
    assert reasons(tmp_path / "b") == {"other_evidence"}


def test_a_verdict_that_its_integers_do_not_give_is_found(tmp_path: Path) -> None:
    bad = evidence.report(found=counts(d=40))
    assert bad.verdict == "FAIL"
    lied = replace(
        bad, verdict="PASS", gates=tuple(replace(each, state="PASS") for each in bad.gates)
    )
    evidence.before_approval(tmp_path / "b", lied)
    assert reasons(tmp_path / "b") == {"verdict_differs"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shadow_policy": {**SHADOW, "disagreement_limit": "0.2"}}, "other_questions"),
        ({"gates": evidence.report().gates[1:]}, "verdict_differs"),
        ({"n": 1999}, "verdict_differs"),
        ({"callers": Callers(1, 3000)}, "bad_report"),
        ({"scores": Scores(0, 1)}, "verdict_differs"),
        ({"seed": "0" * 64}, "other_seed"),
    ],
)
def test_a_report_cannot_choose_its_own_questions_or_counts(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    evidence.before_approval(tmp_path / "b", replace(evidence.report(), **changes))
    assert reasons(tmp_path / "b") == {reason}


def test_a_report_by_somebody_else_than_a_gateway_is_found(tmp_path: Path) -> None:
    shadowed = evidence.about(evidence.report(attempt=2), "olga")
    root = grown(tmp_path, statements=[shadowed])
    assert reasons(root) == {"not_a_gateway"}


def test_a_provenance_by_nobody_who_trains_is_found(tmp_path: Path) -> None:
    other = replace(
        evidence.provenance().run_details,
        metadata=replace(evidence.provenance().run_details.metadata, invocation_id="run-18"),
    )
    made = replace(evidence.provenance(), run_details=other)
    assert reasons(grown(tmp_path, statements=[evidence.about(made, "olga")])) == {"not_a_trainer"}
    folder.add(
        tmp_path / "b",
        statements=[
            evidence.about(
                replace(
                    made,
                    run_details=replace(
                        other, metadata=replace(other.metadata, invocation_id="run-19")
                    ),
                ),
                "mallory",
            )
        ],
    )
    assert reasons(tmp_path / "b") == {"not_a_trainer", "no_valid_signature"}


def table(**changes: Any) -> Evaluated:
    return replace(evidence.evaluated(), **changes)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            table(metrics=(evidence.metric("core AUC", "0.93", "0.91", "0.95", threshold="0.92"),)),
            "evaluation_differs",
        ),
        (
            table(regressions=replace(evidence.evaluated().regressions, allowed=1)),  # type: ignore[type-var]
            "evaluation_differs",
        ),
        (
            table(regressions=replace(evidence.evaluated().regressions, regressed=0)),  # type: ignore[type-var]
            "bad_regressions",
        ),
        (table(metrics=(evidence.metric("AUC", "0.9", "0.8", "1"),)), "no_threshold"),
        (
            table(metrics=(evidence.metric("AUC", "0.97", "0.93", "0.95", threshold="0.9"),)),
            "bad_interval",
        ),
        (
            table(metrics=(evidence.metric("AUC", "0.95", "0.93", "0.97", threshold="0.9"),) * 2),
            "duplicate_metric",
        ),
        (
            table(
                metrics=(
                    evidence.metric(
                        "AUC", "0.95", "0.93", "0.97", threshold="0.9", data_set=digest_of("open")
                    ),
                )
            ),
            "other_data",
        ),
    ],
)
def test_an_evaluation_that_its_figures_do_not_give_is_found(
    tmp_path: Path, changed: Evaluated, reason: str
) -> None:
    folder.create(tmp_path / "b", MODEL, CANDIDATE)
    statement = evidence.about(evidence.evaluation(changed), "audrey")
    folder.add(tmp_path / "b", {"evaluation": changed}, [statement])
    assert reasons(tmp_path / "b") == {reason}


def test_a_table_of_figures_that_nobody_signed_for_is_found(tmp_path: Path) -> None:
    root = grown(tmp_path, groups={"evaluation": table(run="run-18")})
    assert reasons(root) == {"other_table"}


def test_a_measurement_or_a_cost_that_was_retold_is_found(tmp_path: Path) -> None:
    serving = evidence.serving()
    assert serving.candidate is not None
    assert serving.cost is not None
    faster = replace(serving.candidate, latency_us=replace(serving.candidate.latency_us, p99="9"))
    root = grown(tmp_path, groups={"serving": replace(serving, candidate=faster)})
    assert reasons(root) == {"measurement_differs"}
    cheaper = replace(serving, cost=replace(serving.cost, per_million="0.00001"))
    folder.add(root, {"serving": cheaper})
    assert reasons(root) == {"cost_differs"}
    folder.add(root, {"serving": Serving(candidate=serving.incumbent)})
    assert reasons(root) == {"other_candidate"}


def test_lineage_that_the_signed_provenance_does_not_tell_is_found(tmp_path: Path) -> None:
    evidence.before_approval(tmp_path / "b")
    held = folder.open_bundle(tmp_path / "b").group(Lineage)
    assert held.data_sets is not None
    other = replace(held.data_sets[0], digest=digest_of("other data"))
    leaked = replace(held.data_sets[1], digest=evidence.TRAINING)
    for data_sets, reason in (
        ((other,), "lineage_differs"),
        ((held.data_sets[0], leaked), "held_out_used"),
    ):
        folder.add(tmp_path / "b", {"lineage": replace(held, data_sets=data_sets)})
        assert reasons(tmp_path / "b") == {reason}


def test_documents_that_contradict_each_other_are_found(tmp_path: Path) -> None:
    root = grown(tmp_path, groups={"change": Change(expected_incumbent=digest_of("older"))})
    assert reasons(root) == {"contradiction"}
    folder.add(root, {"change": Change(first=True, expected_incumbent=INCUMBENT)})
    assert reasons(root) == {"contradiction"}


def test_a_revoked_candidate_or_key_is_found(tmp_path: Path) -> None:
    said = Revocation("model", CANDIDATE, "wrong labels", NOW - 60, AUDIENCE, NOW - 60)
    root = grown(tmp_path, statements=[evidence.about(said, "sam")])
    assert reasons(root) == {"revoked_model"}
    stolen = canonical.digest(signer("tom").public_key)
    gone = Revocation("key", stolen, "laptop stolen", NOW - 60, AUDIENCE, NOW - 60)
    folder.add(root, statements=[Statement("key", stolen, gone).envelope(signer("sam"))])
    assert reasons(root) == {"revoked_model", "revoked_key"}


def test_the_model_directory_is_compared_with_the_candidate(root: Path, tmp_path: Path) -> None:
    directory = tmp_path / "fraud" / "8"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(b"weights")
    entry = {"path": "model.onnx", "sha256": canonical.digest(b"weights")[7:], "size": 7}
    manifest = canonical.encode({"files": [entry], "format": "sluicegate.model/1"})
    (directory / "manifest.json").write_bytes(manifest)
    assert reasons(root, model_folder=directory) == {"other_model"}
    (directory / "model.onnx").write_bytes(b"WEIGHTS")
    assert reasons(root, model_folder=directory) == {"model_changed"}
    (directory / "model.onnx").unlink()
    assert reasons(root, model_folder=directory) == {"missing_model_file"}
    assert reasons(root, model_folder=tmp_path) == {"no_model"}


def test_a_verification_is_told_as_json(root: Path) -> None:
    lines = [line.as_json() for line in look(root).checks.lines]
    assert json.loads(json.dumps(lines)) == lines
    assert POLICY.digest == PIN
    assert GATEWAY in json.dumps(lines)
