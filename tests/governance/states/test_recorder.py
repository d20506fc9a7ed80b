"""The registry on its ledger: checked and logged in one step; what a kill at each step leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from governance.ledger.errors import EntryError, WitnessError
from governance.ledger.verify import verify
from governance.states import TransitionError
from governance.states.recorder import Recorder, Resolution, replay, resolve
from tests.governance.ledger.test_store import Deaf
from tests.governance.ledgers import LOG_KEY, append, digest, encode, open_ledger, witness
from tests.governance.states.story import MODEL, Story

ROOT = Path(__file__).parents[3]


def steps(story: Story) -> list[tuple[str, bytes, str]]:
    """Entries of a story up to an open promotion of b over a."""
    told: list[tuple[str, bytes, str]] = []
    take = story.take

    def note(event: object) -> None:
        take(event)  # type: ignore[arg-type]
        kind, body = event.kind, encode(dict(event.body))  # type: ignore[attr-defined]
        told.append((kind, body, digest((len(told), body))))

    story.take = note  # type: ignore[method-assign]
    story.first("a")
    story.passed("b")
    story.intend("b")
    return told


def test_what_the_fold_refuses_is_not_logged(tmp_path: Path) -> None:
    entries = steps(Story())
    with open_ledger(tmp_path) as ledger:
        recorder = Recorder(ledger)
        recorder.record(*entries[0])
        with pytest.raises(TransitionError) as refused:
            recorder.record(*entries[2])
        assert (refused.value.reason, ledger.reader.size) == ("wrong_state", 1)
        with pytest.raises(EntryError):
            recorder.record("export", b"{}", digest(1))


def test_the_registry_is_the_fold_of_what_was_logged(tmp_path: Path) -> None:
    story = Story()
    with open_ledger(tmp_path) as ledger:
        recorder = Recorder(ledger)
        for entry in steps(story):
            assert recorder.record(*entry).repeated is False
        assert recorder.registry == story.registry == replay(ledger.reader.rows())
        again = recorder.record(*steps(Story())[3])
        assert (again.index, again.repeated) == (3, True)
        append(ledger, 1)
        assert Recorder(ledger).registry == story.registry


def test_an_event_that_no_witness_saw_still_counts_in_the_fold(tmp_path: Path) -> None:
    deaf = Deaf()
    entries = steps(Story())
    with open_ledger(tmp_path, deaf) as ledger:
        recorder = Recorder(ledger)
        deaf.reachable = False
        with pytest.raises(WitnessError):
            recorder.record(*entries[0])
        deaf.reachable = True
        assert recorder.record(*entries[0]).repeated is True
        assert recorder.record(*entries[1]).index == 1


@pytest.mark.parametrize(
    ("reported", "kind", "live"),
    [
        ("b", "promote_done", "b"),
        ("a", "promote_failed", "a"),
        ("c", "promote_failed", "a"),
        (None, "promote_failed", "a"),
    ],
)
def test_a_restart_asks_the_gateway_and_in_doubt_the_incumbent_wins(
    reported: str | None, kind: str, live: str
) -> None:
    story = Story()
    steps(story)
    found = resolve(story.registry, MODEL, digest(reported) if reported else None)
    assert found is not None
    assert (found.kind, found.candidate, found.live) == (kind, digest("b"), digest(live))


def test_a_canary_that_was_cut_off_is_not_live(tmp_path: Path) -> None:
    story = Story()
    steps(story)
    story.step("canary", "b", share="0.01")
    assert resolve(story.registry, MODEL, digest("b")) == Resolution(
        "promote_failed", digest("b"), digest("a")
    )


def test_without_an_open_promotion_there_is_nothing_to_resolve() -> None:
    assert resolve(Story().registry, MODEL, digest("b")) is None


KILLED = """
import os, signal, sys
from pathlib import Path
from governance.states.recorder import Recorder
from tests.governance.ledgers import digest, encode, open_ledger
from tests.governance.states.story import MODEL, Story
from tests.governance.states.test_recorder import steps
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
def die(step):
    if step == stop:
        os.kill(os.getpid(), signal.SIGKILL)
live = folder / "live"
live.write_text(digest("a"))
recorder = Recorder(open_ledger(folder))
for entry in steps(Story())[:-1]:
    recorder.record(*entry)
die(0)
recorder.record(*steps(Story())[-1])
die(1)
live.write_text(digest("b"))
die(2)
done = encode({"at": 1, "candidate": digest("b"), "deployment": digest(1), "model": MODEL})
recorder.record("promote_done", done, digest("done"))
die(3)
"""


@pytest.mark.parametrize(("stop", "live"), [(0, "a"), (1, "a"), (2, "b"), (3, "b")])
def test_a_kill_at_each_step_of_a_promotion_leaves_one_live_model(
    tmp_path: Path, stop: int, live: str
) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), str(stop)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    with open_ledger(tmp_path) as ledger:
        recorder = Recorder(ledger)
        found = resolve(recorder.registry, MODEL, (tmp_path / "live").read_text())
        if found is not None:
            more = {"cause": "restart"} if found.kind == "promote_failed" else {}
            done = {"deployment": digest(1)} if found.kind == "promote_done" else {}
            body = {"at": 1, "candidate": found.candidate, "model": MODEL, **more, **done}
            recorder.record(found.kind, encode(body), digest("resolved"))
        assert recorder.registry.model(MODEL).incumbent == digest(live)
        assert resolve(recorder.registry, MODEL, digest(live)) is None
    assert verify(tmp_path / "ledger.sqlite", LOG_KEY, witness(tmp_path).heads()).sound
