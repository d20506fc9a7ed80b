"""How each kind of scenario is measured. Ratios come from windows that alternate in one run."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import models, servers
from bench.comparison import peers
from bench.encoder import encoder_share
from bench.gpu_double import gpu_host_cost, gpu_soak
from bench.load import LoadSpec, run
from bench.logging_cost import decision_log
from bench.neighbour import neighbour
from bench.overload import overload
from bench.precision import precision
from bench.promotion import promotion
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, load_spec, ok_per_s, workspace
from bench.shadow import shadow
from bench.storm import storm
from bench.swap import swap
from bench.tracing import telemetry
from bench.training import training


def compare(s: Scenario, say: Say) -> Result:
    """The gateway and grpcio (aio, sync) under the same load, in turns.

    With `in_flight` above 1 the ratio is throughput (`target`: at least), with 1 it is the median
    latency (`target`: at most). With neither, load is open at `load_fraction` of what grpcio aio
    can take, found first, and the ratio is that of the p99 (`target`: at most).
    """
    with workspace("tabular", s.rows) as (repository, requests), ExitStack() as stack:
        packed = models.pack_perceptron(repository)
        graph = packed.path / "model.onnx"
        enter = stack.enter_context
        flags = ("--io-threads", str(s.io_threads))
        contenders = [
            enter(servers.sluicegate(repository, s.server_cores, flags=flags)),
            enter(servers.grpcio(graph, "aio", s.server_cores)),
            enter(servers.grpcio(graph, "sync", s.server_cores)),
        ]
        rate = None
        if s.in_flight is None:
            say(f"{s.name}: capacity of {contenders[1].name}")
            capacity = run(load_spec(s, requests, in_flight=64), contenders[1].port)
            rate = s.load_fraction * ok_per_s(capacity)
        spec = load_spec(s, requests, in_flight=s.in_flight, rate=rate)
        runs = _in_turns(s, contenders, spec, say)
    throughput = s.in_flight is not None and s.in_flight > 1
    key, unit = ("ok_per_s", "requests/s") if throughput else (_quantile(s), "µs")
    pick = ok_per_s if throughput else (lambda r: float(r["latency_us"][key]))
    values = {name: [pick(r) for r in reports] for name, reports in runs.items()}
    ours = values["sluicegate"]
    figures = []
    for peer in ("grpcio-aio", "grpcio-sync"):
        ratios = tuple(a / b for a, b in zip(ours, values[peer], strict=True))
        target = s.target if peer == "grpcio-aio" else None
        what = f"{'throughput' if throughput else key} against {peer}"
        figures.append(Figure(what, "times", ratios, target, at_least=throughput))
    figures += [Figure(f"{name}: {key}", unit, tuple(v)) for name, v in values.items()]
    bars = tuple(Bar(name, statistics.median(v)) for name, v in values.items())
    load = {"in_flight": s.in_flight} if s.in_flight else {"rate": rate, "arrivals": "Poisson"}
    return Result(
        s.name,
        s.title,
        conditions_of(s, **load),
        tuple(figures),
        bars,
        f"{unit} ({key})",
        tuple(r for reports in runs.values() for r in reports),
    )


def _quantile(s: Scenario) -> str:
    return "p50" if s.in_flight == 1 else "p99"


def _in_turns(
    s: Scenario, contenders: list[Contender], spec: LoadSpec, say: Say
) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {c.name: [] for c in contenders}
    for turn in range(s.repeats):
        for contender in contenders:
            say(f"{s.name}: {contender.name}, window {turn + 1} of {s.repeats}")
            report = run(spec, contender.port)
            runs[contender.name].append({"contender": contender.name, "turn": turn, **report})
    return runs


def packed(s: Scenario, say: Say) -> Result:
    """Decisions a second with `rows` rows a request, generator and server on the same cores."""
    with workspace("tabular", s.rows) as (repository, requests):
        models.pack_perceptron(repository)
        runs = []
        with servers.sluicegate(
            repository, s.server_cores, flags=("--io-threads", str(s.io_threads))
        ) as server:
            spec = load_spec(s, requests, in_flight=s.in_flight)
            for turn in range(s.repeats):
                say(f"{s.name}: window {turn + 1} of {s.repeats}")
                runs.append(run(spec, server.port))
    decisions = tuple(float(r["decisions_per_s"]) for r in runs)
    figure = Figure("decisions a second, generator included", "1/s", decisions, s.target)
    conditions = conditions_of(s, in_flight=s.in_flight)
    bars = (Bar("sluicegate", figure.value),)
    return Result(s.name, s.title, conditions, (figure,), bars, "decisions/s", tuple(runs))


def added(s: Scenario, say: Say) -> Result:
    """Time that the gateway adds to the bare model call at `load_fraction` of its capacity.

    Capacity is the closed-loop throughput found first. Added time is the p99 from the scheduled
    send to the read answer, less the median of the bare call in a process of its own on the same
    core: the p99 of the bare call would be the smaller subtrahend's rival, and flatter.
    """
    with workspace("tabular", s.rows) as (repository, requests):
        model = models.pack_perceptron(repository)
        bare = _bare(model.path, s.server_cores)
        with servers.sluicegate(
            repository, s.server_cores, flags=("--io-threads", str(s.io_threads))
        ) as server:
            say(f"{s.name}: capacity")
            capacity = run(load_spec(s, requests, in_flight=64), server.port)
            rate = s.load_fraction * float(capacity["ok_per_s"])
            runs = []
            for turn in range(s.repeats):
                say(f"{s.name}: {rate:,.0f} requests/s, window {turn + 1} of {s.repeats}")
                runs.append(run(load_spec(s, requests, rate=rate, seed=turn + 1), server.port))
    quantiles = {
        q: tuple(float(r["latency_us"][q]) - bare["p50_us"] for r in runs)
        for q in ("p50", "p99", "p999")
    }
    figures = (
        Figure("added at p99", "µs", quantiles["p99"], s.target, at_least=False),
        Figure("added at p50", "µs", quantiles["p50"]),
        Figure("added at p99.9", "µs", quantiles["p999"]),
        Figure("bare call, p50", "µs", (bare["p50_us"],)),
        Figure("bare call, p99", "µs", (bare["p99_us"],)),
        Figure("send lag of the generator, p99", "µs", tuple(_lag(r) for r in runs)),
    )
    bars = tuple(Bar(f.what, f.value) for f in figures)
    conditions = conditions_of(
        s, capacity_per_s=capacity["ok_per_s"], rate=rate, arrivals="Poisson"
    )
    return Result(s.name, s.title, conditions, figures, bars, "µs", tuple(runs))


def _lag(report: dict[str, Any]) -> float:
    return float(report["send_lag_us"]["p99"])


def _bare(model: Path, cores: str) -> dict[str, float]:
    """One-row calls of the bare model, in a process of its own on `cores`."""
    code = (
        "import sys; from gateway import _native, runtime; runtime.use_onnxruntime(); "
        "print(_native.bare(sys.argv[1], 1, 2.0))"
    )
    command = ["taskset", "-c", cores, sys.executable, "-c", code, str(model)]
    told: dict[str, float] = json.loads(subprocess.check_output(command))
    return told


def footprint(s: Scenario, say: Say) -> Result:
    """Resident memory, idle, with one tabular model, and the time from start to ready."""
    with workspace("tabular", 1) as (repository, requests):
        models.pack_perceptron(repository)
        memory, ready, after = [], [], []
        for turn in range(s.repeats):
            say(f"{s.name}: start {turn + 1} of {s.repeats}")
            with servers.sluicegate(repository) as server:
                memory.append(server.resident_mb())
                ready.append(server.ready_s)
                run(LoadSpec(requests, 2.0, in_flight=64), server.port)
                after.append(server.resident_mb())
    figures = (
        Figure("resident memory, idle", "MB", tuple(memory), s.targets[0], at_least=False),
        Figure("start to ready", "s", tuple(ready), s.targets[1], at_least=False),
        Figure("resident memory after load", "MB", tuple(after)),
    )
    return Result(s.name, s.title, {"repeats": s.repeats}, figures)


def generator(s: Scenario, say: Say) -> Result:
    """The load generator's own limit: requests a second against a server that answers at once."""
    with workspace("tabular", 1) as (repository, requests):
        page = repository / "inference.GRPCInferenceService"
        page.mkdir()
        (page / "ModelInfer").write_bytes(b"\0\0\0\0\0")
        runs = []
        with servers.nghttpd(repository, s.server_cores) as server:
            for turn in range(s.repeats):
                say(f"{s.name}: window {turn + 1} of {s.repeats}")
                spec = load_spec(s, requests, in_flight=s.in_flight)
                runs.append(run(spec, server.port, "--accept-http"))
    figure = Figure("requests a second of one core", "1/s", tuple(map(ok_per_s, runs)), s.target)
    conditions = conditions_of(s, in_flight=s.in_flight, peer="nghttpd")
    return Result(s.name, s.title, conditions, (figure,), runs=tuple(runs))


def runtimes(s: Scenario, say: Say) -> Result:
    """One single-threaded runtime an I/O thread against one work-stealing runtime, in turns."""
    with workspace("tabular", 1) as (repository, requests), ExitStack() as stack:
        models.pack_perceptron(repository)
        contenders = []
        for kind in ("per-thread", "work-stealing"):
            config = f'io_model = "{kind}"\n'
            server = servers.sluicegate(
                repository, s.server_cores, config, ("--io-threads", str(s.io_threads))
            )
            found = stack.enter_context(server)
            contenders.append(
                Contender(kind, found.port, found.pid, found.ready_s, found.http_port)
            )
        closed = _in_turns(s, contenders, load_spec(s, requests, in_flight=64), say)
        rate = 0.3 * min(ok_per_s(r) for reports in closed.values() for r in reports)
        opened = _in_turns(s, contenders, load_spec(s, requests, rate=rate), say)
    figures = [
        Figure(f"{name}: throughput, 64 in flight", "requests/s", tuple(map(ok_per_s, reports)))
        for name, reports in closed.items()
    ]
    for quantile in ("p99", "p999"):
        figures += [
            Figure(f"{name}: {quantile} at {rate:,.0f}/s", "µs", _latencies(reports, quantile))
            for name, reports in opened.items()
        ]
    bars = tuple(Bar(f.what, f.value) for f in figures if f.unit == "µs")
    pooled = (*closed.values(), *opened.values())
    runs = tuple(r for reports in pooled for r in reports)
    return Result(s.name, s.title, conditions_of(s, rate=rate), tuple(figures), bars, "µs", runs)


def _latencies(reports: list[dict[str, Any]], quantile: str) -> tuple[float, ...]:
    return tuple(float(r["latency_us"][quantile]) for r in reports)


MEASURES: dict[str, Callable[[Scenario, Say], Result]] = {
    "compare": compare,
    "packed": packed,
    "added": added,
    "overload": overload,
    "shadow": shadow,
    "swap": swap,
    "promotion": promotion,
    "storm": storm,
    "telemetry": telemetry,
    "decision_log": decision_log,
    "encoder_share": encoder_share,
    "footprint": footprint,
    "generator": generator,
    "runtimes": runtimes,
    "peers": peers,
    "precision": precision,
    "train": training,
    "neighbour": neighbour,
    "gpu_host_cost": gpu_host_cost,
    "gpu_soak": gpu_soak,
}
