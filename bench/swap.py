"""Hot swap under load: latency while versions are loaded and swapped, against steady."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench import models, servers, workload
from bench.load import LoadError, LoadSpec, run
from bench.results import Bar, Figure, Result
from bench.samples import Windows, compared
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, load_spec, ok_per_s, watched_cores
from gateway.control import source
from gateway.packing import Wishes, pack_graph
from gateway.wire import open_inference_pb2 as pb

NAME = "tabular"
# Between two swaps of a window.
PAUSE_S = 0.02


def pack_marked(repository: Path, version: int, wishes: Wishes | None = None) -> str:
    """The 32-feature network with a second output that is the version's number; its digest."""
    model = models.perceptron()
    weights = [
        numpy_helper.from_array(np.zeros((models.FEATURES, 1), np.float32), "none"),
        numpy_helper.from_array(np.full(1, version, np.float32), "number"),
    ]
    model.graph.initializer.extend(weights)
    model.graph.node.append(helper.make_node("Gemm", ["features", "none", "number"], ["mark"]))
    model.graph.output.append(
        helper.make_tensor_value_info("mark", TensorProto.FLOAT, ["batch", 1])
    )
    onnx.checker.check_model(model)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(model.SerializeToString())
        packed = pack_graph(graph, NAME, repository, wishes=wishes)
    if packed.version != version:
        raise ValueError(f"version {version} was packed as {packed.version}")
    return packed.digest


@dataclass
class Swaps:
    """Goes from version to version, one after the other."""

    server: Contender
    socket: Path
    core: str = "0"
    current: int = 1
    took_ms: list[float] = field(default_factory=list)
    # Of the last window: when each swap was done, in seconds since the load began.
    done_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def to(self, version: int) -> float:
        """Load a version and wait until it is live; ms that it took."""
        begun = time.monotonic()
        source.command(self.socket, "swap", model=NAME, version=version)
        self.current = version
        return 1e3 * (time.monotonic() - begun)

    def next(self) -> None:
        """The next version; what it took and what memory is in use then are kept."""
        self.took_ms.append(self.to(self.current + 1))
        self.memory_mb.append(self.server.resident_mb())

    def during(self, spec: LoadSpec, count: int) -> dict[str, Any]:
        """One window of load in which `count` swaps happen, evenly.

        A process of its own asks for them over the control socket, at nice 10 on the server's core:
        it must take nothing from the generator, and what it takes of the server counts.
        """
        gap = (spec.duration_s - 0.4) / count
        begin = spec.warmup_s + 0.2
        core = self.core.split(",")[0].split("-")[0]
        command = ["taskset", "-c", core, "nice", "-n", "10", sys.executable, "-m", "bench.swap"]
        command += [str(self.socket), str(self.server.pid), str(self.current), str(count)]
        command += [str(begin), str(gap)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            if driver.stdout is None or driver.stdout.readline() != "ready\n":
                raise LoadError("the process that asks for swaps did not start")
            report = run(spec, self.server.port)
            told = json.loads(driver.stdout.read())
        self.current += count
        self.took_ms += told["took_ms"]
        self.done_s = told["done_s"]
        self.memory_mb += told["memory_mb"]
        return report


def _drive(socket: Path, pid: int, current: int, count: int, begin: float, gap: float) -> None:
    """What that process does."""
    swaps = Swaps(Contender("sluicegate", 0, pid, 0.0), socket, current=current)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    begun = time.monotonic() + begin
    for turn in range(count):
        time.sleep(max(PAUSE_S, begun + turn * gap - time.monotonic()))
        swaps.next()
        swaps.done_s.append(time.monotonic() - (begun - begin))
    told = {"took_ms": swaps.took_ms, "memory_mb": swaps.memory_mb, "done_s": swaps.done_s}
    sys.stdout.write(json.dumps(told))


def mixed(responses: Path, digests: dict[str, str]) -> tuple[int, int]:
    """Good answers in the file, and those that are not wholly of the version that they name."""
    seen = wrong = 0
    for answer in workload.read_answers(responses):
        if answer.status != workload.OK:
            continue
        seen += 1
        told = pb.ModelInferResponse.FromString(answer.message)
        marks = np.frombuffer(told.raw_output_contents[1], np.float32)
        digest = told.parameters["sluicegate_digest"].string_param
        right = digests.get(told.model_version) == digest
        wrong += not (right and (marks == float(told.model_version)).all())
    return seen, wrong


def swap(s: Scenario, say: Say) -> Result:
    """`swaps` versions loaded one after the other at `load_fraction` of capacity.

    Windows alternate: steady, and with a tenth or so of the swaps in it. The figure is the p99.9
    of all answers in swapping windows against that of all steady ones, once of all and once
    without those that met a pause of the machine. In one more window every
    answer is kept and checked: digest, version and the version's own mark must agree. With
    `load_fraction` 0 there is no load: only memory is looked at.
    """
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        root = Path(folder)
        repository = root / "models"
        checked = 5
        digests = {}
        for version in range(1, s.swaps + checked + 2):
            if version % 50 == 1:
                say(f"{s.name}: packing version {version} of {s.swaps + checked + 1}")
            digests[str(version)] = pack_marked(repository, version)
        requests = root / "requests.bin"
        workload.write_requests(requests, workload.encode_rows(NAME, models.rows(256)))
        flags = ("--io-threads", str(s.io_threads))
        socket = root / "control"
        config = f'control_socket = "{socket}"\n'
        with servers.sluicegate(repository, s.server_cores, config, flags) as server:
            # It began with the newest; from the first on, each has its turn.
            swaps = Swaps(server, socket, s.server_cores)
            swaps.to(1)
            if s.load_fraction == 0:
                return _memory(s, say, swaps)
            return _under_load(s, say, swaps, root, requests, digests, checked)


def _under_load(
    s: Scenario,
    say: Say,
    swaps: Swaps,
    root: Path,
    requests: Path,
    digests: dict[str, str],
    checked: int,
) -> Result:
    server = swaps.server
    say(f"{s.name}: capacity")
    capacity = ok_per_s(run(load_spec(s, requests, in_flight=64), server.port))
    rate = s.load_fraction * capacity
    witness = watched_cores(s)
    steady, swapping = (
        Windows(name, s.load_fraction, bool(witness)) for name in ("steady", "swapping")
    )
    runs: list[dict[str, Any]] = []
    done = in_time = 0
    for turn in range(s.repeats):
        count = (s.swaps - done) // (s.repeats - turn)
        done += count
        # Every other turn begins with the other one: what drifts hits both.
        for kept in (steady, swapping) if turn % 2 == 0 else (swapping, steady):
            say(f"{s.name}: {kept.name}, window {turn + 1} of {s.repeats}")
            samples = root / "samples.bin"
            more = {"rate": rate, "seed": turn + 1, "samples": samples, "witness": witness}
            spec = load_spec(s, requests, **more)
            if kept is steady:
                report = run(spec, server.port)
            else:
                report = swaps.during(spec, count)
                in_time += sum(t <= spec.warmup_s + spec.duration_s for t in swaps.done_s)
            kept.add(samples, report)
            runs.append({"window": kept.name, "turn": turn, "swaps": count, **report})
    say(f"{s.name}: every answer of one more window is checked")
    many = root / "many.bin"
    workload.write_requests(many, workload.encode_rows(NAME, models.rows(60_000)))
    responses = root / "responses.bin"
    spec = load_spec(s, many, rate=min(rate, 60_000 / s.duration_s), responses=responses)
    runs.append({"window": "checked", "swaps": checked, **swaps.during(spec, checked)})
    seen, wrong = mixed(responses, digests)
    errors = sum(r["sent"] - r["ok"] for r in runs)
    slope = _slope(swaps.memory_mb)
    figures = (
        *compared("p99.9 while swapping against steady", swapping, steady, 0.999, s.target),
        Figure("swaps that ended while the load was on", "", (in_time,), 0.95 * s.swaps),
        Figure("calls that were not answered well", "", (errors,), 0, at_least=False),
        Figure("answers that mix versions", "", (wrong,), 0, at_least=False),
        Figure("answers checked for that", "", (seen,)),
        Figure("answers in swapping windows", "", (sum(map(len, swapping.each)),), 20_000),
        Figure("one swap, load to live", "ms", tuple(swaps.took_ms)),
        Figure("memory a swap, after the 20th", "MB", (slope,), 0.1, at_least=False),
    )
    bars = (
        Bar("steady, p99.9", steady.quantile(0.999)),
        Bar("swapping, p99.9", swapping.quantile(0.999)),
        Bar("steady, p99", steady.quantile(0.99)),
        Bar("swapping, p99", swapping.quantile(0.99)),
    )
    told = conditions_of(s, rate=rate, capacity_per_s=capacity, swaps=s.swaps, arrivals="Poisson")
    return Result(s.name, s.title, told, figures, bars, "µs", tuple(runs))


def _memory(s: Scenario, say: Say, swaps: Swaps) -> Result:
    for turn in range(s.swaps):
        if turn % 50 == 0:
            say(f"{s.name}: swap {turn + 1} of {s.swaps}, {swaps.server.resident_mb():.1f} MB")
        swaps.next()
    figures = (
        Figure("memory a swap, after the 20th", "MB", (_slope(swaps.memory_mb),), s.target, False),
        Figure("memory after the 20th", "MB", (swaps.memory_mb[19],)),
        Figure("memory after the last", "MB", (swaps.memory_mb[-1],)),
        Figure("one swap, load to live", "ms", tuple(swaps.took_ms)),
    )
    return Result(s.name, s.title, {"swaps": s.swaps, "load": 0}, figures)


def _slope(memory_mb: list[float]) -> float:
    """MB a swap after the 20th: the slope of the line of least squares."""
    rest = np.array(memory_mb[20:])
    if len(rest) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(rest)), rest, 1)[0])


if __name__ == "__main__":
    whole, seconds = map(int, sys.argv[2:5]), map(float, sys.argv[5:7])
    _drive(Path(sys.argv[1]), *whole, *seconds)
