"""What the scenario with a training run rests on: processor time is counted, absence is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import processes
from bench.neighbour import used
from bench.training import VARIABLE, data_folder

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
print("done", flush=True)
sys.stdin.read()
"""


def test_processor_time_of_children_that_ended_counts() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        assert used(child.pid) >= 0.3
    finally:
        processes.end(child.pid)
        child.communicate()


def test_a_training_run_without_its_data_says_so_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "bench.training_run", "credit_default"]
    command += [str(tmp_path), str(tmp_path / "runs"), "0"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "uci_credit_default.csv.gz cannot be read" in done.stderr
    assert done.stdout == ""


def test_the_recipes_data_is_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
