"""Goodput at twice the capacity: a stand-in for an encoder, the text encoder, the tiny model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import models, servers
from bench.encoder import encoder_workspace
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, late_by_server, load_spec, ok_per_s, workspace

# Not even an idle server answers within this: each such request is refused on arrival.
HOPELESS_US = 100
# Calls alone that make a p99: ten samples must lie beyond it.
ALONE = 1_100


@contextmanager
def _subject(s: Scenario, say: Say) -> Iterator[tuple[Path, Path]]:
    """The repository with the model under load, and its requests."""
    if s.model == "encoder":
        with encoder_workspace(s, say) as (repository, requests):
            yield repository, requests
        return
    with workspace("tabular" if s.model == "tabular" else "encoder", 1) as (repository, requests):
        if s.model == "tabular":
            models.pack_perceptron(repository)
        else:
            models.pack_delay(repository, "encoder", 0, s.per_row_us)
        yield repository, requests


def _deadlines(s: Scenario, server: Contender, requests: Path) -> tuple[int, ...]:
    """In µs: those given, or 3 and 10 times the p99 of a call alone."""
    if s.deadlines_us:
        return s.deadlines_us
    spec = replace(load_spec(s, requests, in_flight=1, connections=1), sends=ALONE)
    alone = run(spec, server.port)
    p99 = float(alone["latency_us"]["p99"])
    return int(3 * p99), int(10 * p99)


def _base_rate(s: Scenario, server: Contender, requests: Path) -> float:
    """What the sweep's loads are multiples of, in requests/s."""
    if s.per_row_us:
        return 1e6 / s.per_row_us
    in_flight = 64 if s.model == "tabular" else 8
    return ok_per_s(run(load_spec(s, requests, in_flight=in_flight), server.port))


def overload(s: Scenario, say: Say) -> Result:
    """Goodput at twice the capacity, per deadline.

    `model` is "delay" (of `per_row_us` a row), "encoder" (the demo's text encoder) or "tabular".
    Capacity at a deadline is the best goodput over the sweep `loads`, multiples of one lane's
    1 / per_row_us or, without it, of the closed-loop throughput; then windows at twice that. Late
    are answers after the deadline, as a share of all that were computed: those that the server
    itself turned into DEADLINE_EXCEEDED, and those that reached the generator too late, counted
    from the scheduled send.
    """
    figures: list[Figure] = []
    bars: list[Bar] = []
    runs: list[dict[str, Any]] = []
    with _subject(s, say) as (repository, requests):
        flags = ("--io-threads", str(s.io_threads))
        with servers.sluicegate(repository, s.server_cores, flags=flags) as server:
            say(f"{s.name}: what it can do")
            base = _base_rate(s, server, requests)
            deadlines = _deadlines(s, server, requests)
            for deadline, target in zip(deadlines, s.targets, strict=True):
                found = _at(s, say, server, requests, base, deadline, target)
                figures += found[0]
                bars += found[1]
                runs += found[2]
            if s.model == "tabular":
                figures.append(_refusal(s, say, server, requests))
    conditions = conditions_of(
        s, per_row_us=s.per_row_us, loads=s.loads, arrivals="Poisson", deadlines_us=deadlines
    )
    unit = "goodput, requests/s (deadline, offered load)"
    return Result(s.name, s.title, conditions, tuple(figures), tuple(bars), unit, tuple(runs))


def _at(
    s: Scenario,
    say: Say,
    server: Contender,
    requests: Path,
    base: float,
    deadline: int,
    target: float,
) -> tuple[list[Figure], list[Bar], list[dict[str, Any]]]:
    """One deadline: the sweep, then windows at twice the capacity."""
    ms = f"{deadline / 1000:.3g} ms"
    sweep = []
    for load in s.loads:
        say(f"{s.name}: deadline {ms}, {load * base:,.0f} requests/s")
        spec = load_spec(s, requests, rate=load * base, deadline_us=deadline)
        sweep.append(run(spec, server.port, *_extra(s)))
    capacity = max(float(r["goodput_per_s"]) for r in sweep)
    doubled, late_before = [], late_by_server(server)
    for turn in range(s.repeats):
        say(f"{s.name}: deadline {ms}, twice {capacity:,.0f}, window {turn + 1} of {s.repeats}")
        spec = load_spec(
            s, requests, rate=2 * capacity, deadline_us=deadline, seed=turn + 10, warmup_s=1.0
        )
        doubled.append(run(spec, server.port, *_extra(s)))
    share = tuple(float(r["goodput_per_s"]) / capacity for r in doubled)
    by_server = late_by_server(server) - late_before
    late = 100 * (by_server + sum(r["late"] for r in doubled))
    late /= max(1, by_server + sum(r["ok"] for r in doubled))
    held_back = sum(r["held_back"] for r in doubled) / max(1, sum(r["offered"] for r in doubled))
    figures = [
        Figure(f"goodput at twice capacity, {ms}", "of capacity", share, target),
        Figure(
            f"late at twice capacity, {ms}, pooled",
            "%",
            (late,),
            None if s.model == "tabular" else 0.1,
            at_least=False,
        ),
        Figure(f"capacity, {ms}", "requests/s", (capacity,)),
        Figure(f"held back by stream limits, {ms}", "%", (100 * held_back,)),
    ]
    bars = [
        Bar(f"{ms}, {load:g} times", float(r["goodput_per_s"]))
        for load, r in zip(s.loads, sweep, strict=True)
    ]
    return figures, bars, sweep + doubled


def _extra(s: Scenario) -> tuple[str, ...]:
    """The tiny model's excess is held back by stream limits: then it is lost, not queued."""
    return ("--lose-held-back",) if s.model == "tabular" else ()


def _refusal(s: Scenario, say: Say, server: Contender, requests: Path) -> Figure:
    """What refusing costs: time of one server core a request that cannot be answered."""
    costs = []
    for turn in range(s.repeats):
        say(f"{s.name}: nothing but refusals, window {turn + 1} of {s.repeats}")
        spec = load_spec(s, requests, in_flight=64, deadline_us=HOPELESS_US)
        costs.append(1e6 / float(run(spec, server.port)["throughput_per_s"]))
    return Figure("one refusal", "µs of one core", tuple(costs))
