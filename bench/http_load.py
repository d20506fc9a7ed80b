"""A load generator for servers that speak HTTP/1.1 only: what the gRPC generator does, in Python.

`python -m bench.http_load --port N --bodies FILE --in-flight N | --rate R …`. Each connection
carries one request at a time, so there are as many as requests in flight. In open loop arrivals
are Poisson and a latency runs from the scheduled send; it spins until a request is due. The
report's keys are the gRPC generator's. Fit for thousands of requests a second, not for more.
"""

import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from bench.load import ROOT, LoadError, LoadSpec
from bench.workload import read_requests

MOST_CONNECTIONS = 64
LINGER_S = 2.0
BEYOND = 10


def quantile(ordered: list[float], q: float) -> float | None:
    """The q-quantile of ascending values; None with fewer than ten values beyond it."""
    if len(ordered) * min(q, 1 - q) < BEYOND:
        return None
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass
class Tally:
    """What came back in the counted time, which is `start` to `end` on the monotonic clock."""

    start: float
    end: float
    arrived: int = 0
    status: dict[str, int] = field(default_factory=dict)
    latencies_us: list[float] = field(default_factory=list)
    lags_us: list[float] = field(default_factory=list)

    def sent(self, due: float, now: float) -> None:
        """Note a request that was due at `due` and is written at `now`."""
        if self.start <= due < self.end:
            self.lags_us.append((now - due) * 1e6)

    def answered(self, due: float, now: float, status: int) -> None:
        """Note an answer; rates count by arrival, latencies by the scheduled send."""
        ok = status == 200
        self.arrived += ok and self.start <= now < self.end
        if self.start <= due < self.end:
            name = f"HTTP_{status}"
            self.status[name] = self.status.get(name, 0) + 1
            if ok:
                self.latencies_us.append((now - due) * 1e6)

    def report(self) -> dict[str, Any]:
        """The gRPC generator's keys, as far as they are used."""
        seconds = self.end - self.start
        return {
            "duration_s": seconds,
            "sent": len(self.lags_us),
            "ok": len(self.latencies_us),
            "ok_per_s": self.arrived / seconds,
            "status": self.status,
            "unanswered": len(self.lags_us) - sum(self.status.values()),
            "latency_us": _summary(self.latencies_us),
            "send_lag_us": _summary(self.lags_us),
        }


def _summary(values: list[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {"count": len(ordered)} | {k: quantile(ordered, q) for k, q in quantiles.items()}


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.due = 0.0
        self.read = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what TCP gives
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """A request on its way is counted as unanswered."""
        self.transport = None

    def send(self, due: float, request: bytes) -> None:
        """Write a request that was due at `due`."""
        self.due = due
        if self.transport is not None:
            self.run.tally.sent(due, time.monotonic())
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Tell the run when an answer is complete."""
        self.read += data
        if (answer := complete(self.read)) is not None:
            self.read.clear()
            self.run.ended(self, answer)


def complete(read: bytes | bytearray) -> int | None:
    """The status of an answer that is all there, None of one that is not."""
    head, gap, body = bytes(read).partition(b"\r\n\r\n")
    if not gap:
        return None
    lengths = [
        int(line.split(b":", 1)[1])
        for line in head.split(b"\r\n")[1:]
        if line.lower().startswith(b"content-length:")
    ]
    return int(head.split(b" ", 2)[1]) if lengths and len(body) >= lengths[0] else None


class Run:
    """Sends requests, in closed or open loop, until the counted time has passed."""

    def __init__(self, requests: list[bytes], tally: Tally, rate: float | None, seed: int) -> None:
        self.requests = requests
        self.tally = tally
        self.rate = rate
        self.random = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.turn = 0

    def _send(self, connection: Connection, due: float) -> None:
        connection.send(due, self.requests[self.turn % len(self.requests)])
        self.turn += 1

    def ended(self, connection: Connection, status: int) -> None:
        """Count an answer and give its connection the next request."""
        now = time.monotonic()
        self.tally.answered(connection.due, now, status)
        if self.rate is None:
            if now < self.tally.end:
                self._send(connection, now)
        elif self.waiting:
            self._send(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)

    async def closed(self, connections: list[Connection]) -> None:
        """A request is sent when another one has ended."""
        for connection in connections:
            self._send(connection, time.monotonic())
        await asyncio.sleep(self.tally.end - time.monotonic() + LINGER_S)

    async def open(self, connections: list[Connection], rate: float) -> None:
        """Poisson arrivals that never wait for the server."""
        self.idle.extend(connections)
        due = time.monotonic()
        while (due := due + self.random.expovariate(rate)) < self.tally.end:
            while time.monotonic() < due:
                await asyncio.sleep(0)
            if self.idle:
                self._send(self.idle.popleft(), due)
            else:
                self.waiting.append(due)
        await asyncio.sleep(LINGER_S)


async def _load(run: Run, port: int, in_flight: int | None) -> None:
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(in_flight or MOST_CONNECTIONS):
        _, connection = await loop.create_connection(lambda: Connection(run), "127.0.0.1", port)
        connections.append(connection)
    if run.rate is None:
        await run.closed(connections)
    else:
        await run.open(connections, run.rate)
    for connection in connections:
        if connection.transport is not None:
            connection.transport.close()


def encode(path: str, port: int, body: bytes) -> bytes:
    """One HTTP/1.1 request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(spec: LoadSpec, port: int, bodies: Path) -> dict[str, Any]:
    """Load the server on `port` from a process of its own, as bench.load.run does over gRPC.

    Raises:
        LoadError: the server was not reached.

    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report.json")
        command = [sys.executable, "-m", "bench.http_load", "--port", str(port)]
        command += ["--bodies", str(bodies), "--out", str(out), "--seed", str(spec.seed)]
        command += ["--duration-s", str(spec.duration_s), "--warmup-s", str(spec.warmup_s)]
        options = {"--rate": spec.rate, "--in-flight": spec.in_flight, "--cpu": spec.cpu}
        for flag, value in options.items():
            if value is not None:
                command += [flag, str(value)]
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            said = done.stderr.decode().strip().splitlines()
            raise LoadError(f"HTTP client: {(said or ['no reason was given'])[-1]}")
        report: dict[str, Any] = json.loads(out.read_text())
        return report


def scores(port: int, bodies: Path, path: str = "/predict") -> NDArray[np.float32]:
    """The answer to each body, asked one after another, float32 [n].

    Raises:
        LoadError: the server was not reached or gave no score.

    """
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        for body in read_requests(bodies):
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                found.append(float(json.loads(connection.getresponse().read())["score"]))
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                raise LoadError(f"HTTP client: {error!r}") from error
    return np.array(found, np.float32)


def main(
    port: Annotated[int, typer.Option()],
    bodies: Annotated[Path, typer.Option(help="as the gRPC generator's --requests, of JSON")],
    out: Annotated[Path, typer.Option()],
    path: Annotated[str, typer.Option()] = "/predict",
    rate: Annotated[float | None, typer.Option()] = None,
    in_flight: Annotated[int | None, typer.Option()] = None,
    duration_s: Annotated[float, typer.Option()] = 5.0,
    warmup_s: Annotated[float, typer.Option()] = 1.0,
    seed: Annotated[int, typer.Option()] = 1,
    cpu: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Load one server and write a report."""
    if (rate is None) == (in_flight is None):
        raise typer.BadParameter("give either --rate or --in-flight")
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    requests = [encode(path, port, body) for body in read_requests(bodies)]
    start = time.monotonic() + warmup_s
    tally = Tally(start, start + duration_s)
    asyncio.run(_load(Run(requests, tally, rate, seed), port, in_flight))
    told = {"mode": "open" if rate else "closed", "rate": rate, "in_flight": in_flight}
    out.write_text(json.dumps(told | {"seed": seed, "warmup_s": warmup_s} | tally.report()))


if __name__ == "__main__":
    typer.run(main)
