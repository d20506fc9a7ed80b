"""What is left of a ledger when its writer is killed, its journal torn or its disk full."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.ledger_crash import crash
from governance.ledger.errors import LedgerUnavailableError
from governance.ledger.verify import verify
from tests.governance.ledgers import LOG_KEY, append, open_ledger, witness

ROOT = Path(__file__).parents[3]


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    found = crash(tmp_path, kills=30, seed=7, longest=0.1)
    assert (found.lost, found.unsound) == (0, ())
    assert found.entries > 0


def _hot(folder: Path) -> Path:
    """A ledger of three entries with the journal of a fourth that was not committed."""
    with open_ledger(folder) as ledger:
        for version in range(3):
            append(ledger, version)
        connection = ledger._connection
        connection.execute("PRAGMA cache_spill=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO entries VALUES (3, 'policy', 'k', zeroblob(9000))")
        connection.execute("PRAGMA cache_size=1")
        connection.execute("INSERT INTO nonces VALUES ('n', 3)")
        connection.execute("SELECT count(*) FROM checkpoints").fetchone()
        copy = folder / "copy"
        copy.mkdir()
        for name in ("ledger.sqlite", "ledger.sqlite-journal"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy / name)
        connection.execute("ROLLBACK")
    return copy


def test_a_journal_that_a_killed_writer_left_is_rolled_back_before_reading(tmp_path: Path) -> None:
    copy = _hot(tmp_path)
    assert (copy / "ledger.sqlite-journal").stat().st_size > 0
    found = verify(copy / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads())
    assert (found.findings, found.size) == ((), 3)


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_journal_never_gives_a_ledger_that_passes_but_lacks_entries(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    copy = _hot(tmp_path)
    journal = copy / "ledger.sqlite-journal"
    data = bytearray(journal.read_bytes())
    if seed % 2:
        data = data[: chance.randrange(len(data))]
    else:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    journal.write_bytes(data)
    try:
        found = verify(copy / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads())
    except LedgerUnavailableError as error:
        assert error.reason in ("file_damaged", "unavailable")
    else:
        assert found.size == 3 or not found.sound


def test_a_full_file_refuses_the_entry_and_keeps_those_before(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 0)
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(LedgerUnavailableError) as refused:
            for version in range(1, 400):
                append(ledger, version)
        assert refused.value.reason == "disk_full"
        size = ledger.reader.size
        ledger._connection.execute("PRAGMA max_page_count=100000")
        assert append(ledger, 9999).index == size
    assert verify(tmp_path / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads()).sound


FULL = """
import resource, signal, sys
from pathlib import Path
from governance.ledger.errors import LedgerUnavailableError
from tests.governance.ledgers import append, open_ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = open_ledger(Path(sys.argv[1]))
limit = (Path(sys.argv[1]) / "ledger.sqlite").stat().st_size + 4096
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for version in range(1000):
        append(ledger, version)
except LedgerUnavailableError as error:
    print(version, error.reason)
"""


def test_a_write_that_the_system_refuses_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the file's size in a child: the kernel itself fails the write, with EFBIG."""
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.split()
    assert told[1] in ("disk_full", "disk_failed")
    found = verify(tmp_path / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads())
    assert (found.findings, found.size) == ((), int(told[0]))


def test_each_commit_syncs_file_journal_and_folder(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        setting = {
            name: ledger._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "mmap_size")
        }
    assert setting == {"journal_mode": "delete", "synchronous": 3, "mmap_size": 0}


def test_a_witness_whose_last_line_was_cut_off_goes_on_from_the_line_before(
    tmp_path: Path,
) -> None:
    with open_ledger(tmp_path) as ledger:
        append(ledger, 1)
    path = tmp_path / "witness.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(witness(tmp_path).heads()) == 1
    with open_ledger(tmp_path) as ledger:
        append(ledger, 2)
    assert [note.split("\n")[1] for note in witness(tmp_path).heads()] == ["0", "1", "2"]
