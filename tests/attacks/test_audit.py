"""Tampering with a governance folder: each kind is found, for its own reason."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance import canonical
from governance.attestations import Evaluation
from governance.audit.audit import Audit, audit
from governance.audit.events import LOOKS
from governance.bundle import folder as bundles
from governance.bundle.groups import Identity
from governance.dsse import Envelope
from governance.home import Home, Live
from governance.predicates import Approval, Deployment, Predicate
from governance.shadow_report import ShadowReport
from governance.statements import parse
from governance.states.table import TABLE
from tests.governance.governed import Governed, history, key_id
from tests.governance.reports import counts
from tests.governance.signing import MODEL, digest_of, signer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Governed:
    return history(Governed(tmp_path_factory.mktemp("governed")))


@pytest.fixture
def copy(made: Governed, tmp_path: Path) -> Path:
    return shutil.copytree(made.root, tmp_path / "copy")


def look(root: Path, pin: str, **more: Any) -> Audit:
    arguments: dict[str, Any] = {
        "witnesses": [str(root / "witness.jsonl")],
        "models": root / "models",
    }
    return audit(root / "home", pin, **(arguments | more))


def reasons(root: Path, pin: str, **more: Any) -> set[str]:
    return {finding.reason for finding in look(root, pin, **more).checks.findings}


def statement_of(root: Path, kind: type[Predicate], place: int = 0) -> Path:
    """The file of the n-th statement of a kind, by its digest."""
    home, found = Home(root / "home"), []
    for digest in home.statements():
        if canonical.decode(home.statement(digest).payload)["predicateType"] == kind.TYPE:
            found.append(root / "home" / "statements" / f"{digest[7:]}.json")
    return found[place]


def test_a_folder_that_nobody_touched_agrees(made: Governed) -> None:
    found = look(made.root, made.pin)
    assert found.agrees, found.checks.findings
    assert found.ledger is not None
    assert found.ledger.witnessed == found.ledger.size == sum(found.events.values())
    states = {c.state for c in found.registry.model(MODEL).candidates.values()}
    assert states == {"live", "rolled_back", "rejected", "revoked"}


def test_an_audit_changes_no_byte_of_the_folder(copy: Path, made: Governed) -> None:
    def bytes_of(root: Path) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    before = bytes_of(copy)
    look(copy, made.pin)
    assert bytes_of(copy) == before


def test_a_changed_byte_in_any_file_but_the_ledger_is_found(copy: Path, made: Governed) -> None:
    # The ledger has attacks of its own; its lock and what SQLite left free hold nothing.
    files = [p for p in sorted((copy / "home").rglob("*.json")) if p.is_file()]
    assert len(files) > 40
    for path in files:
        kept = path.read_bytes()
        data = bytearray(kept)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert reasons(copy, made.pin, models=None), path
        path.write_bytes(kept)
    assert not reasons(copy, made.pin)


def test_every_event_of_the_transition_table_is_looked_at() -> None:
    assert set(LOOKS) == set(TABLE)


def test_without_witness_or_models_that_is_told(made: Governed) -> None:
    found = look(made.root, made.pin, witnesses=[], models=None)
    assert found.agrees
    unchecked = {line.what for line in found.checks.lines if line.state == "unchecked"}
    assert unchecked == {"witness", f"model directory of {MODEL}"}


def test_another_pin_is_not_believed_to_be_this_folders(made: Governed) -> None:
    assert reasons(made.root, digest_of("other")) == {"not_pinned", "other_pin"}


def test_a_folder_that_is_pinned_to_something_else_is_found(copy: Path, made: Governed) -> None:
    (copy / "home" / "pin").write_text(digest_of("the intruder's policy"))
    assert reasons(copy, made.pin) == {"other_pin"}


@pytest.mark.parametrize("kind", [Approval, Deployment, ShadowReport])
def test_a_statement_that_is_missing_is_found(
    copy: Path, made: Governed, kind: type[Predicate]
) -> None:
    statement_of(copy, kind).unlink()
    assert "no_statement" in reasons(copy, made.pin)


@pytest.mark.parametrize("kind", [Approval, Deployment, ShadowReport])
def test_a_statement_that_was_swapped_for_another_is_found(
    copy: Path, made: Governed, kind: type[Predicate]
) -> None:
    shutil.copyfile(statement_of(copy, kind, 1), statement_of(copy, kind, 0))
    assert "statement_changed" in reasons(copy, made.pin)


def test_signatures_that_were_taken_away_are_found(copy: Path, made: Governed) -> None:
    path = statement_of(copy, Deployment)
    envelope = Envelope.from_json(path.read_bytes())
    path.write_bytes(replace(envelope, signatures=()).to_json())
    assert reasons(copy, made.pin) >= {"unsigned"}


def test_a_report_changed_and_signed_by_another_key_is_found(copy: Path, made: Governed) -> None:
    path = statement_of(copy, ShadowReport)
    statement = parse(Envelope.from_json(path.read_bytes()).payload, ShadowReport)
    better = replace(statement, predicate=replace(statement.predicate, n=3000))
    path.write_bytes(better.envelope(signer("mallory")).to_json())
    assert "statement_changed" in reasons(copy, made.pin)


def test_an_entry_that_was_changed_is_found(copy: Path, made: Governed) -> None:
    connection = sqlite3.connect(copy / "home" / "ledger.db")
    connection.execute("DROP TRIGGER entries_no_update")
    body = connection.execute("SELECT body FROM entries WHERE idx = 20").fetchone()[0]
    changed = bytes(body).replace(b"FAIL", b"PASS")
    connection.execute("UPDATE entries SET body = ? WHERE idx = 20", (changed,))
    connection.commit()
    connection.close()
    found = reasons(copy, made.pin)
    # The signed report says FAIL still, whatever the ledger was made to say.
    assert found >= {"triggers_missing", "entry_changed", "root_mismatch", "report_differs"}


def test_an_old_ledger_that_was_restored_is_found_by_the_witness(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    first = made.exported(1)
    made.promoted(first, None, "dora", "greta")
    old = tmp_path / "old.db"
    source, target = sqlite3.connect(made.home.ledger), sqlite3.connect(old)
    source.backup(target)
    source.close()
    target.close()
    made.exported(2)
    made.close()
    assert reasons(made.root, made.pin) == set()
    shutil.copyfile(old, made.home.ledger)
    assert reasons(made.root, made.pin) == {"behind_witness"}
    assert reasons(made.root, made.pin, witnesses=[]) == set()
    assert reasons(made.root, made.pin, witnesses=[str(tmp_path / "none")]) == {
        "witness_unreachable"
    }


def live(copy: Path, **changes: Any) -> None:
    home = Home(copy / "home")
    now = home.live(MODEL)
    assert now is not None
    home.set_live(MODEL, replace(now, **changes))


def test_a_live_record_of_another_model_is_found(copy: Path, made: Governed) -> None:
    other = made.live[1]
    Home(copy / "home").set_live(MODEL, Live(other.model_digest, other.deployment))
    assert reasons(copy, made.pin) == {"live_differs"}


def test_a_live_record_by_another_deployment_is_found(copy: Path, made: Governed) -> None:
    live(copy, deployment=made.live[1].deployment)
    assert reasons(copy, made.pin) == {"other_deployment"}


def test_a_way_back_that_was_never_live_is_found(copy: Path, made: Governed) -> None:
    live(copy, previous_model=digest_of("x"), previous_deployment=made.live[1].deployment)
    assert reasons(copy, made.pin) == {"previous_differs"}


def test_a_live_record_that_is_gone_or_unreadable_is_found(copy: Path, made: Governed) -> None:
    path = copy / "home" / "live" / f"{MODEL}.json"
    path.write_text("{}")
    assert reasons(copy, made.pin) == {"live_unreadable"}
    path.unlink()
    assert reasons(copy, made.pin) == {"live_missing"}


@pytest.mark.parametrize(("version", "reason"), [(1, "no_policy"), (2, "unknown_policy")])
def test_a_policy_that_is_gone_is_found(
    copy: Path, made: Governed, version: int, reason: str
) -> None:
    (copy / "home" / "policies" / f"{version}.json").unlink()
    assert reason in reasons(copy, made.pin)


def test_a_policy_that_too_few_roots_signed_is_found(copy: Path, made: Governed) -> None:
    path = copy / "home" / "policies" / "2.json"
    envelope = Envelope.from_json(path.read_bytes())
    path.write_bytes(replace(envelope, signatures=envelope.signatures[:1]).to_json())
    assert reasons(copy, made.pin) == {"old_root_threshold"}


def test_a_model_directory_that_was_changed_is_found(copy: Path, made: Governed) -> None:
    folder = copy / "models" / MODEL / "1"
    (folder / "model.onnx").write_bytes(b"WEIGHTS 1")
    assert reasons(copy, made.pin) == {"model_changed"}
    (folder / "model.onnx").unlink()
    assert reasons(copy, made.pin) == {"missing_model_file"}
    (folder / "extra").write_bytes(b"")
    assert reasons(copy, made.pin) == {"unlisted_model_file"}
    (folder / "manifest.json").write_bytes(b"{}")
    assert reasons(copy, made.pin) == {"no_model"}


def test_a_bundle_that_was_changed_or_is_gone_is_found(copy: Path, made: Governed) -> None:
    folder = copy / "home" / "bundles" / MODEL / made.live[0].model_digest[7:]
    (folder / "purpose.json").write_bytes(canonical.encode({"owner": "mallory"}))
    assert reasons(copy, made.pin) == {"file_changed"}
    shutil.rmtree(folder)
    assert reasons(copy, made.pin) == {"no_bundle"}


# What follows was written by somebody who holds the ledger's key: every hash and root is right.


def rewritten(tmp_path: Path, **wrong: Any) -> set[str]:
    made = history(Governed(tmp_path / "g", **wrong))
    return reasons(made.root, made.pin)


def by(kind: type[Predicate], *names: str) -> Callable[[Predicate, tuple[str, ...]], Any]:
    return lambda said, given: names if isinstance(said, kind) else given


def altered(kind: type[Predicate], **changes: Any) -> Callable[[Predicate], Predicate]:
    return lambda said: replace(said, **changes) if isinstance(said, kind) else said


def test_a_report_that_no_gateway_signed_is_found(tmp_path: Path) -> None:
    assert "not_a_gateway" in rewritten(tmp_path, signs=by(ShadowReport, "olga"))


def test_a_report_whose_verdict_does_not_follow_is_found(tmp_path: Path) -> None:
    def lie(said: Predicate) -> Predicate:
        return replace(said, verdict="INCONCLUSIVE") if isinstance(said, ShadowReport) else said

    assert "verdict_differs" in rewritten(tmp_path, alter=lie)


def test_outcomes_that_do_not_give_the_e_value_that_is_told_are_found(tmp_path: Path) -> None:
    def lie(said: Predicate) -> Predicate:
        assert isinstance(said, ShadowReport) and said.labels is not None
        return replace(said, labels=replace(said.labels, log10_e="2.5000"))

    found = rewritten(tmp_path, alter=lambda p: lie(p) if isinstance(p, ShadowReport) else p)
    assert "verdict_differs" in found


def test_a_report_by_easier_limits_than_the_policys_is_found(tmp_path: Path) -> None:
    def easier(said: Predicate) -> Predicate:
        if not isinstance(said, ShadowReport):
            return said
        return replace(said, shadow_policy={**said.shadow_policy, "disagreement_limit": "0.2"})

    assert "other_questions" in rewritten(tmp_path, alter=easier)


def test_a_seed_that_nobody_committed_to_is_found(tmp_path: Path) -> None:
    changed = altered(ShadowReport, seed=None, seed_commitment=digest_of("chosen later"))
    assert "seed_not_committed" in rewritten(tmp_path, alter=changed)


def test_an_approval_that_one_person_signed_for_two_is_found(tmp_path: Path) -> None:
    assert "too_few_persons" in rewritten(tmp_path, signs=by(Approval, "dora"))


def test_an_approval_by_strangers_is_found(tmp_path: Path) -> None:
    assert "no_valid_signature" in rewritten(tmp_path, signs=by(Approval, "mallory"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audience": "bidders-us"}, "wrong_audience"),
        ({"policy": digest_of("other policy")}, "unknown_policy"),
        ({"expires": 1}, "expired"),
        ({"nonce": "a" * 32}, "approvals_differ"),
    ],
)
def test_an_approval_for_something_else_is_found(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    def change(said: Predicate) -> Predicate:
        if not isinstance(said, Approval) or said.action != "promote":
            return said
        earlier = {"expires": said.not_before - 1, "not_before": said.not_before - 60}
        return replace(said, **(earlier if "expires" in changes else changes))

    assert reason in rewritten(tmp_path, alter=change)


def test_approvers_who_saw_another_ledger_are_heard(tmp_path: Path) -> None:
    def forked(said: Predicate) -> Predicate:
        if not isinstance(said, Approval) or said.ledger is None:
            return said
        return replace(said, ledger=replace(said.ledger, root=digest_of("another root")))

    assert "ledger_forked" in rewritten(tmp_path, alter=forked)


def test_an_approval_by_a_key_that_was_revoked_before_is_found(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    first = made.exported(1)
    made.promoted(first, None, "dora", "greta")
    second = made.exported(2)
    report = made.compared(second, counts())
    made.revoked("key", key_id("dora"), "sam")
    made.promoted(second, report, "dora", "greta")
    made.close()
    found = look(made.root, made.pin).checks.findings
    assert {f.reason for f in found} == {"revoked_key"}
    # At the promotion itself, and again because the model that it made live answers still.
    assert {f.what for f in found} == {"entry 13 (promote_intent)", f"live {MODEL}"}


def test_a_key_revoked_after_a_promotion_takes_nothing_back(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    made.promoted(made.exported(1), None, "dora", "greta")
    made.revoked("key", key_id("dora"), "sam")
    made.close()
    assert reasons(made.root, made.pin) == set()


def test_a_live_model_whose_data_was_revoked_is_found(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    made.promoted(made.exported(1), None, "dora", "greta")
    made.revoked("dataset", digest_of("training"), "sam")
    made.close()
    assert reasons(made.root, made.pin) == {"revoked_dataset"}


def test_a_revocation_by_somebody_who_may_not_is_found(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g", signs=lambda _, names: ("olga",) if "sam" in names else names)
    made.promoted(made.exported(1), None, "dora", "greta")
    made.revoked("key", key_id("oscar"), "sam")
    made.close()
    assert reasons(made.root, made.pin) == {"too_few_persons"}


def test_a_deployment_that_rests_on_other_approvals_is_found(tmp_path: Path) -> None:
    changed = altered(Deployment, approvals=(digest_of("another approval"),))
    assert "other_approvals" in rewritten(tmp_path, alter=changed)


def test_a_deployment_by_another_than_the_gateway_is_found(tmp_path: Path) -> None:
    assert "not_a_gateway" in rewritten(tmp_path, signs=by(Deployment, "olga"))


def test_an_evaluation_of_another_result_is_found(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    digest = made.exported(1)
    made.close()
    connection = sqlite3.connect(made.home.ledger)
    kind = connection.execute("SELECT kind FROM entries WHERE idx = 2").fetchone()[0]
    connection.close()
    assert kind == "accept_eval"
    failed = Governed(tmp_path / "h", alter=_failed)
    assert failed.exported(1) == digest
    failed.close()
    assert "evaluation_differs" in reasons(failed.root, failed.pin)


def _failed(said: Predicate) -> Predicate:
    return replace(said, result="FAILED") if isinstance(said, Evaluation) else said


def test_an_old_policy_is_not_followed_once_a_newer_one_was(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    first, old = made.exported(1), made.policy
    made.renew_policy()
    made.policy = old
    made.promoted(first, None, "dora", "greta")
    made.close()
    assert reasons(made.root, made.pin) == {"old_policy"}


def test_a_promotion_that_the_states_do_not_allow_is_found(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    digest = made.exported(1)
    told = canonical.encode(
        {"at": made.clock, "model": MODEL, "candidate": digest, "deployment": digest_of("d")}
    )
    made.ledger.append("promote_done", told, digest_of("forced"))
    made.close()
    assert "no_intent" in reasons(made.root, made.pin)


def test_a_promotion_without_outcome_is_told_and_no_finding(tmp_path: Path) -> None:
    made = Governed(tmp_path / "g")
    made.promoted(made.exported(1), None, "dora", "greta")
    second = made.exported(2)
    report = made.compared(second, counts())
    _, told = made.approved("promote", second, "dora", "greta", report=report)
    known = made.recorder.registry.model(MODEL).candidates[second]
    about = {"model": MODEL, "candidate": second, "incumbent": made.incumbent}
    more = {"report": report, "bundle": known.bundle, "policy": made.policy.digest}
    made.log("promote_intent", **about, **more, approvals=told)
    made.close()
    found = look(made.root, made.pin)
    assert found.agrees
    waiting = [line.sentence for line in found.checks.lines if line.what == f"live {MODEL}"]
    assert f"{second} is being promoted; no outcome yet" in waiting


def test_a_bundle_whose_documents_do_not_follow_is_found(copy: Path, made: Governed) -> None:
    first = made.live[0].model_digest
    root = Home(copy / "home").bundle(MODEL, first)
    bundles.add(root, {"identity": Identity(candidate=digest_of("another"))})
    assert reasons(copy, made.pin) == {"other_candidate"}


def test_findings_are_told_as_json(copy: Path, made: Governed) -> None:
    statement_of(copy, Deployment).unlink()
    lines = [line.as_json() for line in look(copy, made.pin).checks.findings]
    assert json.loads(json.dumps(lines)) == lines
