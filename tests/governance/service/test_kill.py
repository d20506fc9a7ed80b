"""kill -9 at each step of a promotion and of a rollback: one live model, a sound ledger."""

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from governance.ledger.verify import verify as verify_ledger
from governance.ledger.witness import FileWitness
from tests.governance.service.killed import stage_at
from tests.governance.service.stage import Stage

ROOT = Path(__file__).parents[3]


def end_at(stage: Stage, act: str, candidate: str, step: str) -> Stage:
    """Let another process do it and end at the step; then what a restart does."""
    stage.close()
    command = [sys.executable, "-m", "tests.governance.service.killed"]
    command += [str(stage.folder), act, candidate, step]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert ended.returncode == -9, ended.stderr.decode()
    after = stage_at(stage.folder)
    for model in after.rollback.owed():
        after.rollback.settle(model)
    after.promotion.settle(after.model)
    return after


def sound(stage: Stage) -> bool:
    key = stage.log_key
    path = stage.home.ledger
    witness = FileWitness(stage.folder / "witness.jsonl", key)
    return verify_ledger(path, key, witness.heads()).sound


@pytest.mark.parametrize(
    ("step", "wins"),
    [
        ("intent", 0),
        ("intended", 0),
        ("kept", 0),
        ("recorded", 0),
        ("swapped", 1),
        ("served", 1),
        ("done", 1),
    ],
)
def test_a_promotion_that_was_killed_ends_on_one_side(
    stage: Stage, passed: list[str], step: str, wins: int
) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    (stage.folder / "approval.json").write_bytes(approval.to_json())
    after = end_at(stage, "promote", passed[1], step)
    assert after.live() == (passed[wins],) * 3
    assert after.authority.state(after.model).intent is None
    now = after.home.live(after.model)
    assert now is not None
    assert now.previous_model == (passed[0] if wins else None)
    after.close()
    assert sound(after)


@pytest.mark.parametrize(
    ("step", "wins"), [("decided", 1), ("owed", 0), ("swapped", 0), ("recorded", 0), ("logged", 0)]
)
def test_a_rollback_that_was_killed_is_done_or_was_never_begun(
    stage: Stage, passed: list[str], step: str, wins: int
) -> None:
    stage.promote(passed[1])
    approval = stage.approval("rollback", passed[1], "olga")
    (stage.folder / "approval.json").write_bytes(approval.to_json())
    after = end_at(stage, "rollback", passed[1], step)
    assert after.live() == (passed[wins],) * 3
    after.close()
    assert sound(after)


def test_kills_at_any_moment_lose_no_acknowledged_entry_and_leave_one_live_model(
    stage: Stage, digests: list[str]
) -> None:
    stage.close()
    found = kill_at_random(stage, times=8, seed=1)
    assert found.acts >= 8
    assert (found.lost, found.unsound, found.split) == (0, 0, 0)


@dataclass
class Kills:
    """What was found after kills.

    Attributes:
        acts: acts that were acknowledged before a kill.
        lost: kills after which the ledger had fewer entries than were acknowledged.
        unsound: kills after which the ledger did not verify against its witness.
        split: kills after which ledger, folder and data plane did not name one live model.

    """

    acts: int = 0
    lost: int = 0
    unsound: int = 0
    split: int = 0


def kill_at_random(stage: Stage, times: int, seed: int) -> Kills:
    """Kill a busy service again and again, each time after up to a quarter of a second of acts."""
    chance, found = random.Random(seed), Kills()  # noqa: S311
    for _ in range(times):
        command = [sys.executable, "-m", "tests.governance.service.busy", str(stage.folder)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        seen = [process.stdout.readline()]
        time.sleep(chance.uniform(0, 0.25))
        process.kill()
        seen += process.communicate()[0].splitlines()
        sizes = [int(line) for line in seen if line.strip()]
        assert sizes, "it ended before its first act"
        found.acts += len(sizes)
        after = stage_at(stage.folder)
        for model in after.rollback.owed():
            after.rollback.settle(model)
        after.promotion.settle(after.model)
        found.split += len(set(after.live())) != 1
        found.lost += after.authority.ledger.reader.size < sizes[-1]
        after.close()
        found.unsound += not sound(after)
    return found
