"""The commands break-glass and revoke."""

import time
from pathlib import Path

import pytest

from governance.dsse import Envelope
from governance.policy_chain import read
from governance.revocations import Revocations
from governance.verifier import verify_break_glass, verify_revocation
from tests.governance.command_line import AUDIENCE, Fleet, run, told
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL, digest_of

ASKED = ("--model", MODEL, "--candidate", CANDIDATE, "--incumbent", INCUMBENT)
WHY = ("--justification", "the live model lets everything through")


def as_person(fleet: Fleet, person: str) -> tuple[object, ...]:
    return ("--policy", fleet.policy, "--key", fleet.key(person), "--yes")


def read_back(path: Path) -> list[Envelope]:
    return [Envelope.from_json(path.read_bytes())]


def test_two_people_break_the_glass_with_one_statement(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "glass.json"
    run("break-glass", *as_person(fleet, "sam"), *ASKED, *WHY, "--out", path)
    shown = told("break-glass", *as_person(fleet, "olga"), "--add", path)
    assert "BREAK GLASS to promote" in shown
    assert "the live model lets everything through" in shown
    approved = verify_break_glass(
        read_back(path),
        policy=read(Envelope.from_json(fleet.policy.read_bytes())),
        action="promote",
        model=MODEL,
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        audience=AUDIENCE,
        now=int(time.time()),
        proposer="trainer",
        trainer_keys=(),
        used_nonces=(),
        revocations=Revocations(),
    )
    assert approved.persons == {"olga": "operator", "sam": "security"}


@pytest.mark.parametrize("why", ["", "   "])
def test_the_glass_is_not_broken_without_a_reason(fleet: Fleet, tmp_path: Path, why: str) -> None:
    path = tmp_path / "glass.json"
    found = run(
        *("break-glass", *as_person(fleet, "sam"), *ASKED, "--justification", why),
        *("--out", path),
        code=1,
    )
    assert found["reason"] in ("bad_value", "no_justification")
    assert not path.exists()


def test_who_may_not_break_the_glass_does_not_sign(fleet: Fleet, tmp_path: Path) -> None:
    arguments = (*as_person(fleet, "dora"), *ASKED, *WHY, "--out", tmp_path / "glass.json")
    assert run("break-glass", *arguments, code=1)["reason"] == "missing_role"


@pytest.mark.parametrize("what", ["key", "approval", "dataset", "model"])
def test_security_revokes(fleet: Fleet, tmp_path: Path, what: str) -> None:
    path = tmp_path / "revocation.json"
    run(
        *("revoke", *as_person(fleet, "sam"), "--what", what, "--target", digest_of("x")),
        *("--model", MODEL, "--reason", "it was stolen", "--out", path),
    )
    said, quorum = verify_revocation(
        read_back(path),
        policy=read(Envelope.from_json(fleet.policy.read_bytes())),
        audience=AUDIENCE,
        now=int(time.time()),
        revocations=Revocations(),
    )
    assert (said.what, said.target) == (what, digest_of("x"))
    assert quorum.persons == {"sam": "security"}


def test_an_unknown_kind_of_thing_is_not_revoked(fleet: Fleet, tmp_path: Path) -> None:
    arguments = ("--what", "person", "--target", digest_of("x"), "--reason", "r")
    path = tmp_path / "revocation.json"
    found = run("revoke", *as_person(fleet, "sam"), *arguments, "--out", path, code=1)
    assert found["reason"] == "bad_value"
    assert run("revoke", *as_person(fleet, "sam"), *arguments, code=2)["exit_code"] == 2
