"""Attacks on the ledger by somebody who can write its file, or who has its key."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from governance.ledger import merkle
from governance.ledger.checkpoint import Checkpoint, sign_checkpoint
from governance.ledger.errors import LedgerUnavailableError, WitnessError
from governance.ledger.schema import TRIGGERS
from governance.ledger.verify import verify
from tests.governance.ledgers import (
    LOG,
    LOG_KEY,
    NOW,
    ORIGIN,
    Key,
    append,
    approval,
    digest,
    encode,
    open_ledger,
    policy_body,
    witness,
)

Attack = Callable[[sqlite3.Connection], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_ledger(tmp_path) as ledger:
        for version in range(8):
            append(ledger, version)
        body = {
            "approvals": [approval("a", "operator", 0)],
            "at": NOW,
            "candidate": digest("m"),
            "model": "fraud",
        }
        ledger.append("rollback", encode(body), digest("r"))
    return tmp_path


def attacked(folder: Path, attack: Attack, restore: bool = True, heads: bool = True) -> set[str]:
    """Drop the triggers, attack, put them back; what verification then finds."""
    connection = sqlite3.connect(folder / "ledger.sqlite")
    schema = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER {name}")
    attack(connection)
    for (sql,) in schema if restore else ():
        connection.execute(sql)
    connection.commit()
    connection.close()
    seen = witness(folder).heads() if heads else []
    found = verify(folder / "ledger.sqlite", LOG_KEY, seen)
    return {finding.reason for finding in found.findings}


def change(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE entries SET body = ? WHERE idx = 3", (policy_body(666),))


def rehash(connection: sqlite3.Connection) -> list[bytes]:
    """Make every stored node fit the rows again; the root of every size."""
    connection.execute("DELETE FROM nodes")
    nodes: dict[tuple[int, int], bytes] = {}
    roots = [merkle.EMPTY_ROOT]

    def read(level: int, index: int) -> bytes:
        return nodes[level, index]

    rows = connection.execute("SELECT idx, kind, key, body FROM entries ORDER BY idx").fetchall()
    for index, kind, key, body in rows:
        leaf = merkle.leaf_hash(f"{kind}\n{key}\n".encode() + body)
        for level, at, value in merkle.added_nodes(index, leaf, read):
            nodes[level, at] = value
        roots.append(merkle.tree_root(index + 1, read))
    connection.executemany(
        "INSERT INTO nodes VALUES (?, ?, ?)", [(*at, value) for at, value in nodes.items()]
    )
    return roots


def sign_again(connection: sqlite3.Connection, roots: list[bytes], key: Key) -> None:
    connection.execute("DELETE FROM checkpoints")
    notes = [
        (size, sign_checkpoint(Checkpoint(ORIGIN, size, root), key))
        for size, root in enumerate(roots)
    ]
    connection.executemany("INSERT INTO checkpoints VALUES (?, ?)", notes)


def test_a_changed_row_is_found(folder: Path) -> None:
    assert attacked(folder, change, heads=False) == {
        "entry_changed",
        "node_changed",
        "root_mismatch",
    }


def test_dropped_triggers_are_found(folder: Path) -> None:
    assert attacked(folder, lambda _: None, restore=False) == {"triggers_missing"}


def test_a_history_hashed_anew_does_not_fit_the_signed_heads(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        change(connection)
        rehash(connection)

    assert attacked(folder, attack, heads=False) == {"root_mismatch"}


def test_a_history_signed_anew_by_another_key_is_found(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        change(connection)
        sign_again(connection, rehash(connection), Key("thief"))

    assert attacked(folder, attack, heads=False) == {"rechained"}


def test_a_history_forked_by_who_has_the_key_is_found_by_the_witness(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        change(connection)
        sign_again(connection, rehash(connection), LOG)

    assert attacked(folder, attack) == {"forked"}
    with pytest.raises(WitnessError) as refused:
        open_ledger(folder)
    assert refused.value.reason == "fork"


def test_entries_taken_off_the_end_leave_heads_that_tell_of_them(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM entries WHERE idx >= 5")
        rehash(connection)

    assert attacked(folder, attack) >= {"truncated", "behind_witness"}


def test_entries_taken_off_with_their_heads_are_missed_by_the_witness(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM nonces WHERE idx >= 5")
        connection.execute("DELETE FROM entries WHERE idx >= 5")
        connection.execute("DELETE FROM checkpoints WHERE size > 5")
        rehash(connection)

    assert attacked(folder, attack) == {"behind_witness"}


def test_a_restored_old_copy_is_refused(folder: Path) -> None:
    old = folder / "old.sqlite"
    shutil.copy(folder / "ledger.sqlite", old)
    with open_ledger(folder) as ledger:
        append(ledger, 99)
    shutil.copy(old, folder / "ledger.sqlite")
    found = verify(folder / "ledger.sqlite", LOG_KEY, witness(folder).heads())
    assert {finding.reason for finding in found.findings} == {"behind_witness"}
    with pytest.raises(WitnessError) as refused:
        open_ledger(folder)
    assert refused.value.reason == "went_back"


def test_an_old_copy_that_was_written_to_forks(folder: Path) -> None:
    old = folder / "old.sqlite"
    shutil.copy(folder / "ledger.sqlite", old)
    with open_ledger(folder) as ledger:
        append(ledger, 99)
    shutil.copy(old, folder / "ledger.sqlite")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / "ledger.sqlite", elsewhere / "ledger.sqlite")
    with open_ledger(elsewhere) as ledger:
        append(ledger, 100)
        append(ledger, 101)
    found = verify(elsewhere / "ledger.sqlite", LOG_KEY, witness(folder).heads())
    assert {finding.reason for finding in found.findings} == {"forked"}


def test_a_spent_nonce_that_was_freed_is_found(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM nonces")

    assert attacked(folder, attack) == {"nonces_changed"}


def test_a_forged_head_of_more_entries_is_not_signed(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        note = sign_checkpoint(Checkpoint(ORIGIN, 10, bytes(32)), Key("thief"))
        connection.execute("INSERT INTO checkpoints VALUES (10, ?)", (note,))

    assert attacked(folder, attack) == {"rechained"}


def test_an_entry_taken_out_of_the_middle_is_found(folder: Path) -> None:
    def attack(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM entries WHERE idx = 4")

    assert "entry_missing" in attacked(folder, attack)


def test_a_flipped_byte_anywhere_in_an_entry_is_found(folder: Path) -> None:
    body = policy_body(3)
    for place in range(0, len(body), 7):
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]

        def attack(connection: sqlite3.Connection, new: bytes = changed) -> None:
            connection.execute("UPDATE entries SET body = ? WHERE idx = 3", (new,))

        assert "entry_changed" in attacked(folder, attack)


@pytest.mark.parametrize("damage", [b"", b"not a database, though long enough to be taken for one"])
def test_a_file_overwritten_is_refused(folder: Path, damage: bytes) -> None:
    (folder / "ledger.sqlite").write_bytes(damage)
    with pytest.raises(LedgerUnavailableError) as refused:
        verify(folder / "ledger.sqlite", LOG_KEY)
    assert refused.value.reason in ("not_a_ledger", "file_damaged")


def test_a_ledger_that_was_emptied_is_refused_by_the_witness(folder: Path) -> None:
    (folder / "ledger.sqlite").unlink()
    with pytest.raises(WitnessError) as refused:
        open_ledger(folder)
    assert refused.value.reason == "went_back"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what is read-only")
def test_a_read_only_ledger_stops_promotion_with_a_sentence(folder: Path) -> None:
    (folder / "ledger.sqlite").chmod(0o400)
    with open_ledger(folder) as ledger, pytest.raises(LedgerUnavailableError) as refused:
        append(ledger, 50)
    assert refused.value.reason == "read_only"


def test_a_ledger_that_turns_read_only_while_open_stops_promotion(folder: Path) -> None:
    with open_ledger(folder) as ledger:
        ledger._connection.execute("PRAGMA query_only=ON")
        with pytest.raises(LedgerUnavailableError) as refused:
            append(ledger, 50)
        assert refused.value.reason == "read_only"
        ledger._connection.execute("PRAGMA query_only=OFF")
        assert append(ledger, 50).index == 9


def test_a_full_disk_stops_promotion_with_a_sentence(folder: Path) -> None:
    with open_ledger(folder) as ledger:
        ledger._connection.execute("PRAGMA max_page_count=1")
        with pytest.raises(LedgerUnavailableError) as refused:
            for version in range(50, 450):
                append(ledger, version)
        assert refused.value.reason == "disk_full"
