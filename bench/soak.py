"""`python -m bench.soak`: a server under load and faults for minutes, and what is left of it after.

Faults, all the time: clients that are killed, connections that stay half open, garbage, requests
that the engine fails on, cancelled calls, swaps; and a log on a full disk. At the end every good
request must have been answered or honestly shed, memory must be flat, nothing may be left open.
"""

import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import grpc
import numpy as np
import typer
from rich.console import Console

from bench import models, servers, workload
from bench.load import LoadSpec, binary, run
from bench.servers import Contender
from bench.setting import model_status
from bench.swap import NAME, Swaps, pack_marked
from gateway.cli.status import fetch
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs

# What a round of faults must not take from the others.
GROWTH_MB = 25.0
HONEST = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass
class Faults:
    """Does one thing wrong after another, and counts what it did."""

    server: Contender
    requests: Path
    dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    done: dict[str, int] = field(default_factory=dict)
    held: list[socket.socket] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def one(self) -> None:
        """Any one fault."""
        kinds: tuple[Callable[[], None], ...] = (
            self.killed_client,
            self.half_open,
            self.garbage,
            self.failing_rows,
            self.cancelled,
            self.slow_reader,
        )
        kind = self.dice.choice(kinds)
        kind()
        self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=5)

    def killed_client(self) -> None:
        """A load generator that ends in the middle of everything."""
        command = [str(binary()), "--target", f"127.0.0.1:{self.server.port}", "--requests"]
        command += [str(self.requests), "--in-flight", "32", "--duration-s", "5"]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(0.3)
            process.send_signal(signal.SIGKILL)

    def half_open(self) -> None:
        """A connection that says half a hello and stays."""
        s = self._connect()
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: self.dice.randint(1, 24)])
        self.held.append(s)
        while len(self.held) > 50:
            self.held.pop(0).close()

    def garbage(self) -> None:
        """What is no HTTP/2."""
        with self._connect() as s:
            try:
                s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.dice.randbytes(20_000))
                s.recv(65536)
            except OSError:
                return  # closed by the server, which is its right

    def slow_reader(self) -> None:
        """A caller that asks much and reads nothing."""
        s = self._connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.held.append(s)

    def _stub(self) -> tuple[grpc.Channel, Any]:
        channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        return channel, stubs.GRPCInferenceServiceStub(channel)

    def failing_rows(self) -> None:
        """Requests that are refused, beside one that is good."""
        channel, stub = self._stub()
        with channel:
            x = models.rows(3)
            good = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[x.tobytes()])
            good.inputs.add(name="features", datatype="FP32", shape=x.shape)
            bad = pb.ModelInferRequest()
            bad.CopyFrom(good)
            bad.raw_input_contents[0] = b"short"
            calls = [stub.ModelInfer.future(m, timeout=5) for m in (bad, good, bad)]
            if calls[0].code() != grpc.StatusCode.INVALID_ARGUMENT:
                self.wrong.append(f"a bad request got {calls[0].code()}")
            if calls[1].code() == grpc.StatusCode.OK:
                told = calls[1].result()
                marks = np.frombuffer(told.raw_output_contents[1], np.float32)
                if not (marks == float(told.model_version)).all():
                    self.wrong.append("an answer mixes versions")
            elif calls[1].code() not in HONEST:
                self.wrong.append(f"a good request got {calls[1].code()}: {calls[1].details()}")

    def cancelled(self) -> None:
        """A burst of calls that nobody waits for."""
        spec = LoadSpec(self.requests, 0, in_flight=64, sends=2_000, cancel_share=0.8, warmup_s=0)
        run(spec, self.server.port)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 10.0,
    rate: Annotated[float, typer.Option(help="Good requests a second beside the faults.")] = 2000,
) -> None:
    """Run the faults; exit code 1 if anything is wrong at the end."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sluicegate-soak-") as folder:
        root = Path(folder)
        for version in range(1, 13):
            pack_marked(root / "models", version)
        requests = root / "requests.bin"
        workload.write_requests(requests, workload.encode_rows(NAME, models.rows(256)))
        # A log that cannot be written must not stop anything.
        config = f'control_socket = "{root}/control"\n'
        with servers.sluicegate(root / "models", config=config, log=Path("/dev/full")) as server:
            swaps = Swaps(server, root / "control")
            problems = _soak(console, swaps, requests, minutes, rate)
    for problem in problems:
        console.print(f"[red]wrong:[/] {problem}")
    if problems:
        raise typer.Exit(1)
    console.print("[green]nothing is wrong")


def _soak(console: Console, swaps: Swaps, requests: Path, minutes: float, rate: float) -> list[str]:
    server = swaps.server
    faults = Faults(server, requests)
    swaps.to(1)
    run(LoadSpec(requests, 3.0, in_flight=64), server.port)
    memory, until = server.resident_mb(), time.monotonic() + 60 * minutes
    stop = threading.Event()

    def swapping() -> None:
        while not stop.wait(1.5):
            swaps.to(swaps.current % 12 + 1)

    swapper = threading.Thread(target=swapping)
    swapper.start()
    sent = ok = 0
    problems: list[str] = []
    while time.monotonic() < until:
        reports: list[dict[str, Any]] = []
        spec = LoadSpec(requests, 5.0, rate=rate, deadline_us=250_000, warmup_s=0)
        load = threading.Thread(target=lambda s=spec, r=reports: r.append(run(s, server.port)))
        load.start()
        while load.is_alive():
            faults.one()
        load.join()
        report = reports[0]
        sent, ok = sent + report["sent"], ok + report["ok"]
        others = {k: n for k, n in report["status"].items() if k not in ("OK", *_HONEST_NAMES)}
        if others or report["failures"] or report["connections_lost"]:
            problems.append(f"good requests ended as {others | report['failures']}")
        console.print(
            f"{max(0.0, until - time.monotonic()):4.0f} s left: {sent:,} sent, {ok:,} ok, "
            f"{server.resident_mb():.1f} MB, {sum(faults.done.values())} faults, "
            f"version {swaps.current}"
        )
    stop.set()
    swapper.join()
    for held in faults.held:
        held.close()
    return problems + faults.wrong + _after(console, server, memory, faults)


_HONEST_NAMES = tuple(code.name for code in HONEST)


def _after(console: Console, server: Contender, memory: float, faults: Faults) -> list[str]:
    """What must hold once everybody has gone."""
    deadline = time.monotonic() + 30
    door = f"127.0.0.1:{server.http_port}"
    # Our own channel for swaps stays open.
    while fetch(door)["connections"] > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    told, model = fetch(door), model_status(server, NAME)
    grown = server.resident_mb() - memory
    console.print(f"faults: {faults.done}; memory {memory:.1f} MB before, {grown:+.1f} MB after")
    problems = []
    if told["connections"] > 1:
        problems.append(f"{told['connections']} connections are still open")
    if model["pending_requests"] or model["queued_requests"]:
        problems.append("requests are still waiting")
    if grown > GROWTH_MB:
        problems.append(f"memory grew by {grown:.1f} MB, {GROWTH_MB} MB are allowed")
    try:
        os.kill(server.pid, 0)
    except ProcessLookupError:
        problems.append("the server is gone")
    return problems


if __name__ == "__main__":
    typer.run(main)
