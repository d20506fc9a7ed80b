"""What a training run beside the gateway costs its callers: p99 with it against without, in turns.

The training run has `training_core` for itself; its fits and the loop between them have the
recipe's `nice`. On a machine of two cores the load generator has to share: it is on the gateway's
core, at a nice value, so that the gateway goes first and the generator spins in the time that is
left. On the training run's core it would spin that core full, and nothing would be trained.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench import models, processes, servers
from bench.load import ROOT, run
from bench.results import Bar, Figure, Result
from bench.samples import Windows, compared
from bench.scenario import Scenario
from bench.servers import ServerError
from bench.setting import Say, conditions_of, load_spec, ok_per_s, watched_cores, workspace
from bench.training import data_folder
from trainer.recipes.shipped import recipe

# A run that got less of a core than this trained next to nothing, and its windows tell nothing.
LEAST_TRAINING = 0.5


def neighbour(s: Scenario, say: Say) -> Result:
    """Windows alternate, without a training run and beside one, at `load_fraction` of capacity.

    `model` names the recipe that is trained; the model that is served has 32 features. In windows
    without it the training run is stopped (SIGSTOP) with all its processes.

    Raises:
        DataError: the recipe's data is not there.
    """
    with workspace("tabular", s.rows) as (repository, requests), tempfile.TemporaryDirectory() as f:
        models.pack_perceptron(repository)
        samples, flags = Path(f, "samples.bin"), ("--io-threads", str(s.io_threads))
        with servers.sluicegate(repository, s.server_cores, flags=flags) as server:
            say(f"{s.name}: capacity")
            capacity = ok_per_s(run(load_spec(s, requests, in_flight=64), server.port))
            rate, witness = s.load_fraction * capacity, watched_cores(s)
            windows = {
                name: Windows(name, s.load_fraction, bool(witness)) for name in ("without", "with")
            }
            runs: list[dict[str, Any]] = []
            say(f"{s.name}: the training run begins")
            with _training(s.model, s.training_core, Path(f)) as pid:
                for turn in range(s.repeats):
                    # Every other turn begins with the other one: what drifts hits both.
                    for name in ("without", "with") if turn % 2 == 0 else ("with", "without"):
                        say(f"{s.name}: {name} a training run, window {turn + 1} of {s.repeats}")
                        more = {"rate": rate, "seed": turn + 1, "samples": samples}
                        spec = load_spec(s, requests, witness=witness, **more)
                        report = _beside(
                            name == "with", pid, lambda spec=spec: run(spec, server.port)
                        )
                        windows[name].add(samples, report)
                        runs.append({"window": name, "turn": turn, **report})
    return _told(s, windows, runs, rate, capacity)


def _beside(wanted: bool, pid: int, load: Any) -> dict[str, Any]:
    """A window's report, with the training run's use of a core in `training_cores`."""
    if not wanted:
        report: dict[str, Any] = load()
        return report | {"training_cores": 0.0}
    before, begun = used(pid), time.monotonic()
    with processes.awake(pid):
        report = load()
        spent = used(pid) - before
    return report | {"training_cores": spent / (time.monotonic() - begun)}


def used(pid: int) -> float:
    """Seconds of processor that a process and all that it started have used, ended ones too."""
    ticks = 0
    for one in processes.family(pid):
        try:
            fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # utime, stime, cutime and cstime, fields 14 to 17 of proc(5).
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _training(name: str, core: int, folder: Path) -> Iterator[int]:
    """A training run that has begun with its first phase and was stopped there; its process."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.training_run"]
    command += [name, str(data_folder()), str(folder / "training"), str(core)]
    with (folder / "training.log").open("w+") as said:
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            _wait_for_line(child, said)
            processes.pause(child.pid)
            yield child.pid
            if child.poll() is not None:
                said.seek(0)
                raise ServerError(f"the training run ended: {said.read().strip()[-500:]}")
        finally:
            processes.end(child.pid)
            child.wait()


def _wait_for_line(child: subprocess.Popen[str], said: IO[str]) -> None:
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        child.wait()
        said.seek(0)
        raise ServerError(f"the training run did not begin: {said.read().strip()[-500:]}")


def _told(
    s: Scenario,
    windows: dict[str, Windows],
    runs: list[dict[str, Any]],
    rate: float,
    capacity: float,
) -> Result:
    without, beside = windows["without"], windows["with"]
    trained = tuple(r["training_cores"] for r in runs if r["window"] == "with")
    middle = tuple(
        b / a for a, b in zip(without.quantiles(0.5), beside.quantiles(0.5), strict=True)
    )
    figures = [
        *compared(
            "p99 beside a training run against without", beside, without, 0.99, s.target, "windows"
        ),
        Figure("p50 beside a training run against without, window by window", "times", middle),
        Figure("cores that the training run used, windows with it", "", trained, LEAST_TRAINING),
    ]
    for name in windows:
        lags = tuple(float(r["send_lag_us"]["p99"]) for r in runs if r["window"] == name)
        figures.append(Figure(f"send lag of the generator, p99, {name}", "µs", lags))
    spec = recipe(s.model, data_folder()).specialise
    conditions = conditions_of(
        s,
        rate=rate,
        capacity_per_s=capacity,
        arrivals="Poisson",
        recipe=s.model,
        training_core=s.training_core,
        nice=spec.nice,
        training_cores_allowed=spec.cores,
        generator=f"on core {s.generator_core} at nice {s.generator_nice}",
    )
    bars = tuple(
        Bar(f"{w.name}, p99", statistics.median(w.quantiles(0.99))) for w in (without, beside)
    )
    return Result(s.name, s.title, conditions, tuple(figures), bars, "µs", tuple(runs))
