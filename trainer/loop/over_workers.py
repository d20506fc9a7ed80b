"""One candidate over several workers: a group of Ray Train, each with a confined process that fits.

Ray Train places the group, tells its members of each other and starts all of them again when one
dies. They go on from the checkpoint of the fit itself, which lies under the run's folder: on a
cluster that folder has to be on a disk that every node sees.
"""

from __future__ import annotations

import socket
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

from trainer.errors import TrainError
from trainer.examples import Examples
from trainer.loop.side_by_side import place_held
from trainer.specialise.peers import Peers
from trainer.specialise.trial import Outcome, Trial, run

RETRIES = 3
# Where a fit's outcome is held, and what a worker said last that was lost.
FIT, LOST = 0, 1
SETTLE_S = 3.0
_GIB = 1 << 30


class LostError(RuntimeError):
    """A worker's process ended without a word: the group has to begin again."""


def over_workers(trial: Trial, train: Examples, *, memory: bool) -> Outcome:
    """Fit one trial by `trial.workers` workers, each with the trial's bounds.

    Args:
        trial: what is to be fitted.
        train: travels through Ray's object store once.
        memory: whether nodes are chosen by free memory, too.

    Raises:
        TrainError: the group could not be made.
    """
    import ray  # noqa: PLC0415
    from ray import train as ray_train  # noqa: PLC0415
    from ray.train.torch import TorchTrainer  # noqa: PLC0415

    held = place_held()
    each: dict[str, float] = {"CPU": trial.cores}
    if memory:
        each["memory"] = int(trial.memory_gib * _GIB)
    with tempfile.TemporaryDirectory(prefix="sluicegate-train-") as folder:
        trainer = TorchTrainer(
            _member,
            train_loop_config={"trial": trial, "train": ray.put(train), "held": held},
            scaling_config=ray_train.ScalingConfig(
                num_workers=trial.workers,
                use_gpu=trial.device == "cuda",
                resources_per_worker=each,
            ),
            run_config=ray_train.RunConfig(
                name="fit",
                storage_path=folder,
                failure_config=ray_train.FailureConfig(max_failures=RETRIES),
            ),
        )
        try:
            trainer.fit()
        except ray_train.TrainingFailedError as error:
            # What a worker said last is an outcome; that there was no group is none.
            failed = ray.get(held.take.remote(LOST))
            if failed is None:
                raise TrainError(f"The workers of a fit could not be run: {error}") from error
            return _checked(failed)
    outcome = ray.get(held.take.remote(FIT))
    if outcome is None:
        raise TrainError("The workers of a fit ended without an outcome.")
    return _checked(outcome)


def _checked(outcome: Any) -> Outcome:
    if not isinstance(outcome, Outcome):
        raise TrainError("The workers of a fit gave something that is no outcome.")
    return outcome


def _member(config: dict[str, Any]) -> None:
    """What each worker does: fit together with the others; the first one's outcome counts."""
    import ray  # noqa: PLC0415
    from ray import train as ray_train  # noqa: PLC0415
    from ray.train.collective import broadcast_from_rank_zero  # noqa: PLC0415

    context = ray_train.get_context()
    rank, count = context.get_world_rank(), context.get_world_size()
    here = f"{ray.util.get_node_ip_address()}:{_free_port()}" if rank == 0 else ""
    peers = Peers(rank, count, broadcast_from_rank_zero(here))
    held = config["held"]
    outcome = run(replace(config["trial"], peers=peers), ray.get(config["train"]))
    if outcome.told:
        # What one of them says of the fit, say that it took too long, holds for all.
        if rank == 0 or outcome.fitted is None:
            ray.get(held.put.remote(FIT, outcome))
        return
    # Whoever waits for a worker that has ended is cut off: that worker may have said why.
    time.sleep(SETTLE_S)
    if not ray.get(held.has.remote(FIT)):
        ray.get(held.put.remote(LOST, outcome))
        raise LostError(outcome.failed)


def _free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("", 0))
        port: int = one.getsockname()[1]
        return port
