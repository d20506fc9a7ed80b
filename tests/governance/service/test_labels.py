"""Outcomes in a comparison that goes on: joined once, kept over a restart, in the signed report."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance.service.labels import Joined, place
from governance.service.repository import digest_of
from governance.service.waiting import MOST, SECONDS, Waiting
from governance.shadow.labels import Labels
from governance.shadow.statement import verify
from tests.governance.service.conftest import start
from tests.governance.service.double import FileDataPlane, complete
from tests.governance.service.killed import stage_at
from tests.governance.service.stage import SHADOW, Stage, pack, short_policy
from tests.governance.service.test_shadowing import report_of

ROOT = Path(__file__).parents[3]
LATE = {"disagreement_limit": "0.4", "mcnemar": "not_worse", "labelled_min": 50}


def pairs(first: int, count: int, **changes: Any) -> list[tuple[int, dict[str, Any]]]:
    """Ends of requests r0, r1, …, whose first row is compared."""
    return [(n, complete(request=f"r{n}", row=0) | changes) for n in range(first, first + count)]


def outcomes(first: int, count: int, label: float = 1.0, at: int = 10**9) -> list[dict[str, Any]]:
    return [
        {"request": f"r{n}", "row": 0, "time_ns": at, "label": label}
        for n in range(first, first + count)
    ]


def counted(stage: Stage) -> tuple[int, int, int]:
    counts = stage.shadowing.told(stage.model)["counts"]
    return tuple(
        counts[name] for name in ("labelled", "only_candidate_wrong", "only_incumbent_wrong")
    )


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Stage]:
    """A comparison whose policy asks for outcomes."""
    models = tmp_path / "models"
    plane = FileDataPlane(tmp_path / "plane.json", models)
    stage = Stage(tmp_path, plane, models, short_policy(shadow=SHADOW | LATE))
    digests = [pack(models, version) for version in (1, 2)]
    stage.first(1, digests[0])
    start(stage, stage.submit(2, digests[1]))
    yield stage
    stage.close()


def test_outcomes_count_before_and_after_the_end_of_their_pair(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, pairs(0, 20), outcomes=outcomes(0, 30))
    stage.shadowing.tick()
    assert counted(stage) == (20, 0, 0)
    stage.double.tell(stage.model, pairs(20, 20))
    stage.shadowing.tick()
    assert counted(stage) == (30, 0, 0)
    stage.double.tell(stage.model, [], outcomes=outcomes(30, 5))
    stage.shadowing.tick()
    assert counted(stage) == (35, 0, 0)


def test_an_outcome_counts_once_and_the_last_word_on_it(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, pairs(20, 60) + pairs(80, 10, candidate=False))
    stage.shadowing.tick()
    for _ in range(3):
        stage.double.tell(stage.model, [], outcomes=outcomes(80, 10, 1.0, at=5_000))
        stage.shadowing.tick()
        assert counted(stage) == (10, 10, 0)
    # An earlier word that arrives later changes nothing, a later one does.
    stage.double.tell(stage.model, [], outcomes=outcomes(80, 10, 0.0, at=4_000))
    stage.shadowing.tick()
    assert counted(stage) == (10, 10, 0)
    stage.double.tell(stage.model, [], outcomes=outcomes(80, 4, 0.0, at=6_000))
    stage.shadowing.tick()
    assert counted(stage) == (10, 6, 4)


def test_another_row_and_another_request_are_nobodys_outcome(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    told = [outcomes(0, 1)[0] | {"row": 1}, *outcomes(90, 5)]
    stage.double.tell(stage.model, pairs(0, 10), outcomes=told)
    stage.double.tell(stage.model, [(10, complete())])
    stage.shadowing.tick()
    assert counted(stage) == (0, 0, 0)


def test_a_restart_joins_with_pairs_of_before_and_counts_nothing_twice(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    ends = pairs(20, 60) + pairs(80, 12, candidate=False)
    stage.double.tell(stage.model, ends, outcomes=outcomes(80, 5))
    stage.shadowing.tick()
    stage.reopen()
    assert counted(stage) == (5, 5, 0)
    stage.double.tell(stage.model, [], outcomes=outcomes(80, 10))
    stage.shadowing.tick()
    assert counted(stage) == (10, 10, 0)
    stage.double.forget_shadow(stage.model)
    stage.shadowing.tick()
    stage.double.tell(stage.model, [], outcomes=outcomes(80, 12))
    stage.shadowing.tick()
    assert counted(stage) == (12, 12, 0), "a shadow that was begun anew has the pairs of before"


def test_what_could_not_be_written_is_counted_once_it_can(
    stage: Stage, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, pairs(0, 10), outcomes=outcomes(0, 10))

    def full(*_: object) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr("governance.service.samples.os.write", full)
        stage.shadowing.tick()
    assert counted(stage) == (0, 0, 0)
    stage.shadowing.tick()
    assert counted(stage) == (10, 0, 0)


def test_the_samples_tell_no_request(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, pairs(0, 10), outcomes=outcomes(0, 10))
    stage.shadowing.tick()
    (samples,) = (stage.home.root / "samples" / stage.model).glob("*.jsonl")
    lines = samples.read_bytes()
    assert lines.count(b'"label"') == 10
    assert b'"r1"' not in lines
    run = stage.home.run(stage.model)
    assert run is not None
    # With the seed, which the report tells, whoever has the ids joins them again.
    assert place(bytes.fromhex(run["seed"]), "r1", 0).encode() in lines


def test_a_policy_that_asks_for_outcomes_waits_for_them(waiting: Stage) -> None:
    stage = waiting
    candidate = digest_of(stage.models / stage.model / "2")
    stage.double.tell(stage.model, pairs(0, 1000))
    stage.shadowing.tick()
    told = stage.shadowing.told(stage.model)
    assert told["verdict"] == "INCONCLUSIVE"
    assert [r["reason"] for r in told["reasons"]] == ["too_few_labels"]
    stage.double.tell(stage.model, [], outcomes=outcomes(0, 50))
    stage.shadowing.tick()
    said = report_of(stage, candidate)
    assert (said.verdict, said.n) == ("PASS", 1000)
    assert said.labels is not None and said.labels.labelled == 50
    assert verify(said).outcome == "PASS"


def test_a_candidate_that_outcomes_speak_against_is_rejected(waiting: Stage) -> None:
    stage = waiting
    candidate = digest_of(stage.models / stage.model / "2")
    stage.double.tell(stage.model, pairs(0, 800) + pairs(800, 60, candidate=False))
    stage.shadowing.tick()
    stage.double.tell(stage.model, [], outcomes=outcomes(800, 60))
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, candidate).state == "rejected"
    (row,) = [r for r in stage.authority.ledger.reader.rows() if r.kind == "shadow_result"]
    assert b'"verdict":"FAIL"' in row.body


def test_outcomes_of_a_canary_are_of_the_candidate_that_answers(
    stage: Stage, passed: list[str]
) -> None:
    approval = stage.approval("promote", passed[1], "dora", "greta")
    stage.promotion.promote(stage.model, passed[1], [approval], canary=0.1)
    # There the candidate answers: the data plane calls it the incumbent.
    ends = pairs(20, 60) + pairs(80, 10, incumbent=False, candidate=True)
    stage.double.tell(stage.model, ends, outcomes=outcomes(80, 10, 1.0))
    stage.shadowing.tick()
    assert counted(stage) == (10, 10, 0)


def test_outcomes_without_a_pair_are_not_kept_for_ever() -> None:
    joined = Joined(bytes(32), Waiting())
    assert joined.lines([], outcomes(0, MOST + 10), 0) == []
    samples = [
        {"place": place(bytes(32), f"r{n}", 0), "incumbent": True, "candidate": True}
        for n in (0, MOST + 5)
    ]
    found = joined.lines(samples, [], 0)
    assert len(found) == 1 and joined.change(found[0]) == Labels(1, 0, 0)


def test_of_two_pairs_under_one_id_the_first_counts() -> None:
    joined, where = Joined(bytes(32), Waiting()), place(bytes(32), "r0", 0)
    samples = [
        {"place": where, "incumbent": True, "candidate": decided} for decided in (True, False)
    ]
    (line,) = joined.lines(samples, outcomes(0, 1), 0)
    assert joined.change(line) == Labels(1, 0, 0)


def killed_while_counting(stage: Stage) -> Stage:
    """Another process counts what the data plane tells and is killed; what a restart finds."""
    stage.close()
    command = [sys.executable, "-m", "tests.governance.service.killed"]
    command += [str(stage.folder), "count", "", ""]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert ended.returncode == -9, ended.stderr.decode()
    return stage_at(stage.folder)


def test_outcomes_that_wait_for_their_pair_outlive_a_killed_service(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, pairs(0, 20), outcomes=outcomes(0, 30))
    after = killed_while_counting(stage)
    assert counted(after) == (20, 0, 0)
    # Told once more they are no news; their pairs come after the kill.
    after.double.tell(after.model, pairs(20, 20), outcomes=outcomes(20, 5))
    after.shadowing.tick()
    assert counted(after) == (30, 0, 0)
    after = killed_while_counting(after)
    assert counted(after) == (30, 0, 0), "and they count once"
    after.close()


def test_what_waited_goes_with_its_comparison(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    stage.double.tell(stage.model, [], outcomes=outcomes(0, 5))
    stage.shadowing.tick()
    folder = stage.home.root / "samples" / stage.model
    assert [path.suffix for path in folder.iterdir() if path.stat().st_size] == [".waiting"]
    stage.shadowing.stop(stage.model)
    assert not list(folder.glob("*.waiting"))


def kept(path: Path) -> list[str]:
    return Waiting(path).places()


def test_outcomes_wait_for_an_hour_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "waiting"
    waiting = Waiting(path)
    waiting.add("old", (1, True), 0)
    waiting.add("new", (1, True), SECONDS)
    waiting.save(SECONDS)
    assert kept(path) == ["old", "new"]
    again = Waiting(path)
    again.save(SECONDS + 1)
    assert again.places() == ["new"]


def test_the_file_of_what_waits_is_bounded_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.service.waiting.STALE_LINES", 10)
    path = tmp_path / "waiting"
    waiting = Waiting(path)
    for n in range(50):
        waiting.add(f"{n}", (n, True), n)
        if n:
            assert waiting.take(f"{n - 1}") == (n - 1, True)
        waiting.save(n)
        assert kept(path)[-1] == f"{n}"
        assert len(kept(path)) <= 12


@pytest.mark.parametrize("cut", range(1, 12, 3))
def test_half_a_line_that_a_kill_left_spoils_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "waiting"
    waiting = Waiting(path)
    for name in ("one", "two"):
        waiting.add(name, (5, False), 10)
        waiting.save(10)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Waiting(path)
    assert again.places()[0] == "one"
    again.add("three", (6, True), 11)
    again.save(11)
    assert {"one", "three"} <= set(kept(path))
