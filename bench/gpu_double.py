"""The TensorRT backend on doubles of driver and library: its own cost, and whether it holds.

No GPU takes part. What is measured is the way from `run` to the device and back: Python, ctypes,
a graph launch, an event, a wait. The device's own time is taken off.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import LoadError
from bench.results import Figure, Result
from bench.scenario import Scenario
from bench.setting import Say

ROOT = Path(__file__).parents[1]
DOUBLES = ROOT / "tests" / "tensorrt" / "doubles"


@contextmanager
def on_library_double(settings: str = "") -> Iterator[dict[str, str]]:
    """The environment of a machine with the double of TensorRT, with an empty cache.

    Raises:
        LoadError: it is not here.

    """
    if not DOUBLES.is_dir():
        raise LoadError("the doubles of driver and library are in a checkout's tests folder")
    with tempfile.TemporaryDirectory(prefix="sluicegate-gpu-") as folder:
        said = Path(folder, "sluicegate.toml")
        said.write_text(f"[engines.tensorrt]\n{settings}\n")
        yield {
            "PYTHONPATH": f"{ROOT}:{DOUBLES / 'modules'}",
            "SLUICEGATE_ENGINES": str(said),
            "XDG_CACHE_HOME": f"{folder}/cache",
        }


@contextmanager
def on_doubles(settings: str = "") -> Iterator[dict[str, str]]:
    """The same with the double of the driver too.

    Raises:
        LoadError: they cannot be built here.

    """
    with on_library_double(settings) as environment:
        sys.path.insert(0, str(ROOT))
        from tests.tensorrt.doubles.build import CannotBuild, build  # noqa: PLC0415

        try:
            library = build(Path(environment["XDG_CACHE_HOME"]).parent)
        except CannotBuild as error:
            raise LoadError(str(error)) from error
        yield environment | {"LD_LIBRARY_PATH": str(library.parent)}


def _run(program: str, batches: int, settings: str = "") -> dict[str, Any]:
    """What a program of bench.gpu_program says, on the doubles.

    Raises:
        LoadError: the doubles cannot be built here, or the program failed.

    """
    with on_doubles(settings) as environment:
        return run_program(program, batches, environment)


def run_program(program: str, batches: int, environment: dict[str, str]) -> dict[str, Any]:
    """What a program of bench.gpu_program says in an environment.

    Raises:
        LoadError: it failed.

    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu_program", program, str(batches)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LoadError(f"bench.gpu_program {program}: {done.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def gpu_host_cost(s: Scenario, say: Say) -> Result:
    """Time of one batch beyond the device's own, with a CUDA graph and call by call.

    `target`: at most so many µs, in the median, in every bucket with a CUDA graph; `batches` of
    each bucket are measured, `repeats` times.
    """
    runs: dict[str, list[dict[str, Any]]] = {"CUDA graph": [], "call by call": []}
    for number in range(s.repeats):
        for way, settings in (("CUDA graph", ""), ("call by call", "cuda_graphs = false")):
            say(f"{s.name}: {way}, {number + 1} of {s.repeats}")
            runs[way].append(_run("host_cost", s.batches, settings))
    figures = []
    for way, told in runs.items():
        target = s.target if way == "CUDA graph" else None
        for quantile in ("p50", "p99"):
            worst = tuple(
                max(b["host_ns"][quantile] for b in each["buckets"].values()) / 1000
                for each in told
            )
            what = f"{way}: host's cost a batch, {quantile}, dearest bucket"
            at = target if quantile == "p50" else None
            figures.append(Figure(what, "µs", worst, at, at_least=False))
    conditions = {"batches_of_each_bucket": s.batches, "repeats": s.repeats, "gpu": "none: doubles"}
    told_runs = tuple({"way": way, **each} for way, all_ in runs.items() for each in all_)
    return Result(s.name, s.title, conditions, tuple(figures), runs=told_runs)


def gpu_soak(s: Scenario, say: Say) -> Result:
    """`batches` over three lanes and every bucket, each row compared; then what is left behind.

    And batches of 5 ms beside which another thread goes on, while nobody is made to give Python's
    lock away.
    """
    say(f"{s.name}: {s.batches:,} batches")
    told = _run("soak", s.batches)
    say(f"{s.name}: ticks")
    beside = _run("ticks", 500)
    half = told["resident_mb"][len(told["resident_mb"]) // 2 :]
    left = sum(abs(count) for count in told["left"].values())
    figures = (
        Figure("batches", "", (told["batches"],), float(s.batches)),
        Figure("wrong rows", "", (told["wrong_rows"],), 0.0, at_least=False),
        Figure("left on the device after closing", "things", (left,), 0.0, at_least=False),
        Figure("memory, second half", "MB", (half[-1] - half[0],), 1.0, at_least=False),
        Figure(
            "batches of 5 ms beside which another thread went on",
            "of 500",
            (beside["went_on"],),
            float(beside["batches"]),
        ),
    )
    conditions = {"lanes": 3, "rows": "1 to 64, at random", "gpu": "none: doubles"}
    return Result(s.name, s.title, conditions, figures, runs=(told, beside))
