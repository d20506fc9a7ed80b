"""Where trials run: in this process one after the other, or as Ray tasks side by side.

A Ray task starts the same confined process as a local one (`trainer.specialise.trial`), on
whatever node Ray puts it; training cases travel through Ray's object store once a round. A task
whose node dies is started again by Ray and goes on from its checkpoint where the method keeps one
on a disk that both nodes see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import TrainError
from trainer.examples import Examples
from trainer.loop.phases import Fit
from trainer.specialise.trial import Outcome, Trial, run

# Of Ray's object store here; on a cluster the nodes have their own.
STORE_BYTES = 256 * 1024 * 1024
RETRIES = 3
_GIB = 1 << 30


def locally(trials: list[Trial], train: Examples) -> list[Outcome]:
    """One after the other."""
    return [run(trial, train) for trial in trials]


@contextmanager
def on_ray(address: str | None = None) -> Iterator[Fit]:
    """Ray tasks side by side: on this machine, or on the cluster at `address`.

    Raises:
        TrainError: Ray is not installed, or the cluster is not to be reached.
    """
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise TrainError("Ray is not installed: pip install 'sluicegate[trainer]'.") from error
    # Ray reports usage to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(**_settings(address))
        except Exception as error:
            where = f"the cluster at {address}" if address else "Ray on this machine"
            raise TrainError(f"{where} cannot be used: {error}") from error
    remote = ray.remote(run)

    def fit(trials: list[Trial], train: Examples) -> list[Outcome]:
        shared = ray.put(train)
        asked = [
            remote.options(
                num_cpus=trial.cores,
                memory=int(trial.memory_gib * _GIB) if address else None,
                num_gpus=1 if trial.device == "cuda" else 0,
                max_retries=RETRIES,
            ).remote(trial, shared)
            for trial in trials
        ]
        try:
            found: list[Outcome] = ray.get(asked)
        except ray.exceptions.RayTaskError as error:
            raise TrainError(f"A fit could not be run: {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise TrainError(f"Ray lost a fit: {error}") from error
        return found

    try:
        yield fit
    finally:
        if ours:
            ray.shutdown()


def _settings(address: str | None) -> dict[str, object]:
    told: dict[str, object] = {"log_to_driver": False, "configure_logging": False}
    if address:
        return told | {"address": address}
    return told | {
        "num_cpus": len(os.sched_getaffinity(0)),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
