"""Runs the load generator and reads its report."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class LoadError(RuntimeError):
    """The load generator did not run; the message is its own."""


@dataclass(frozen=True)
class LoadSpec:
    """One run of the generator.

    `rate` (open loop, requests/s, Poisson) or `in_flight` (closed loop); `deadline_us` is sent
    with each request; `cpu` pins the generator; `requests` is the file of encoded messages, None
    for empty ones. `witness` are cores to watch for pauses of the machine. `timeout_s` ends a run
    that a server leaves hanging. `nice` lets a server on the generator's core go first.
    """

    requests: Path | None
    duration_s: float
    rate: float | None = None
    in_flight: int | None = None
    connections: int = 4
    rows: int = 1
    deadline_us: int | None = None
    warmup_s: float = 1.0
    sends: int | None = None
    cpu: int | None = None
    seed: int = 1
    responses: Path | None = None
    samples: Path | None = None
    cancel_share: float | None = None
    progress: bool = False
    timeout_s: float | None = None
    witness: tuple[int, ...] = ()
    nice: int = 0


def binary() -> Path:
    """Path of the generator, built by `make`.

    Raises:
        LoadError: it has not been built.

    """
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / "sluicegate-loadgen"
    if not path.is_file():
        raise LoadError(f"{path} is not there; build it with: cargo build --release -p {path.name}")
    return path


def run(spec: LoadSpec, port: int, *extra: str) -> dict[str, Any]:
    """Load the server on `port` and return the generator's report.

    Raises:
        LoadError: the server was not reached, the generator refused its arguments, or time was up.

    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report.json")
        command = [
            *(("nice", "-n", str(spec.nice)) if spec.nice else ()),
            str(binary()),
            *("--target", f"127.0.0.1:{port}"),
            *("--connections", str(spec.connections), "--rows", str(spec.rows)),
            *("--warmup-s", str(spec.warmup_s), "--seed", str(spec.seed), "--out", str(out)),
        ]
        options: dict[str, object | None] = {
            "--requests": spec.requests,
            "--rate": spec.rate,
            "--in-flight": spec.in_flight,
            "--deadline-us": spec.deadline_us,
            "--cpu": spec.cpu,
            "--responses": spec.responses,
            "--samples": spec.samples,
            "--cancel-share": spec.cancel_share,
            "--sends": spec.sends,
            "--duration-s": None if spec.sends else spec.duration_s,
        }
        for flag, value in options.items():
            if value is not None:
                command += [flag, str(value)]
        for core in spec.witness:
            command += ["--witness", str(core)]
        if spec.progress:
            command.append("--progress")
        try:
            done = subprocess.run(
                [*command, *extra],
                stderr=None if spec.progress else subprocess.PIPE,
                check=False,
                timeout=spec.timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"load generator: not done in {spec.timeout_s:g} s") from error
        if done.returncode:
            said = done.stderr.decode().strip() if done.stderr else f"exit code {done.returncode}"
            raise LoadError(f"load generator: {said}")
        report: dict[str, Any] = json.loads(out.read_text())
        return report
