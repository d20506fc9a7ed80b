"""What a witness behind HTTP has kept is read back, online and from a file, and is its own word."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from governance.cli.log import app
from governance.ledger.answers import seen_by
from governance.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from governance.ledger.errors import WitnessError
from governance.ledger.note import COSIGNATURE, NoteKey, cosign_line
from governance.ledger.store import Ledger
from tests.governance.ledger.test_http_witness import (
    KEY,
    LOG,
    NAME,
    Remote,
    append,
    opened,
    remote,
    url,
)
from tests.governance.signing import NOW, signer

__all__ = ["remote", "url"]

ROOT = bytes(range(32))
# A head of seven entries with the witness's cosignature, as it was first made.
GOLDEN = (
    "bidders-eu/gateway-1\n"
    "7\n"
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    "\n"
    "— bidders-eu/gateway-1 "
    "cRlmucQ+FXi0wPFj5LfPSgNRb4fBgioqoBUCCHPfLFdkJVqwKTMKbosWZiV1"
    "3AyVKpTbZmkVn4vCxHyh8IUhp3NiVgo=\n"
    "— witness.example/w1 "
    "JD2v9wAAAABrSdIAZ9fxEW1lbhvC5PvNHs6Pi0xxK5A4G4W8MIQk01QJPl8z"
    "P+oE07I6Gf5/By+OPW0fwRHQtxSBJZCPGotG4uDSCg==\n"
)
RUN = CliRunner()


def refusal(told: str) -> str:
    with pytest.raises(WitnessError) as refused:
        seen_by(told, LOG)
    return refused.value.reason


def verified(ledger: Path, *witnesses: str) -> tuple[int, set[str], dict[str, Any]]:
    import json  # noqa: PLC0415

    words = ["verify", str(ledger), "--key", str(LOG), "--json"]
    for told in witnesses:
        words += ["--witness", told]
    done = RUN.invoke(app, words)
    said = json.loads(done.stdout)
    return done.exit_code, {found["reason"] for found in said.get("findings", ())}, said


def test_a_golden_answer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_text(GOLDEN)
    (note,) = seen_by(f"{path} {KEY}", LOG)
    assert open_checkpoint(note, LOG)[0] == Checkpoint(LOG.name, 7, ROOT)
    signed = sign_checkpoint(Checkpoint(LOG.name, 7, ROOT), signer("ledger-1"))
    text = Checkpoint(LOG.name, 7, ROOT).text
    assert signed + cosign_line(text, NAME, signer("archive"), NOW) == GOLDEN


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_an_answer_of_which_a_byte_was_changed_is_refused(tmp_path: Path, place: int) -> None:
    path, data = tmp_path / "answer", bytearray(GOLDEN.encode())
    data[place] ^= 1
    path.write_bytes(data)
    assert refusal(f"{path} {KEY}") in ("not_cosigned", "witness_unreachable")


def test_an_answer_without_the_witnesses_own_cosignature_is_the_logs_word_alone(
    tmp_path: Path,
) -> None:
    path, head = tmp_path / "answer", Checkpoint(LOG.name, 7, ROOT)
    signed = sign_checkpoint(head, signer("ledger-1"))
    path.write_text(signed)
    assert refusal(f"{path} {KEY}") == "not_cosigned"
    # By who has the log's key and calls itself the witness.
    path.write_text(signed + cosign_line(head.text, NAME, signer("ledger-1"), NOW))
    assert refusal(f"{path} {KEY}") == "not_cosigned"
    path.write_text(GOLDEN)
    assert refusal(f"{path} {NoteKey(NAME, KEY.public)}") == "bad_witness"
    other = NoteKey("witness.example/w2", signer("rolf").public_key, COSIGNATURE)
    assert refusal(f"{path} {other}") == "not_cosigned"


def test_a_ledger_is_verified_against_what_the_witness_remembers_and_its_answer_offline(
    tmp_path: Path, url: str
) -> None:
    path, answer = tmp_path / "ledger.db", tmp_path / "answer"
    with opened(path, url) as ledger:
        append(ledger, 1)
        append(ledger, 2)
    asked = f"{url} {KEY}"
    code, found, said = verified(path, asked)
    assert (code, found, said["witnessed"]) == (0, set(), 2)
    done = RUN.invoke(app, ["witnessed", asked, "--key", str(LOG), "--out", str(answer)])
    assert done.exit_code == 0
    code, found, said = verified(path, f"{answer} {KEY}")
    assert (code, found, said["witnessed"]) == (0, set(), 2)


def test_a_witness_that_cannot_be_read_back_is_a_refusal_and_not_silence(
    tmp_path: Path, url: str, remote: Remote
) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, url) as ledger:
        append(ledger, 1)
    remote.reads = False
    code, _, said = verified(path, f"{url} {KEY}")
    assert code == 1
    assert "answered 404 when it was asked" in said["error"]
    code, _, said = verified(path, str(tmp_path / "missing"))
    assert (code, "there is no" in said["error"]) == (1, True)


def test_an_old_copy_that_was_restored_is_behind_the_witness(tmp_path: Path, url: str) -> None:
    path, answer = tmp_path / "ledger.db", tmp_path / "answer"
    with opened(path, url) as ledger:
        append(ledger, 1)
    old = path.read_bytes()
    with opened(path, url) as ledger:
        append(ledger, 2)
    answer.write_text(seen_by(f"{url} {KEY}", LOG)[0])
    path.write_bytes(old)
    for told in (f"{url} {KEY}", f"{answer} {KEY}"):
        assert verified(path, told)[:2] == (1, {"behind_witness"})


def test_a_ledger_that_another_wrote_under_the_same_key_is_not_the_witnesses(
    tmp_path: Path, url: str
) -> None:
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    with opened(path, url) as ledger:
        append(ledger, 1)
    with Ledger(other, LOG.name, signer("ledger-1"), lambda: NOW, quorum=0) as ledger:
        append(ledger, 2)
    assert verified(other, f"{url} {KEY}")[:2] == (1, {"forked"})
