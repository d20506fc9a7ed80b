"""The ledger's writer: order, idempotency, witnesses, what it refuses."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from governance.ledger.checkpoint import open_checkpoint
from governance.ledger.errors import EntryError, LedgerUnavailableError, WitnessError
from governance.ledger.kinds import KINDS, Entry, entry
from governance.ledger.read import reading
from governance.ledger.store import Ledger
from governance.ledger.verify import verify
from governance.ledger.witness import Prove
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


def rollback_body(*approvals: dict[str, object]) -> bytes:
    return encode(
        {"approvals": list(approvals), "at": NOW, "candidate": digest("m"), "model": "fraud"}
    )


def test_entries_are_numbered_in_order_and_each_head_is_signed(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        for version in range(5):
            receipt = append(ledger, version)
            head, _ = open_checkpoint(receipt.head, LOG_KEY)
            assert (receipt.index, head.size, receipt.repeated) == (version, version + 1, False)
    found = verify(tmp_path / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads())
    assert (found.findings, found.size, found.witnessed) == ((), 5, 5)


def test_the_same_entry_twice_is_logged_once(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        first, _ = append(ledger, 1), append(ledger, 2)
        again = append(ledger, 1)
        assert (again.index, again.repeated, ledger.reader.size) == (first.index, True, 2)


def test_a_key_stands_for_one_kind_of_entry(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 1)
        body = encode({"at": NOW, "commitment": digest("seed"), "model": "fraud"})
        with pytest.raises(EntryError) as refused:
            ledger.append("seed", body, digest(("policy", 1)))
        assert refused.value.reason == "key_reused"


def test_a_nonce_is_spent_once(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        body = rollback_body(approval("a", "operator", 0))
        ledger.append("rollback", body, digest(1))
        with pytest.raises(EntryError) as refused:
            ledger.append("rollback", body, digest(2))
        assert (refused.value.reason, ledger.reader.size) == ("nonce_used", 1)
        with pytest.raises(EntryError) as twice:
            ledger.append(
                "rollback",
                rollback_body(approval("b", "operator", 0), approval("b", "operator", 0)),
                digest(3),
            )
        assert twice.value.reason == "nonce_used"


def test_a_check_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    def never(index: int, new: Entry) -> None:
        raise EntryError("no", f"not {new.kind} at {index}")

    with open_ledger(tmp_path) as ledger:
        append(ledger, 0)
        with pytest.raises(EntryError):
            ledger.append("policy", policy_body(1), digest(1), never)
        assert ledger.reader.size == 1
        assert append(ledger, 2).index == 1


def test_a_second_writer_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with (
        open_ledger(tmp_path),
        pytest.raises(LedgerUnavailableError, match="another process writes") as refused,
    ):
        open_ledger(tmp_path)
    assert refused.value.reason == "second_writer"
    with open_ledger(tmp_path) as ledger:
        assert append(ledger, 1).index == 0


def test_threads_take_turns(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger, ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda version: append(ledger, version), range(24)))
    assert sorted(receipt.index for receipt in receipts) == list(range(24))
    assert verify(tmp_path / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads()).sound


def test_a_reader_reads_beside_the_writer(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 1)
        with reading(tmp_path / "ledger.sqlite") as reader:
            append(ledger, 2)
            assert reader.size == 2


def test_a_ledger_of_another_key_or_name_is_refused(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 1)
    with pytest.raises(LedgerUnavailableError) as named:
        Ledger(tmp_path / "ledger.sqlite", "other/log", LOG, lambda: NOW, [witness(tmp_path)])
    assert named.value.reason == "other_log"
    with pytest.raises(Exception, match="none of the keys") as keyed:
        open_ledger(tmp_path, signer=Key("other"))
    assert getattr(keyed.value, "reason", "") == "not_signed"


def test_a_file_that_is_no_ledger_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailableError) as refused:
        open_ledger(tmp_path)
    assert (refused.value.reason, path.read_bytes()) == ("not_a_ledger", before)


class Deaf:
    """A witness that can be out of reach."""

    def __init__(self) -> None:
        self.reachable = True
        self.seen: list[str] = []

    @property
    def name(self) -> str:
        return "deaf"

    def publish(self, note: str, prove: Prove, now: int) -> str:
        if not self.reachable:
            raise WitnessError("witness_unreachable", "no answer")
        self.seen.append(note)
        return ""

    def heads(self) -> list[str]:
        return self.seen


def test_without_a_witness_an_append_is_not_acknowledged(tmp_path: Path) -> None:
    deaf = Deaf()
    with open_ledger(tmp_path, deaf) as ledger:
        deaf.reachable = False
        with pytest.raises(WitnessError) as refused:
            append(ledger, 1)
        assert refused.value.reason == "not_witnessed"
        deaf.reachable = True
        again = append(ledger, 1)
        assert (again.index, again.repeated, deaf.seen[-1]) == (0, True, ledger.head)


def test_one_witness_of_two_is_enough_if_one_is_asked_for(tmp_path: Path) -> None:
    deaf = Deaf()
    with open_ledger(tmp_path, deaf, witness(tmp_path)) as ledger:
        deaf.reachable = False
        assert append(ledger, 1).index == 0


def test_a_ledger_without_its_quorum_of_witnesses_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(WitnessError) as refused:
        Ledger(tmp_path / "ledger.sqlite", ORIGIN, LOG, lambda: NOW)
    assert refused.value.reason == "too_few_witnesses"


def test_a_head_that_no_witness_saw_is_shown_when_the_ledger_opens_again(tmp_path: Path) -> None:
    deaf = Deaf()
    with open_ledger(tmp_path, deaf) as ledger:
        deaf.reachable = False
        with pytest.raises(WitnessError):
            append(ledger, 1)
        head = ledger.head
    deaf.reachable = True
    open_ledger(tmp_path, deaf).close()
    assert deaf.seen[-1] == head


def test_an_append_reads_a_logarithm_of_nodes(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        reads: list[int] = []
        for version in range(64):
            seen: list[str] = []
            ledger._connection.set_trace_callback(seen.append)
            append(ledger, version)
            reads.append(sum("FROM nodes" in said for said in seen))
    assert max(reads) <= 3 * 7


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("diary", policy_body(1), "unknown_kind"),
        ("policy", b'{"at":1}', "missing_field"),
        ("policy", b"[]", "not_canonical"),
        ("policy", b'{"at":1, "policy":"x","version":1}', "not_canonical"),
        ("policy", b'{"version":1,"at":1}', "not_canonical"),
        ("policy", b'{"at":1,"at":2}', "not_canonical"),
        ("policy", b'{"at":1.5}', "not_canonical"),
        ("policy", b'{"at":NaN}', "not_canonical"),
        ("policy", b"{", "not_canonical"),
        ("policy", b"[" * 9000, "not_canonical"),
        ("policy", '{"é":1}'.encode(), "not_canonical"),
        ("policy", b'{"at":"' + b"x" * 20_000 + b'"}', "entry_too_large"),
    ],
)
def test_a_body_that_is_not_its_kinds_is_refused(kind: str, body: bytes, reason: str) -> None:
    with pytest.raises(EntryError) as refused:
        entry(kind, body, digest(1))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("comment", "looks good to Alice", "unknown_field"),
        ("version", "1", "bad_field"),
        ("version", True, "bad_field"),
        ("version", 2**53, "bad_field"),
        ("version", -1, "bad_field"),
        ("policy", "alice@example.com", "bad_field"),
        ("policy", None, "bad_field"),
        ("policy", digest(1) + "\n", "bad_field"),
    ],
)
def test_there_is_no_field_for_anything_personal(field: str, value: object, reason: str) -> None:
    body = {"at": NOW, "policy": digest(1), "version": 1, field: value}
    with pytest.raises(EntryError) as refused:
        entry("policy", encode(body).replace(b" ", b"_"), digest(1))
    assert refused.value.reason == reason


def test_no_kind_has_a_field_of_free_text() -> None:
    closed = {
        "int", "digest", "digest?", "model", "slug", "decimal", "verdict", "approvals"
    }  # fmt: skip
    assert {form for fields in KINDS.values() for form in fields.values()} <= closed


def test_a_key_is_a_digest() -> None:
    with pytest.raises(EntryError) as refused:
        entry("policy", policy_body(1), "alice")
    assert refused.value.reason == "bad_key"


@pytest.mark.parametrize("statement", ["UPDATE {} SET {}", "DELETE FROM {}"])
@pytest.mark.parametrize(
    ("table", "setting"),
    [
        ("entries", "kind = 'x'"),
        ("nonces", "idx = 9"),
        ("nodes", "hash = x'00'"),
        ("checkpoints", "note = ''"),
        ("about", "value = ''"),
    ],
)
def test_rows_can_only_be_added(tmp_path: Path, statement: str, table: str, setting: str) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.append("rollback", rollback_body(approval("a", "operator", 0)), digest(1))
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement.format(table, setting))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO entries VALUES (0, 'policy', 'k', x'00')",
        "INSERT OR REPLACE INTO entries SELECT 1, kind, key, body FROM entries",
        "INSERT INTO entries VALUES (7, 'policy', 'k', x'00')",
        "INSERT OR REPLACE INTO checkpoints VALUES (1, '')",
        "INSERT OR REPLACE INTO nodes VALUES (0, 0, x'00')",
    ],
)
def test_replacing_is_no_way_round(tmp_path: Path, statement: str) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 1)
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement)
