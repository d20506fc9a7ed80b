"""One trial: a fit in a process of its own, with bounds on processor, memory, time and sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer import archive, codec
from trainer.errors import TrainError
from trainer.examples import Examples, Floats
from trainer.specialise import stored
from trainer.specialise.model import Fitted
from trainer.specialise.peers import ALONE, Peers


@dataclass(frozen=True)
class Trial:
    """What is to be fitted, and within which bounds.

    Attributes:
        method: by name.
        parameters: its own.
        weights: float64 [n], how much each training case counts.
        cores, memory_gib, nice, seconds: bounds.
        checkpoints: a folder under which a long fit keeps where it is; empty for none.
        workers: how many fit it together, each within the bounds.
        peers: this worker among them.
    """

    method: str
    parameters: Mapping[str, float]
    weights: Floats
    folds: int
    seed: int
    cores: int = 1
    memory_gib: float = 4.0
    nice: int = 15
    seconds: float = 1800.0
    base: str = ""
    device: str = "cpu"
    checkpoints: str = ""
    workers: int = 1
    peers: Peers = ALONE

    def digest(self, train: Examples) -> str:
        """Of what the outcome follows from: bounds are not part of it."""
        base = Path(self.base).name if self.base else ""
        return codec.digest(
            "trial/2",
            self.method,
            self.parameters,
            self.weights,
            self.folds,
            self.seed,
            base,
            train.digest,
            # What is random inside a step differs.
            self.workers,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        fitted: a fit, or None.
        failed: why there is none.
        confined: whether by the kernel.
        told: whether the process itself said so, in a sentence; False if it ended without one.
        seconds: from its start to its end.
    """

    fitted: Fitted | None
    failed: str
    confined: bool
    told: bool = True
    seconds: float = 0.0


def run(trial: Trial, train: Examples) -> Outcome:
    """Fit in a child process. A fit that fails or takes too long is an outcome, no exception.

    Raises:
        TrainError: the process could not be made or its folder not be written.
    """
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="sluicegate-fit-") as name:
            folder = Path(name)
            kept = _checkpoint(trial, train)
            _prepare(folder, trial, train, kept)
            outcome = _read(folder, trial, *_start(folder, trial))
    except OSError as error:
        raise TrainError(f"A fit could not be started: {error.strerror}.") from error
    return replace(outcome, seconds=time.monotonic() - begun)


def _checkpoint(trial: Trial, train: Examples) -> str:
    if not trial.checkpoints:
        return ""
    folder = Path(trial.checkpoints) / trial.digest(train).removeprefix("sha256:")[:32]
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder.resolve())


def _prepare(folder: Path, trial: Trial, train: Examples, kept: str) -> None:
    told = {
        "method": trial.method,
        "parameters": dict(trial.parameters),
        "folds": trial.folds,
        "seed": trial.seed,
        "base": trial.base,
        "device": trial.device,
        "cores": trial.cores,
        "memory_gib": trial.memory_gib,
        "nice": trial.nice,
        "checkpoint": kept,
        "peers": [trial.peers.rank, trial.peers.count, trial.peers.address],
    }
    (folder / "task.json").write_text(json.dumps(told))
    (folder / "train.npz").write_bytes(train.to_bytes())
    np.save(folder / "weights.npy", trial.weights, allow_pickle=False)


def _start(folder: Path, trial: Trial) -> tuple[int | None, str]:
    """The child's exit code, None if its time was over, and the end of what it said."""
    root = Path(__file__).resolve().parents[2]
    threads = str(trial.cores)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(root),
        # Hashes of text must not differ between two runs of the same fit.
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": threads,
        # Threads that wait sleep: whoever else is on the machine has work for the core.
        "OMP_WAIT_POLICY": "passive",
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HOME": str(folder),
        "HF_HOME": str(folder),
    }
    told = {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_CORE", "OPENBLAS_L2"))}
    command = [sys.executable, "-W", "ignore", "-m", "trainer.specialise.child", str(folder)]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | told,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=False,
        )
        try:
            code: int | None = process.wait(trial.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return code, (folder / "said").read_bytes()[-2000:].decode("utf-8", "replace").strip()


def _read(folder: Path, trial: Trial, code: int | None, said: str) -> Outcome:
    if code is None:
        return Outcome(None, f"It took longer than {trial.seconds:g} s.", False)
    if not (folder / "told.json").exists():
        last = said.splitlines()[-1] if said else "without a word"
        said = f"The process that fitted ended with {code}: {last}"
        return Outcome(None, said, False, told=False)
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    if "error" in told:
        return Outcome(None, told["error"], told["confined"])
    held = archive.unpack((folder / "out").read_bytes())
    parts = {k.removeprefix("model:"): v for k, v in held.items() if k.startswith("model:")}
    made = stored.model(parts, trial.base)
    scores = held["fold_scores"].astype(np.float64)
    return Outcome(Fitted(made, scores, told["difference"], told["method"]), "", told["confined"])
