"""What every kind of scenario is measured with: a model repository, requests, one load."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import models, workload
from bench.load import LoadSpec
from bench.scenario import Scenario

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
    told = {"duration_s": s.duration_s, "connections": s.connections, "rows": s.rows}
    return LoadSpec(requests=requests, cpu=s.generator_core, **(told | more))


def ok_per_s(report: dict[str, Any]) -> float:
    """Good answers a second."""
    return float(report["ok_per_s"])
