"""What every kind of scenario is measured with: a model repository, requests, one load."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import models, workload
from bench.load import LoadSpec
from bench.scenario import Scenario
from bench.servers import Contender
from gateway.cli.status import fetch

Say = Callable[[str], None]
MESSAGES = 256


@contextmanager
def workspace(model: str, rows: int) -> Iterator[tuple[Path, Path]]:
    """A temporary repository's path and a file of encoded requests of `rows` rows."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        requests = Path(folder, "requests.bin")
        x = models.rows(MESSAGES * rows)
        workload.write_requests(requests, workload.encode_rows(model, x, rows_per_request=rows))
        repository = Path(folder, "models")
        repository.mkdir()
        yield repository, requests


def conditions_of(s: Scenario, **more: object) -> dict[str, Any]:
    """What a result says about how it was measured."""
    return {
        "server_cores": s.server_cores,
        "generator_core": s.generator_core,
        "io_threads": s.io_threads,
        "connections": s.connections,
        "rows_a_request": s.rows,
        "repeats": s.repeats,
        "window_s": s.duration_s,
        **more,
    }


def load_spec(s: Scenario, requests: Path | None, **more: Any) -> LoadSpec:
    """The scenario's load, open or closed as `more` says."""
    told: dict[str, Any] = {
        "duration_s": s.duration_s,
        "connections": s.connections,
        "rows": s.rows,
    }
    told |= {"nice": s.generator_nice}
    return LoadSpec(requests=requests, cpu=s.generator_core, **(told | more))


def watched_cores(s: Scenario) -> tuple[int, ...]:
    """Cores of server and generator, or none where real-time priority is not allowed."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return ()
    os.sched_setscheduler(0, policy, parameter)
    cores = {int(core) for part in s.server_cores.split(",") for core in part.split("-")}
    return tuple(sorted(cores | ({s.generator_core} if s.generator_core is not None else set())))


def model_status(server: Contender, name: str) -> dict[str, Any]:
    """What the server tells of a model: the version that answers."""
    told = fetch(f"127.0.0.1:{server.http_port}")["models"]
    found: dict[str, Any] = next(m for m in told if m["name"] == name)
    return found


def late_by_server(server: Contender) -> int:
    """Answers that the server itself found to be late, since it started."""
    told = fetch(f"127.0.0.1:{server.http_port}")["models"]
    return sum(int(m["requests"]["late"]) for m in told if "requests" in m)


def ok_per_s(report: dict[str, Any]) -> float:
    """Good answers a second."""
    return float(report["ok_per_s"])
