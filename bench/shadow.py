"""What a shadow costs the callers: p99 with an equal model in shadow against without, in turns."""

import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import models, servers
from bench.encoder import TEXTS, fitted_encoder
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.samples import Windows, compared, ratio_interval
from bench.scenario import Scenario
from bench.setting import (
    MESSAGES,
    Say,
    conditions_of,
    load_spec,
    model_status,
    ok_per_s,
    watched_cores,
)
from bench.specialists import SENSITIVE_CONTENT, pack, requests
from bench.workload import encode_rows, write_requests
from gateway.control import source
from gateway.packing import Decision, Wishes, pack_graph

SEED = "000102030405060708090a0b0c0d0e0f"
WHAT = "p99 with a shadow against without"
# By so much the candidate's threshold differs, so that it is another model with the same graph.
NUDGE = 1e-6


@dataclass(frozen=True)
class Subject:
    """One of two equal models: version 1 is live, version 2 can be its shadow."""

    name: str
    messages: Path


def _pack_tabular(name: str, repository: Path, threshold: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(models.perceptron().SerializeToString())
        decision = Decision("score", threshold, ("no", "yes"))
        pack_graph(graph, name, repository, wishes=Wishes(decision=decision))


def _subjects(s: Scenario, folder: Path, say: Say) -> list[Subject]:
    """Packs two equal models, of two versions each, into `folder`/models, and writes requests."""
    repository = folder / "models"
    repository.mkdir()
    subjects = [Subject(f"{s.model}-{k}", folder / f"requests-{k}.bin") for k in "ab"]
    if s.model == "tabular":
        x = models.rows(MESSAGES)
        for one in subjects:
            for threshold in (0.5, 0.5 + NUDGE):
                _pack_tabular(one.name, repository, threshold)
            write_requests(one.messages, encode_rows(one.name, x, rows_per_request=1))
        return subjects
    fitted = fitted_encoder(say)
    for one in subjects:
        specialist = replace(SENSITIVE_CONTENT, name=one.name)
        for threshold in (fitted.threshold, fitted.threshold + NUDGE):
            pack(specialist, replace(fitted, threshold=threshold), repository)
        write_requests(one.messages, requests(specialist, fitted)[:TEXTS])
    return subjects


def shadow(s: Scenario, say: Say) -> Result:
    """Short windows in turns, without a shadow and with one, at `load_fraction` of capacity.

    Two equal models are served. One has a shadow, which sees `share` of its batches and compares
    one pair in 200 ms, and windows ask now the one, now the other; after half of them the models
    change places. So nothing is loaded between windows, and neighbours find the machine in the same
    state: its slow times last minutes, and long windows were decided by them.
    """
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as at:
        folder = Path(at)
        subjects = _subjects(s, folder, say)
        socket, samples = folder / "control", folder / "samples.bin"
        parts = [f"[model.{one.name}]\nversions = [1]\n" for one in subjects]
        config = f'control_socket = "{socket}"\n' + "".join(parts)
        flags = ("--io-threads", str(s.io_threads))
        with servers.sluicegate(folder / "models", s.server_cores, config, flags) as server:
            say(f"{s.name}: capacity")
            in_flight = 64 if s.model == "tabular" else 4
            closed = load_spec(s, subjects[0].messages, in_flight=in_flight, duration_s=5)
            capacity = ok_per_s(run(closed, server.port))
            rate = s.load_fraction * capacity
            witness = watched_cores(s)
            without, shadowed = (
                Windows(name, s.load_fraction, bool(witness)) for name in ("without", "with")
            )
            runs: list[dict[str, Any]] = []
            seen: list[dict[str, Any]] = []
            for half, watched in enumerate(subjects):
                other = subjects[1 - half]
                _start(socket, watched.name, s.share)
                for turn in range(half * s.repeats // 2, (half + 1) * s.repeats // 2):
                    say(f"{s.name}: pair of windows {turn + 1} of {s.repeats}")
                    # Every other turn begins with the other one: what drifts hits both.
                    pair = ((without, other), (shadowed, watched))
                    for kept, subject in pair if turn % 2 == 0 else pair[::-1]:
                        more = {"rate": rate, "seed": turn + 1, "samples": samples}
                        load = load_spec(s, subject.messages, witness=witness, **more)
                        report = run(load, server.port)
                        kept.add(samples, report)
                        runs.append({"window": kept.name, "turn": turn, **report})
                seen.append(source.command(socket, "end_shadow", model=watched.name))
            failed = sum(model_status(server, one.name)["requests"]["failed"] for one in subjects)
    return _told(s, (without, shadowed), runs, seen, failed, rate, capacity)


def _start(socket: Path, name: str, share: float) -> None:
    wishes = {"run": "bench", "share": share, "seed": SEED, "block_ms": 200, "score_epsilon": 0.05}
    source.command(socket, "shadow", model=name, version=2, wishes=wishes)


def _intervals(with_it: Windows, without: Windows) -> tuple[Figure, ...]:
    kinds = [("all answers together", with_it.each, without.each)]
    if with_it.watched:
        kinds.append(("without the machine's pauses", with_it.calm, without.calm))
    return tuple(
        Figure(f"… 95% interval, {kind}", "times", ratio_interval(above, below, 0.99))
        for kind, above, below in kinds
    )


def _told(
    s: Scenario,
    windows: tuple[Windows, Windows],
    runs: list[dict[str, Any]],
    seen: list[dict[str, Any]],
    failed: int,
    rate: float,
    capacity: float,
) -> Result:
    without, shadowed = windows
    mirrored = sum(t["queue"]["mirrored_rows"] for t in seen)
    dropped = sum(t["queue"]["dropped_rows"] for t in seen)
    rows = sum(map(len, shadowed.each))
    flips = sum(t["rows"]["down"] + t["rows"]["up"] for t in seen)
    figures = (
        *compared(WHAT, shadowed, without, 0.99, s.target),
        *_intervals(shadowed, without),
        Figure("rows mirrored", "", (mirrored,)),
        Figure("mirrored rows that were dropped", "%", (100 * dropped / max(1, mirrored),)),
        Figure("decisions that differ between the equal models", "", (flips,), 0, False),
        Figure("calls that failed", "", (failed,), 0, False),
        Figure("answers in windows with a shadow", "", (rows,)),
    )
    bars = tuple(Bar(f"{w.name}, p99", statistics.median(w.quantiles(0.99))) for w in windows)
    conditions = conditions_of(
        s, rate=rate, capacity_per_s=capacity, share=s.share, arrivals="Poisson", block_ms=200
    )
    return Result(s.name, s.title, conditions, figures, bars, "µs", tuple(runs))
