"""Where trials run: in this process one after the other, or on Ray.

On Ray the candidates of a round are trials of Ray Tune (`trainer.loop.side_by_side`), or each is
fitted by a group of Ray Train (`trainer.loop.over_workers`). Either way the fit is the same
confined process as a local one (`trainer.specialise.trial`), on whatever node Ray puts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import TrainError
from trainer.examples import Examples
from trainer.loop.phases import Done, Fit
from trainer.specialise.trial import Trial, run

# Of Ray's object store here; on a cluster the nodes have their own.
STORE_BYTES = 256 * 1024 * 1024


def locally(trials: list[Trial], train: Examples, done: Done) -> None:
    """One after the other."""
    for place, trial in enumerate(trials):
        done(place, run(trial, train))


@contextmanager
def on_ray(address: str | None = None) -> Iterator[Fit]:
    """Fits on Ray: on this machine, or on the cluster at `address`.

    Raises:
        TrainError: Ray is not installed, or the cluster is not to be reached.
    """
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise TrainError("Ray is not installed: pip install 'sluicegate[trainer]'.") from error
    # Ray reports usage to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Beside other work its first process may need longer than half a minute to start.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(**_settings(address))
        except Exception as error:
            where = f"the cluster at {address}" if address else "Ray on this machine"
            raise TrainError(f"{where} cannot be used: {error}") from error

    def fit(trials: list[Trial], train: Examples, done: Done) -> None:
        from trainer.loop.over_workers import over_workers  # noqa: PLC0415
        from trainer.loop.side_by_side import side_by_side  # noqa: PLC0415

        try:
            if trials[0].workers == 1:
                side_by_side(trials, train, done, memory=bool(address))
                return
            for place, trial in enumerate(trials):
                done(place, over_workers(trial, train, memory=bool(address)))
        except ray.exceptions.RayError as error:
            raise TrainError(f"Ray lost a fit: {error}") from error

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
