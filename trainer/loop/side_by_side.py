"""Candidates side by side: one trial of Ray Tune each, on whatever node has room.

Tune places trials, runs as many at once as the cluster has room for and starts one whose node died
again. What is tried, when the search ends and what was tried already stay the loop's: its plan is
Tune's whole search space, and its ledger, which is told each outcome as soon as it is there, is the
only record that is kept. Outcomes come back through an actor: what Tune itself carries is written
to disk with every state.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from trainer.errors import TrainError
from trainer.examples import Examples
from trainer.loop.phases import Done
from trainer.specialise.trial import Outcome, Trial, run

RETRIES = 3
_GIB = 1 << 30


class Held:
    """Outcomes by their place, from the trial that has one to the loop that takes it."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}

    def put(self, place: int, outcome: Outcome) -> None:
        """Keep one."""
        self._outcomes[place] = outcome

    def has(self, place: int) -> bool:
        """Whether there is one."""
        return place in self._outcomes

    def take(self, place: int) -> Outcome | None:
        """Give one away."""
        return self._outcomes.pop(place, None)


def place_held() -> Any:
    """An actor that holds outcomes, on the loop's own node: if that dies, so does the loop."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Held).remote()


def side_by_side(trials: list[Trial], train: Examples, done: Done, *, memory: bool) -> None:
    """Fit all; `done` is told each place and outcome as soon as it is there.

    Args:
        trials: of one round, which have equal bounds.
        train: travels through Ray's object store once.
        done: is told.
        memory: whether nodes are chosen by free memory, too.

    Raises:
        TrainError: a fit could not be run, more often than is tried again.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray  # noqa: PLC0415
    from ray import tune  # noqa: PLC0415
    from ray.tune.logger import JsonLoggerCallback  # noqa: PLC0415

    held = place_held()
    told: list[BaseException] = []

    class Tell(tune.Callback):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            # Tune writes its callbacks down for a restart of its own, which the ledger stands for.
            return tune.Callback, ()

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_info: Any) -> None:
            place = trial.config["place"]
            # A callback's own error would be logged and lost.
            try:
                outcome = ray.get(held.take.remote(place))
                if outcome is not None:
                    done(place, outcome)
            except Exception as error:
                told.append(error)

    first = trials[0]
    resources = {"cpu": first.cores, "gpu": 1 if first.device == "cuda" else 0}
    if memory:
        resources["memory"] = int(first.memory_gib * _GIB)
    fitting = tune.with_resources(
        tune.with_parameters(_fit, trials=trials, train=train, held=held), resources
    )
    with tempfile.TemporaryDirectory(prefix="sluicegate-tune-") as folder:
        found = tune.Tuner(
            fitting,
            param_space={"place": tune.grid_search(list(range(len(trials))))},
            run_config=tune.RunConfig(
                name="round",
                storage_path=folder,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                # Without its own record of a trial Tune complains of each.
                callbacks=[Tell(), JsonLoggerCallback()],
                verbose=0,
            ),
            tune_config=tune.TuneConfig(reuse_actors=True),
        ).fit()
    if told:
        raise told[0]
    if found.errors:
        raise TrainError(f"A fit could not be run: {found.errors[0]}")


def _fit(config: dict[str, int], trials: list[Trial], train: Examples, held: Any) -> dict[str, int]:
    import ray  # noqa: PLC0415

    place = config["place"]
    ray.get(held.put.remote(place, run(trials[place], train)))
    return {"fitted": 1}
