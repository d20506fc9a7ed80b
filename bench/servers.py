"""Starts the servers under test, each on given cores, and stops them by their process id."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench import processes
from bench.environments import Environment

START_SECONDS = 30.0


class ServerError(RuntimeError):
    """A server did not start; the message holds what it said."""


@dataclass(frozen=True)
class Contender:
    """A running server: its gRPC port, its process, and how long it took to be ready."""

    name: str
    port: int
    pid: int
    ready_s: float
    http_port: int | None = None

    def resident_mb(self) -> float:
        """Resident memory of the process, MB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
        raise ServerError(f"{self.name} is gone")


def free_port(count: int = 1) -> int:
    """A port that was free a moment ago, and so were the `count` - 1 after it."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for more in range(1, count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + more))
            except (OSError, OverflowError):
                continue
            return port


@dataclass(frozen=True)
class _Started:
    """A process and the file that it writes its standard error to."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def first_line(self, name: str) -> str:
        """What it says first; its errors if it says nothing."""
        stdout: IO[str] | None = self.process.stdout
        line = stdout.readline() if stdout else ""
        if not line:
            self.process.wait(timeout=10)
            self.errors.seek(0)
            raise ServerError(f"{name} did not start: {self.errors.read().strip()[-500:]}")
        return line


@contextmanager
def _process(
    command: list[str], cores: str | None, errors: Path | None = None
) -> Iterator[_Started]:
    """Runs a command until the block ends. Its errors go to a file: nobody would read a pipe."""
    pinned = ["taskset", "-c", cores] if cores else []
    where = errors.open("w") if errors else tempfile.TemporaryFile("w+")  # noqa: SIM115
    with (
        where,
        subprocess.Popen(
            pinned + command, stdout=subprocess.PIPE, stderr=where, text=True
        ) as process,
    ):
        try:
            yield _Started(process, where)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def sluicegate(
    repository: Path,
    cores: str | None = None,
    config: str = "",
    flags: tuple[str, ...] = (),
    log: Path | None = None,
) -> Iterator[Contender]:
    """The gateway, by its own command, on free ports.

    `config` is the text of a sluicegate.toml; `log` gets what it says on standard error.
    """
    command = [str(Path(sys.executable).with_name("sluicegate")), "serve", "--json"]
    command += ["--models", str(repository)]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *flags]
    if "[governance]" not in config:
        command.append("--allow-unsigned")
    if config:
        path = repository / "sluicegate.toml"
        path.write_text(config)
        command += ["--config", str(path)]
    started = time.monotonic()
    with _process(command, cores, log) as running:
        told = json.loads(running.first_line("sluicegate"))
        if "error" in told:
            raise ServerError(f"sluicegate did not start: {told['error']}")
        ready_s = time.monotonic() - started
        grpc, http = (int(told[door].rsplit(":", 1)[1]) for door in ("grpc", "http"))
        yield Contender("sluicegate", grpc, told["pid"], ready_s, http)


@contextmanager
def grpcio(graph: Path, flavour: str, cores: str | None = None) -> Iterator[Contender]:
    """grpcio with ONNX Runtime, `flavour` "aio" or "sync"."""
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.grpcio_onnx", "--flavour", flavour]
    command += ["--graph", str(graph), "--port", str(port)]
    started = time.monotonic()
    with _process(command, cores) as running:
        running.first_line(f"grpcio {flavour}")
        pid = running.process.pid
        yield Contender(f"grpcio-{flavour}", port, pid, time.monotonic() - started)


def wait_for_port(port: int, alive: Callable[[], bool]) -> None:
    """Wait until something accepts on `port`.

    Raises:
        ServerError: nothing did within START_SECONDS, or the process ended.

    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and alive():
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ServerError(f"nothing accepts on port {port}")


@contextmanager
def peer(name: str, graph: Path, cores: str, environment: Environment) -> Iterator[Contender]:
    """bench/peers/NAME_onnx.py in its own environment; whether it answers is not looked at yet.

    What it says goes into `server.log` of its environment: there is much, and a full pipe would
    hold it up. It ends with all its processes.
    """
    # Some open a second door on the next port.
    port = free_port(2)
    command = ["taskset", "-c", cores, str(environment.python), "-m", f"bench.peers.{name}_onnx"]
    command += ["--graph", str(graph), "--port", str(port)]
    with environment.log.open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=environment.folder,
            env=environment.variables,
        )
    try:
        yield Contender(name, port, process.pid, 0.0)
    finally:
        processes.end(process.pid)
        process.wait()


@contextmanager
def nghttpd(folder: Path, cores: str | None = None) -> Iterator[Contender]:
    """An HTTP/2 server that answers at once, to find the generator's own limit.

    Raises:
        ServerError: nghttpd is not installed (Debian: nghttp2-server) or did not start.

    """
    port = free_port()
    command = ["nghttpd", "--no-tls", "-d", str(folder), "--trailer=grpc-status: 0", str(port)]
    started = time.monotonic()
    try:
        with _process(command, cores) as running:
            process = running.process
            wait_for_port(port, lambda: process.poll() is None)
            yield Contender("nghttpd", port, process.pid, time.monotonic() - started)
    except FileNotFoundError as error:
        raise ServerError("nghttpd is not installed (Debian: nghttp2-server)") from error
