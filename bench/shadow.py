"""What a shadow costs the callers: p99 with an equal model in shadow against without, in turns."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import models, servers
from bench.encoder import TEXTS, fitted_encoder
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.samples import Windows, compared
from bench.scenario import Scenario
from bench.setting import (
    Say,
    conditions_of,
    load_spec,
    model_status,
    ok_per_s,
    watched_cores,
    workspace,
)
from bench.specialists import SENSITIVE_CONTENT, pack, requests
from bench.workload import write_requests
from gateway.control import source
from gateway.packing import Decision, Wishes, pack_graph

SEED = "000102030405060708090a0b0c0d0e0f"
# By so much the candidate's threshold differs, so that it is another model with the same graph.
NUDGE = 1e-6


def _pack_tabular(repository: Path, threshold: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(models.perceptron().SerializeToString())
        decision = Decision("score", threshold, ("no", "yes"))
        pack_graph(graph, "tabular", repository, wishes=Wishes(decision=decision))


@contextmanager
def _subject(s: Scenario, say: Say) -> Iterator[tuple[str, Path, Path]]:
    """Name, repository with two equal versions, requests."""
    if s.model == "tabular":
        with workspace("tabular", 1) as (repository, messages):
            for threshold in (0.5, 0.5 + NUDGE):
                _pack_tabular(repository, threshold)
            yield "tabular", repository, messages
        return
    fitted = fitted_encoder(say)
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        repository, messages = Path(folder, "models"), Path(folder, "requests.bin")
        repository.mkdir()
        for threshold in (fitted.threshold, fitted.threshold + NUDGE):
            pack(SENSITIVE_CONTENT, replace(fitted, threshold=threshold), repository)
        write_requests(messages, requests(SENSITIVE_CONTENT, fitted)[:TEXTS])
        yield SENSITIVE_CONTENT.name, repository, messages


def shadow(s: Scenario, say: Say) -> Result:
    """Windows alternate, without a shadow and with one, at `load_fraction` of capacity.

    The shadow sees `share` of the batches and compares one pair in 200 ms. The figure is the median
    over pairs of neighbouring windows of the ratio of their p99s: one window in which the machine
    stood still would decide the p99 of all answers together, which is shown beside it, and once
    more without the machine's pauses.
    """
    with _subject(s, say) as (name, repository, messages), tempfile.TemporaryDirectory() as folder:
        socket, samples = Path(folder, "control"), Path(folder, "samples.bin")
        config = f'control_socket = "{socket}"\n[model.{name}]\nversions = [1]\n'
        flags = ("--io-threads", str(s.io_threads))
        with servers.sluicegate(repository, s.server_cores, config, flags) as server:
            say(f"{s.name}: capacity")
            in_flight = 64 if s.model == "tabular" else 4
            closed = load_spec(s, messages, in_flight=in_flight)
            capacity = ok_per_s(run(closed, server.port))
            rate = s.load_fraction * capacity
            witness = watched_cores(s)
            without, shadowed = (
                Windows(name, s.load_fraction, bool(witness)) for name in ("without", "with")
            )
            runs: list[dict[str, Any]] = []
            seen: list[dict[str, Any]] = []
            for turn in range(s.repeats):
                # Every other turn begins with the other one: what drifts hits both.
                for kept in (without, shadowed) if turn % 2 == 0 else (shadowed, without):
                    say(f"{s.name}: {kept.name} a shadow, window {turn + 1} of {s.repeats}")
                    if kept is shadowed:
                        _start(socket, name, s.share)
                    more = {"rate": rate, "seed": turn + 1, "samples": samples}
                    report = run(load_spec(s, messages, witness=witness, **more), server.port)
                    if kept is shadowed:
                        seen.append(source.command(socket, "end_shadow", model=name))
                    kept.add(samples, report)
                    runs.append({"window": kept.name, "turn": turn, **report})
            answered = model_status(server, name)["requests"]
    return _told(s, (without, shadowed), runs, seen, answered, rate, capacity)


def _start(socket: Path, name: str, share: float) -> None:
    wishes = {"run": "bench", "share": share, "seed": SEED, "block_ms": 200, "score_epsilon": 0.05}
    source.command(socket, "shadow", model=name, version=2, wishes=wishes)


def _told(
    s: Scenario,
    windows: tuple[Windows, Windows],
    runs: list[dict[str, Any]],
    seen: list[dict[str, Any]],
    answered: dict[str, int],
    rate: float,
    capacity: float,
) -> Result:
    without, shadowed = windows
    mirrored = sum(t["queue"]["mirrored_rows"] for t in seen)
    dropped = sum(t["queue"]["dropped_rows"] for t in seen)
    rows = sum(map(len, shadowed.each))
    flips = sum(t["rows"]["down"] + t["rows"]["up"] for t in seen)
    figures = (
        *compared(
            "p99 with a shadow against without", shadowed, without, 0.99, s.target, "windows"
        ),
        Figure("rows mirrored", "", (mirrored,)),
        Figure("mirrored rows that were dropped", "%", (100 * dropped / max(1, mirrored),)),
        Figure("decisions that differ between the equal models", "", (flips,), 0, False),
        Figure("calls that failed", "", (answered["failed"],), 0, False),
        Figure("answers in windows with a shadow", "", (rows,)),
    )
    bars = tuple(Bar(f"{w.name}, p99", statistics.median(w.quantiles(0.99))) for w in windows)
    conditions = conditions_of(
        s, rate=rate, capacity_per_s=capacity, share=s.share, arrivals="Poisson", block_ms=200
    )
    return Result(s.name, s.title, conditions, figures, bars, "µs", tuple(runs))
