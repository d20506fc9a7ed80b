"""The commands: keys, policy, approve, statement."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance.binding import Verified
from governance.dsse import Envelope
from governance.keys import read_public
from governance.policy_chain import read
from governance.revocations import Revocations
from governance.service_verifier import verify_shadow_report
from governance.shadow_report import ShadowReport
from governance.signer import FileSigner
from governance.statements import Statement
from governance.verifier import verify_approvals
from tests.governance import samples
from tests.governance.command_line import AUDIENCE, Fleet, run, told
from tests.governance.samples import POLICY
from tests.governance.signing import CANDIDATE, DAY, EVIDENCE, INCUMBENT, MODEL, digest_of, gate


def test_a_new_key_is_shown_as_a_policy_lists_it(fleet: Fleet) -> None:
    found = run("keys", "show", fleet.key("dora"))
    assert found["public_key"] == read_public(fleet.folder / "dora.pem.pub").hex()
    assert found["key_id"].startswith("sha256:")
    assert found["public_key"] in told("keys", "show", fleet.folder / "dora.pem.pub")


def test_a_key_is_not_written_over(fleet: Fleet) -> None:
    before = fleet.key("dora").read_bytes()
    found = run("keys", "new", "--out", fleet.key("dora"), code=1)
    assert found["reason"] == "file_exists"
    assert fleet.key("dora").read_bytes() == before


def test_a_passphrase_comes_from_a_file_before_the_environment(
    tmp_path: Path, fleet: Fleet
) -> None:
    (tmp_path / "words").write_text("another passphrase\n")
    path = tmp_path / "x.pem"
    run("keys", "new", "--out", path, "--passphrase-file", tmp_path / "words")
    assert FileSigner.open(path, b"another passphrase").public_key
    missing = ("--passphrase-file", tmp_path / "none")
    assert run("keys", "new", "--out", tmp_path / "y.pem", *missing, code=2)["exit_code"] == 2


def test_nobody_to_ask_for_a_passphrase_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLUICEGATE_PASSPHRASE")
    found = run("keys", "new", "--out", tmp_path / "x.pem", code=2)
    assert "--passphrase-file" in found["error"]


def test_a_policy_is_verified_against_its_pin(fleet: Fleet) -> None:
    digest = run("policy", "show", fleet.policy)["digest"]
    found = run("policy", "verify", fleet.policy, "--pin", digest)
    assert (found["version"], found["roots_signed"]) == (1, ["olga"])
    refused = run("policy", "verify", fleet.policy, "--pin", digest_of("x"), code=1)
    assert refused["reason"] == "not_pinned"
    assert "version 1" in told("policy", "verify", fleet.policy, "--pin", digest)
    run("policy", "verify", fleet.policy, code=2)


def test_the_next_version_follows_the_one_before(tmp_path: Path, fleet: Fleet) -> None:
    text = (fleet.folder / "policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(text.replace("version = 1", "version = 2"))
    second = tmp_path / "second.json"
    sign = ("policy", "sign", tmp_path / "policy.toml", "--key", fleet.key("olga"))
    assert run(*sign, "--out", second, code=1)["reason"] == "bad_previous"
    run(*sign, "--out", second, "--previous", fleet.policy)
    run("policy", "verify", second, "--previous", fleet.policy)
    digest = run("policy", "show", fleet.policy)["digest"]
    run("policy", "verify", fleet.policy, second, "--pin", digest)
    assert run("policy", "verify", second, "--pin", digest, code=1)["reason"] == "not_pinned"


def test_a_second_root_signs_in_the_file(tmp_path: Path, fleet: Fleet) -> None:
    copy = tmp_path / "policy.json"
    copy.write_bytes(fleet.policy.read_bytes())
    run("policy", "sign", copy, "--key", fleet.key("dora"))
    assert len(Envelope.from_json(copy.read_bytes()).signatures) == 2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version = 1", "version = 1.0", "float"),
        ("version = 1", "version =", "not_toml"),
        ("version = 1", "verzion = 1", "unknown_field"),
        ("valid_from = ", "valid_from = 2026-01-01 #", "no_time_zone"),
        ('shadow = { roles = ["operator"]', "shadow = { roles = []", "empty_roles"),
    ],
)
def test_a_policy_file_that_is_wrong_is_not_signed(
    tmp_path: Path, fleet: Fleet, old: str, new: str, reason: str
) -> None:
    text = (fleet.folder / "policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(text.replace(old, new))
    sign = ("policy", "sign", tmp_path / "policy.toml", "--key", fleet.key("olga"))
    assert run(*sign, "--out", tmp_path / "p.json", code=1)["reason"] == reason
    assert not (tmp_path / "p.json").exists()


def test_a_starting_point_does_not_write_over_an_edited_policy(fleet: Fleet) -> None:
    text = fleet.folder / "policy.toml"
    before = text.read_text()
    run("policy", "init", "--audience", "x", "--out", text, code=2)
    assert text.read_text() == before


def test_two_people_sign_one_approval_that_counts(fleet: Fleet) -> None:
    compared = fleet.report()
    more = ("--report", compared, "--evidence", EVIDENCE, "--ledger", f"3:{digest_of('l')}")
    fleet.approve("dora", *fleet.asked, *more, "--out", fleet.out, "--yes")
    fleet.approve("greta", "--add", fleet.out, "--report", compared, "--yes")
    by = read(Envelope.from_json(fleet.policy.read_bytes()))
    now = int(time.time())
    verified: Verified[ShadowReport] = verify_shadow_report(
        Envelope.from_json(compared.read_bytes()),
        policy=by,
        model=MODEL,
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        audience=AUDIENCE,
        now=now,
        revocations=Revocations(),
    )
    approved = verify_approvals(
        [Envelope.from_json(fleet.out.read_bytes())],
        policy=by,
        action="promote",
        model=MODEL,
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        shadow_report=verified,
        evidence_digest=EVIDENCE,
        audience=AUDIENCE,
        now=now,
        proposer="trainer",
        trainer_keys=(),
        used_nonces=(),
        revocations=Revocations(),
    )
    assert approved.persons.keys() == {"dora", "greta"}
    assert approved.heads[0].size == 3
    shown = told("statement", "verify", fleet.out, "--policy", fleet.policy)
    assert "APPROVE to promote" in shown
    assert "dora (domain_expert), greta (governance_approver)" in shown
    found = run("statement", "verify", fleet.out, "--policy", fleet.policy)
    assert [signer["person"] for signer in found["signers"]] == ["dora", "greta"]


def shadow(fleet: Fleet, *more: object) -> tuple[object, ...]:
    return ("--action", "shadow", *fleet.asked, "--evidence", EVIDENCE, "--out", fleet.out, *more)


def test_what_is_signed_is_shown_first_and_no_means_no(fleet: Fleet) -> None:
    fleet.approve("olga", *shadow(fleet), answer="n\n", code=1)
    assert not fleet.out.exists()
    fleet.approve("olga", *shadow(fleet), answer="y\n")
    assert fleet.out.exists()


def test_the_verdict_is_shown_with_its_counts(fleet: Fleet) -> None:
    more = ("--report", fleet.report(), "--evidence", EVIDENCE, "--out", fleet.out, "--yes")
    shown = told(
        *("approve", "--policy", fleet.policy, "--key", fleet.key("dora"), *fleet.asked, *more)
    )
    assert "PASS: 1 of 2000 decisions differ" in shown
    assert "policy" in shown
    assert "to promote" in shown


def test_a_refusal_is_signed_with_a_reason(fleet: Fleet) -> None:
    more = ("--report", fleet.report(), "--evidence", EVIDENCE, "--refuse", "--yes")
    asked = (*fleet.asked, *more, "--out", fleet.out)
    assert fleet.approve("greta", *asked, code=1)["reason"] == "no_comment"
    found = fleet.approve("greta", *asked, "--comment", "segment 3 looks wrong")
    assert found["predicate"]["decision"] == "refuse"


FAILED = {"verdict": "FAIL", "gates": (gate(state="FAIL"),)}


@pytest.mark.parametrize(
    ("person", "changes", "arguments", "reason"),
    [
        ("olga", {}, (), "missing_role"),
        ("gateway-1", {}, (), "missing_role"),
        ("dora", {"policy": POLICY.digest}, (), "wrong_policy"),
        ("dora", FAILED, (), "verdict_not_pass"),
        ("dora", {}, ("--seconds", "86401"), "valid_too_long"),
        ("dora", {}, ("--candidate", "sha256:x"), "wrong_candidate"),
    ],
)
def test_what_could_not_count_is_not_signed(
    fleet: Fleet,
    person: str,
    changes: dict[str, Any],
    arguments: tuple[object, ...],
    reason: str,
) -> None:
    more = ("--report", fleet.report(**changes), "--evidence", EVIDENCE, *arguments, "--yes")
    found = fleet.approve(person, *fleet.asked, *more, "--out", fleet.out, code=1)
    assert found["reason"] == reason
    assert not fleet.out.exists()


def test_a_promotion_without_report_or_evidence_is_not_signed(fleet: Fleet) -> None:
    base = (*fleet.asked, "--out", fleet.out, "--yes")
    assert fleet.approve("dora", *base, code=1)["reason"] == "no_shadow_report"
    more = ("--report", fleet.report())
    assert fleet.approve("dora", *base, *more, code=1)["reason"] == "no_evidence"
    assert fleet.approve("dora", "--yes", code=2)["exit_code"] == 2
    assert fleet.approve("dora", *base, "--action", "promot", code=2)["exit_code"] == 2


def test_a_comment_cannot_steer_the_terminal(fleet: Fleet) -> None:
    fleet.approve("olga", *shadow(fleet, "--comment", "fine\x1b[2J\u202e", "--yes"))
    shown = told("statement", "verify", fleet.out, "--policy", fleet.policy)
    assert "fine\\u001b[2J\\u202e" in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: replace(e, signatures=()), "unsigned"),
        (lambda e: replace(e, payload=e.payload + b" "), "no_valid_signature"),
        (lambda e: replace(e, payload_type="text/plain"), "wrong_payload_type"),
    ],
)
def test_a_statement_that_does_not_verify_is_refused(
    fleet: Fleet, change: Callable[[Envelope], Envelope], reason: str
) -> None:
    fleet.approve("olga", *shadow(fleet, "--yes"))
    envelope = Envelope.from_json(fleet.out.read_bytes())
    fleet.out.write_bytes(change(envelope).to_json())
    found = run("statement", "verify", fleet.out, "--policy", fleet.policy, code=1)
    assert found["reason"] == reason


@pytest.mark.parametrize(("days", "code"), [(0, 0), (400, 1)])
def test_a_deployment_s_key_has_to_be_valid_when_it_took_effect(
    fleet: Fleet, days: int, code: int
) -> None:
    said = replace(samples.deployment(), effective=int(time.time()) + days * DAY)
    envelope = Statement(MODEL, CANDIDATE, said).envelope(fleet.signer("gateway-1"))
    fleet.out.write_bytes(envelope.to_json())
    found = run("statement", "verify", fleet.out, "--policy", fleet.policy, code=code)
    assert found.get("reason", "") == ("expired_key" if code else "")


def test_a_file_that_is_no_statement_is_said(fleet: Fleet, tmp_path: Path) -> None:
    found = run("statement", "verify", fleet.key("dora"), "--policy", fleet.policy, code=1)
    assert found["reason"] == "not_json"
    run("statement", "verify", tmp_path / "none", "--policy", fleet.policy, code=2)


def test_a_policy_that_its_roots_did_not_sign_is_not_signed_under(
    fleet: Fleet, tmp_path: Path
) -> None:
    unsigned = tmp_path / "policy.json"
    envelope = Envelope.from_json(fleet.policy.read_bytes())
    unsigned.write_bytes(replace(envelope, signatures=()).to_json())
    arguments = ("--policy", unsigned, "--key", fleet.key("olga"))
    found = run("approve", *arguments, *shadow(fleet, "--yes"), code=1)
    assert found["reason"] == "new_root_threshold"


def test_the_first_model_is_signed_for_without_a_report(fleet: Fleet) -> None:
    told = fleet.approve(
        "dora",
        *("--model", MODEL, "--candidate", CANDIDATE, "--incumbent", "none"),
        *("--evidence", EVIDENCE, "--out", fleet.out, "--yes"),
    )
    assert (told["predicate"]["incumbent"], told["predicate"]["shadowReport"]) == (None, None)
