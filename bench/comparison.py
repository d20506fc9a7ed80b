"""The gateway beside other model servers: one run, the same core, model and load, in turns.

Only the server whose turn it is runs; the others are stopped meanwhile with all their processes,
as Ray Serve takes nearly a tenth of a core while idle. A server that cannot be had is a row
with the reason.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import environments, models, processes, servers
from bench.doors import Door, Workload, WrongAnswerError, check, drive, workload_of
from bench.environments import Environment, EnvironmentFailedError, cleaned
from bench.load import LoadError, LoadSpec
from bench.results import Bar, Figure, Result, Row
from bench.scenario import Scenario
from bench.servers import Contender, ServerError
from bench.setting import MESSAGES, Say, conditions_of, load_spec, ok_per_s, workspace
from bench.workload import WorkloadError

OURS, TRITON = "sluicegate", "triton, empty call"
# bench/peers/NAME_onnx.py and requirements/peers/NAME.txt, and the doors of each.
PEERS = {
    "pytriton": (Door("pytriton"), Door(TRITON, "live")),
    "mlserver": (Door("mlserver"),),
    "rayserve": (Door("ray serve"),),
    "litserve": (Door("litserve", "http"),),
}
START_SECONDS = 120.0
CROWD, ALONE, EQUAL = "many in flight", "one in flight", "equal load"
# Ten samples must lie beyond a p99; some more than that, as arrivals are random.
SAMPLES = 1100
# What a result keeps of a window's report; there are many windows.
KEPT: tuple[str, ...] = (
    "rate",
    "in_flight",
    "seed",
    "duration_s",
    "sent",
    "ok",
    "ok_per_s",
    "status",
    "failures",
)
KEPT += ("unanswered", "latency_us", "send_lag_us")
FAILURES = (EnvironmentFailedError, ServerError, LoadError, WorkloadError, WrongAnswerError)


@dataclass
class Entry:
    """A door on its way to a row: the server that it leads into, and the reports so far."""

    door: Door
    contender: Contender | None = None
    absent: str = ""
    reports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def peers(s: Scenario, say: Say) -> Result:
    """Every server in turns: `in_flight` requests in flight, then one, then an equal open load.

    The open load is `load_fraction` of what the slowest door can take. `target` is for our
    inferring throughput against Triton's front end that answers empty calls: at least.
    """
    with workspace("tabular", 1) as (repository, requests), ExitStack() as stack:
        graph = models.pack_perceptron(repository).path / "model.onnx"
        work = workload_of(graph, requests, MESSAGES)
        entries = _entries(s, repository, graph, work, stack, say)
        crowd = load_spec(s, None, in_flight=s.in_flight)
        _in_turns(s, CROWD, crowd, entries, work, say)
        rate = s.load_fraction * min(map(_capacity, present(entries)))
        alone = load_spec(s, None, in_flight=1, connections=1)
        _in_turns(s, ALONE, alone, entries, work, say)
        seconds = max(s.duration_s, SAMPLES / rate)
        equal = replace(load_spec(s, None, rate=rate), duration_s=seconds)
        _in_turns(s, EQUAL, equal, entries, work, say)
    figures, unjudged = ratios(entries, s.target)
    bars = tuple(Bar(e.door.name, _capacity(e)) for e in present(entries))
    conditions = conditions_of(
        s,
        in_flight=s.in_flight,
        equal_load={"rate": rate, "arrivals": "Poisson", "window_s": seconds},
        environments={name: environments.pins(name) for name in PEERS},
    )
    runs = tuple(r for e in entries for reports in e.reports.values() for r in reports)
    rows = tuple(row(e, s, rate) for e in entries)
    unit = f"requests/s, {s.in_flight} in flight"
    return Result(s.name, s.title, conditions, figures, bars, unit, runs, True, rows, unjudged)


def _entries(
    s: Scenario, repository: Path, graph: Path, work: Workload, stack: ExitStack, say: Say
) -> list[Entry]:
    """Start every server, check its answers, leave it paused."""
    flags = ("--io-threads", str(s.io_threads))
    cores = s.server_cores
    own: list[tuple[tuple[Door, ...], Callable[[], AbstractContextManager[Contender]]]] = [
        (
            (Door(OURS), Door(f"{OURS}, empty call", "live")),
            lambda: servers.sluicegate(repository, cores, flags=flags),
        ),
        ((Door("grpcio aio"),), lambda: servers.grpcio(graph, "aio", cores)),
        ((Door("grpcio sync"),), lambda: servers.grpcio(graph, "sync", cores)),
    ]
    entries = []
    for doors, start in own:
        contender = stack.enter_context(_paused(start()))
        with processes.awake(contender.pid):
            for door in doors:
                check(door, contender.port, work)
        entries += [Entry(door, contender) for door in doors]
    for name, doors in PEERS.items():
        say(f"{s.name}: {name} is made ready")
        found: Contender | None = None
        reason = ""
        try:
            environment = environments.ensure(name, say)
            found = stack.enter_context(_paused(_answering(s, name, graph, environment, work)))
        except FAILURES as error:
            reason = cleaned(str(error))
        entries += [Entry(door, found, reason) for door in doors]
    return entries


@contextmanager
def _paused(server: AbstractContextManager[Contender]) -> Iterator[Contender]:
    """A server that is paused once it is there, and resumed to be ended."""
    with server as contender:
        processes.pause(contender.pid)
        try:
            yield contender
        finally:
            processes.resume(contender.pid)


@contextmanager
def _answering(
    s: Scenario, name: str, graph: Path, environment: Environment, work: Workload
) -> Iterator[Contender]:
    """A peer that has given the right answer to every row, at each of its doors."""
    started = time.monotonic()
    with servers.peer(name, graph, s.server_cores, environment) as contender:
        for door in PEERS[name]:
            while True:
                try:
                    check(door, contender.port, work)
                    break
                except FAILURES as error:
                    # Not there yet, or never.
                    gone = not processes.family(contender.pid)
                    if gone or time.monotonic() > started + START_SECONDS:
                        said = environments.why(environment.log.read_text(errors="replace"))
                        reason = f"did not start: {said}" if gone else str(error)
                        raise ServerError(reason) from error
                    time.sleep(0.5)
        yield replace(contender, ready_s=time.monotonic() - started)


def present(entries: Sequence[Entry]) -> list[Entry]:
    """Those that could be measured."""
    return [e for e in entries if not e.absent]


def _in_turns(
    s: Scenario, what: str, spec: LoadSpec, entries: list[Entry], work: Workload, say: Say
) -> None:
    for turn in range(s.repeats):
        for entry in present(entries):
            contender = entry.contender
            if contender is None:
                continue
            say(f"{s.name}: {entry.door.name}, {what}, window {turn + 1} of {s.repeats}")
            told = {"contender": entry.door.name, "load": what, "turn": turn}
            # The same arrivals for every door of a turn.
            seeded = replace(spec, seed=turn + 1)
            try:
                with processes.awake(contender.pid):
                    report = drive(entry.door, contender.port, seeded, work)
            except LoadError as error:
                entry.absent = cleaned(f"failed under load ({what}): {error}")
                continue
            kept = {key: report[key] for key in KEPT if key in report}
            entry.reports.setdefault(what, []).append(told | kept)


def _capacity(entry: Entry) -> float:
    return statistics.median(map(ok_per_s, entry.reports[CROWD]))


def row(entry: Entry, s: Scenario, rate: float) -> Row:
    """A door's line of the table."""
    name, driven = entry.door.name, entry.door.driven
    if entry.absent:
        return Row(name, driven, absent=entry.absent)
    crowd = tuple(map(ok_per_s, entry.reports[CROWD]))
    figures = [Figure(f"{s.in_flight} in flight", "requests/s", crowd)]
    for what, quantile, load in ((ALONE, "p50", ALONE), (EQUAL, "p99", f"at {rate:,.0f}/s")):
        samples = tuple(r["latency_us"][quantile] for r in entry.reports[what])
        # A window with too few answers for the quantile says nothing.
        if known := tuple(float(x) for x in samples if x is not None):
            figures.append(Figure(f"{load}: {quantile}", "µs", known))
    return Row(name, driven, tuple(figures))


def ratios(
    entries: Sequence[Entry], target: float | None
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """Our inferring throughput against every door, window by window.

    Returns:
        The figures, Triton's empty call first; and the target, if there is nothing to judge it by.

    """
    by_name = {e.door.name: e for e in entries}
    ours = by_name.pop(OURS)
    ordered = [by_name[TRITON], *(e for name, e in by_name.items() if name != TRITON)]
    figures, unjudged = [], []
    for entry in ordered:
        what = f"ModelInfer against {entry.door.name}: throughput"
        is_triton = entry.door.name == TRITON
        if entry.absent or ours.absent:
            if is_triton and target is not None:
                reason = ours.absent or entry.absent
                unjudged.append(f"{what}, at least {target:g} times: not judged, {reason}")
            continue
        pairs = zip(ours.reports[CROWD], entry.reports[CROWD], strict=True)
        samples = tuple(ok_per_s(a) / ok_per_s(b) for a, b in pairs)
        figures.append(Figure(what, "times", samples, target if is_triton else None))
    return tuple(figures), tuple(unjudged)
