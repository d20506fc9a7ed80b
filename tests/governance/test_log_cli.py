"""`sluicegate log` as somebody types it: what it prints, what it writes, its exit codes."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from governance.cli.log import app
from governance.ledger.errors import EntryError, NoteError, ProofError
from governance.ledger.export import export_lines, prove, read_export, read_proof
from governance.ledger.note import COSIGNATURE, NoteKey
from governance.ledger.read import reading
from tests.governance.ledgers import LOG_KEY, Key, append, digest, open_ledger, witness

RUN = CliRunner()
KEY = str(LOG_KEY)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    with open_ledger(tmp_path) as opened:
        for version in range(6):
            append(opened, version)
    return tmp_path / "ledger.sqlite"


def test_a_sound_ledger_is_told_to_be_sound(ledger: Path) -> None:
    seen = str(ledger.with_name("witness.jsonl"))
    done = RUN.invoke(app, ["verify", str(ledger), "--key", KEY, "--witness", seen, "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["sound"], told["size"], told["witnessed"]) == (0, True, 6, 6)


def test_a_ledger_that_was_tampered_with_is_exit_code_1_with_reasons(ledger: Path) -> None:
    connection = sqlite3.connect(ledger)
    connection.execute("DROP TRIGGER entries_no_update")
    connection.execute("UPDATE entries SET kind = 'seed' WHERE idx = 2")
    connection.commit()
    connection.close()
    key = ledger.with_name("log.key")
    key.write_text(KEY + "\n")
    done = RUN.invoke(app, ["verify", str(ledger), "--key", str(key), "--json"])
    reasons = {finding["reason"] for finding in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 1
    assert {"triggers_missing", "entry_changed", "root_mismatch"} <= reasons


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "nowhere.sqlite", "--key", KEY], 2),
        (["verify", "LEDGER", "--key", "nonsense"], 2),
        (["verify", "LEDGER", "--key", str(NoteKey("other", LOG_KEY.public))], 1),
        (["prove", "LEDGER", "6"], 2),
        (["check", "nowhere.tlog-proof", "--key", KEY], 2),
    ],
)
def test_exit_codes_tell_usage_from_refusal(ledger: Path, arguments: list[str], code: int) -> None:
    given = [str(ledger) if argument == "LEDGER" else argument for argument in arguments]
    assert RUN.invoke(app, given).exit_code == code


def test_a_proof_is_written_and_checked_without_the_ledger(ledger: Path, tmp_path: Path) -> None:
    proof = tmp_path / "4.tlog-proof"
    assert RUN.invoke(app, ["prove", str(ledger), "4", "--out", str(proof)]).exit_code == 0
    ledger.unlink()
    done = RUN.invoke(app, ["check", str(proof), "--key", KEY, "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["index"], told["body"]["version"]) == (0, 4, 4)


def test_show_lists_entries_of_a_kind(ledger: Path) -> None:
    done = RUN.invoke(app, ["show", str(ledger), "--kind", "policy", "--from", "4", "--json"])
    assert [entry["index"] for entry in json.loads(done.stdout)["entries"]] == [4, 5]
    assert "policy" in RUN.invoke(app, ["show", str(ledger)]).stdout
    none = RUN.invoke(app, ["show", str(ledger), "--model", "fraud", "--json"])
    assert json.loads(none.stdout)["entries"] == []


def test_an_export_holds_every_entry_and_verifies_alone(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    assert RUN.invoke(app, ["export", str(ledger), "--out", str(out)]).exit_code == 0
    lines = out.read_text().splitlines()
    entries, head = read_export(lines, LOG_KEY)
    assert ([e.key for e in entries], head.size) == ([digest(("policy", i)) for i in range(6)], 6)
    printed = RUN.invoke(app, ["export", str(ledger)]).stdout.splitlines()
    assert printed == lines


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (lambda lines: lines[:-1], NoteError, "not_signed"),
        (lambda lines: [*lines[:4], lines[-1]], ProofError, "root_mismatch"),
        (lambda lines: [*lines[:2], *lines[3:]], EntryError, "bad_export"),
        (lambda lines: [*lines, lines[0]], EntryError, "bad_export"),
        (lambda lines: ["[]", *lines], EntryError, "bad_export"),
        (lambda lines: ["{", *lines], EntryError, "bad_export"),
        (
            lambda lines: [lines[0].replace('"version":0', '"version":9'), *lines[1:]],
            ProofError,
            "root_mismatch",
        ),
    ],
)
def test_an_export_that_was_changed_is_refused(
    ledger: Path, change: object, error: type[Exception], reason: str
) -> None:
    assert callable(change)
    with reading(ledger) as reader:
        lines = change(list(export_lines(reader)))
    with pytest.raises(error) as refused:
        read_export(lines, LOG_KEY)
    assert getattr(refused.value, "reason", "") == reason


def test_a_proof_carries_the_cosignatures_of_its_head(tmp_path: Path) -> None:
    key = Key("witness")
    with open_ledger(tmp_path, witness(tmp_path, key)) as opened:
        receipt = append(opened, 1)
        text = prove(opened.reader, 0, receipt.head)
    known = NoteKey("witness.jsonl", key.public_key, COSIGNATURE)
    assert read_proof(text, LOG_KEY, [known]).witnesses == ("witness.jsonl",)


def test_a_proof_with_any_line_changed_is_refused(ledger: Path) -> None:
    with reading(ledger) as reader:
        lines = prove(reader, 3).split("\n")
    for place, line in enumerate(lines[:-1]):
        for changed in (line + "x", line[1:], "index 4" if line == "index 3" else "!"):
            if changed == line:
                continue
            text = "\n".join([*lines[:place], changed, *lines[place + 1 :]])
            with pytest.raises((ProofError, NoteError)):
                read_proof(text, LOG_KEY)
