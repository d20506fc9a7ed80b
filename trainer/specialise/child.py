"""The process that fits: `python -m trainer.specialise.child FOLDER`.

FOLDER holds task.json, train.npz and weights.npy; it leaves out and told.json there, whole or
not at all. It confines itself before it reads anything. A refusal is told.json with `error`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import TrainError
from trainer.specialise import sandbox

# Fewer training cases with a score of their own than these compare nothing.
LEAST_SCORED = 20


def main(folder: Path) -> int:
    """Fit what the folder asks for; the process's exit code."""
    task = json.loads((folder / "task.json").read_text())
    sandbox.limit(task["cores"], task["memory_gib"], task["nice"])
    (folder / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    reads = [*sandbox.programs()] + ([Path(task["base"])] if task["base"] else [])
    writes = [folder, Path("/dev")] + ([Path(task["checkpoint"])] if task["checkpoint"] else [])
    confined = sandbox.confine(reads, writes)
    try:
        told = _fit(folder, task)
    except TrainError as error:
        told = {"error": str(error)}
    except MemoryError:
        told = {"error": f"The fit needs more than the {task['memory_gib']:g} GiB it may have."}
    except OSError as error:
        told = {"error": f"The fit cannot write: {error.strerror}."}
    _write(folder / "told.json", json.dumps(told | {"confined": confined}).encode())
    return 0


def _fit(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    # Imported here, so that all of it happens behind the fence.
    from trainer import archive  # noqa: PLC0415
    from trainer.evaluation.metrics import scored_rows  # noqa: PLC0415
    from trainer.examples import Examples  # noqa: PLC0415
    from trainer.specialise.methods import Task, method  # noqa: PLC0415
    from trainer.specialise.peers import Peers  # noqa: PLC0415

    peers = Peers(*task["peers"])
    peers.meet(task["device"])
    train = Examples.from_bytes((folder / "train.npz").read_bytes())
    made = method(task["method"]).fit(
        Task(
            train=train,
            weights=np.load(folder / "weights.npy", allow_pickle=False),
            parameters=task["parameters"],
            folds=task["folds"],
            seed=task["seed"],
            base=task["base"],
            device=task["device"],
            checkpoint=task["checkpoint"],
            peers=peers,
        )
    )
    if np.isinf(made.fold_scores).any() or len(scored_rows(made.fold_scores)) < LEAST_SCORED:
        return {"error": "The fit diverged: its scores are not finite."}
    held = {f"model:{name}": part for name, part in made.model.held().items()}
    _write(folder / "out", archive.pack(held | {"fold_scores": made.fold_scores}))
    return {"difference": made.difference, "method": made.method}


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
