"""The loop end to end on a small table: it proposes, stops for its reasons, and goes on after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from governance.bundle import folder as bundles
from governance.bundle.requirements import missing
from governance.keys import create
from governance.signer import FileSigner
from tests.trainer.tables import signer, spec_of
from trainer.cli.progress import folder_of, follow
from trainer.errors import InputError, LockError, SealError, TrainError
from trainer.evaluation import seal
from trainer.loop import prepare
from trainer.loop.engine import Ended
from trainer.loop.ledger import Ledger, alone
from trainer.spec.spec import Spec

WORDS = b"a passphrase of tests"
ROOT = Path(__file__).resolve().parents[3]


def ready(tmp_path: Path, limit: float = 0.7, **replaced: str) -> tuple[Spec, FileSigner]:
    spec, key = spec_of(tmp_path, limit, **replaced), signer()
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    return spec, key


def run(spec: Spec, key: FileSigner, tmp_path: Path) -> Ended:
    return follow(spec, key, None, tmp_path / "seals", ray=False)


def test_a_target_that_is_met_becomes_a_proposal_with_its_evidence(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    ended = run(spec, key, tmp_path)
    assert ended.outcome == "proposed"
    assert ended.proposed is not None
    bundle = bundles.open_bundle(Path(ended.proposed.evidence))
    assert bundle.candidate == ended.proposed.digest
    assert missing(bundle, "export") == ()
    kinds = {type(s.statement.predicate).__name__ for s in bundle.statements.values()}
    assert kinds == {"Provenance", "Evaluation"}
    again = run(spec, key, tmp_path)
    assert again.proposed == ended.proposed


def test_a_target_out_of_reach_ends_by_patience_and_proposes_nothing(tmp_path: Path) -> None:
    spec, key = ready(tmp_path, 0.999)
    ended = run(replace(spec, stop=replace(spec.stop, patience=1, improvement=0.5)), key, tmp_path)
    assert (ended.outcome, ended.proposed) == ("stopped", None)
    assert ended.reason.startswith("patience: ")
    assert not (tmp_path / "models").exists()


def test_a_budget_of_trials_ends_the_run(tmp_path: Path) -> None:
    spec, key = ready(tmp_path, 0.999)
    ended = run(replace(spec, stop=replace(spec.stop, trials=2)), key, tmp_path)
    assert ended.reason.startswith("trials: 2 trials were made")


def test_a_budget_of_seconds_ends_the_run(tmp_path: Path) -> None:
    spec, key = ready(tmp_path, 0.999)
    ended = run(replace(spec, stop=replace(spec.stop, seconds=1.0, patience=9)), key, tmp_path)
    assert ended.reason.startswith("seconds: ")


def test_a_held_out_set_that_was_looked_at_too_often_is_not_opened(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    folder = folder_of(spec, None, tmp_path / "seals")
    held_out = prepare.draw(spec, 1).held_out.digest
    ledger = Ledger(folder.ledger)
    for number in range(spec.evaluate.looks):
        ledger.look(held_out, f"candidate {number}", "another run")
    ledger.close()
    ended = run(spec, key, tmp_path)
    assert ended.reason.startswith("core") or "held-out set was looked at 3 times" in ended.reason
    assert ended.outcome == "stopped"


def test_every_transition_has_a_reason(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    ended = run(spec, key, tmp_path)
    ledger = Ledger(folder_of(spec, None, tmp_path / "seals").ledger)
    steps = ledger.steps(ended.run)
    assert [s.phase for s in steps if s.phase != "trial"] == [
        "prepare", "evaluate", "diagnose", "specialise", "assess", "propose",
    ]  # fmt: skip
    assert all(step.reason for step in steps)


def test_a_threshold_that_moved_after_the_lock_is_refused_by_name(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    lower = spec_of(tmp_path, 0.6)
    with pytest.raises(LockError, match=r"evaluate\.gates changed after the lock"):
        run(lower, key, tmp_path)
    assert spec.evaluate != lower.evaluate


def test_without_a_lock_nothing_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="lock the thresholds first"):
        run(spec_of(tmp_path), signer(), tmp_path)


def test_a_lock_of_another_key_is_refused(tmp_path: Path) -> None:
    spec, _ = ready(tmp_path)
    with pytest.raises(LockError, match="is not signed by the key"):
        run(spec, signer(), tmp_path)


def test_data_that_changed_after_the_lock_is_refused(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    lines = (tmp_path / "data.csv").read_text().splitlines()
    (tmp_path / "data.csv").write_text("\n".join(lines[:-50]) + "\n")
    with pytest.raises(LockError, match="suite of this data is"):
        run(spec, key, tmp_path)


def test_a_held_out_set_that_was_touched_is_refused(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    file = folder_of(spec, None, tmp_path / "seals").sealed(1)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(SealError, match="is not the held-out set"):
        run(spec, key, tmp_path)


def test_a_held_out_set_opens_with_its_own_key_alone(tmp_path: Path) -> None:
    spec, _ = ready(tmp_path)
    folder = folder_of(spec, None, tmp_path / "seals")
    drawn = prepare.draw(spec, 1)
    sealed = seal.Sealed(str(folder.sealed(1)), drawn.held_out.digest, 1, 100)
    assert seal.unseal(sealed, folder.key(spec)).digest == drawn.held_out.digest
    (tmp_path / "other.key").write_bytes(bytes(32))
    with pytest.raises(SealError, match="is not its key"):
        seal.unseal(sealed, tmp_path / "other.key")


def test_a_second_loop_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    spec, key = ready(tmp_path)
    with (
        alone(folder_of(spec, None, tmp_path / "seals").root),
        pytest.raises(TrainError, match="Another loop runs"),
    ):
        run(spec, key, tmp_path)


def test_a_full_disk_is_told_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, key = ready(tmp_path)
    monkeypatch.setattr(prepare, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(InputError, match="MiB free, but a run needs"):
        run(spec, key, tmp_path)


CHILD = """
import sys
from pathlib import Path
from governance.signer import FileSigner
from trainer.cli.progress import follow
from trainer.spec.read import read_spec
folder = Path(sys.argv[1])
key = FileSigner.open(folder / "key.pem", b"a passphrase of tests")
ended = follow(read_spec(folder / "specialist.toml"), key, None, folder / "seals", ray=False)
print(ended.proposed.digest if ended.proposed else ended.reason)
"""


def test_a_run_that_is_killed_ends_with_the_same_candidate(tmp_path: Path) -> None:
    create(tmp_path / "key.pem", WORDS)
    key = FileSigner.open(tmp_path / "key.pem", WORDS)
    spec = spec_of(tmp_path)
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path)]
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    for seconds in (1.5, 3.0, 4.0):
        child = start()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    child = start()
    said, _ = child.communicate(timeout=300)
    whole = tmp_path / "whole"
    whole.mkdir()
    for name in ("specialist.toml", "data.csv", "key.pem"):
        (whole / name).write_bytes((tmp_path / name).read_bytes())
    other = spec_of(whole)
    prepare.lock(other, folder_of(other, None, whole / "seals"), key)
    ended = run(other, key, whole)
    assert ended.proposed is not None
    assert said.strip() == ended.proposed.digest
    assert json.loads((Path(ended.proposed.path) / "manifest.json").read_text())["files"]
