"""Traffic behind the demo's story: real rows, open loop, from before it until after it.

The load generator reports at its end, and nobody knows how long a comparison takes; so two
generators send half of the rate each, in runs of some seconds that overlap.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.load import LoadError, LoadSpec, run
from bench.samples import SAMPLE

RUN_S = 4.0
GENERATORS = 2


@dataclass(frozen=True)
class Answers:
    """Good answers: when each was due (s since the story began) and its latency (µs), float64 [n].

    Times are exact to the few ms in which a generator connects.
    """

    due_s: NDArray[np.float64]
    latency_us: NDArray[np.float64]

    def quantile(self, begin_s: float, end_s: float, q: float) -> float | None:
        """Of those due in [begin, end), µs; None with fewer than five beyond."""
        kept = self.latency_us[(self.due_s >= begin_s) & (self.due_s < end_s)]
        return float(np.quantile(kept, q)) if len(kept) * (1 - q) >= 5 else None


@dataclass(frozen=True)
class Window:
    """Latency of one stretch from `t_s` on, µs; None: too few answers."""

    t_s: float
    p50_us: float | None
    p99_us: float | None


def windows(answers: Answers, width_s: float = 1.0) -> tuple[Window, ...]:
    """Stretch by stretch from the story's beginning to the last answer."""
    if not len(answers.due_s):
        return ()
    begins = np.arange(0.0, float(answers.due_s.max()), width_s)
    return tuple(
        Window(t, answers.quantile(t, t + width_s, 0.5), answers.quantile(t, t + width_s, 0.99))
        for t in map(float, begins)
    )


def failed(reports: Sequence[dict[str, Any]]) -> Counter[str]:
    """Calls that were due and not answered OK, by what became of them."""
    found: Counter[str] = Counter()
    for report in reports:
        for status, count in report["status"].items():
            found[status] += 0 if status == "OK" else count
        for reason, count in report["failures"].items():
            found[reason] += count
        found["unanswered"] += report["unanswered"]
        found["never sent"] += report["never_sent"]
    return +found


class Traffic:
    """Runs from `with` to `end`; `clock` is the story's."""

    def __init__(self, folder: Path, requests: Path, port: int, rate: float) -> None:
        """`rate`: requests a second in the mean, all together."""
        self._folder, self._requests, self._port, self._rate = folder, requests, port, rate
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._parts: list[tuple[float, NDArray[Any], dict[str, Any]]] = []
        self._errors: list[LoadError] = []
        self._threads = [
            threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(GENERATORS)
        ]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End with the runs that are under way, whatever became of them."""
        self._wait()

    @property
    def clock(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._begun

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Of every run that has ended."""
        return [report for _, _, report in self._parts]

    def end(self) -> None:
        """Wait until the runs under way have ended.

        Raises:
            LoadError: one failed.

        """
        self._wait()
        if self._errors:
            raise self._errors[0]

    def _wait(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answers(self) -> Answers:
        """Every good answer of the runs that have ended."""
        due, took = [], []
        for began, samples, _ in self._parts:
            good = samples[samples["status"] == 0]
            due.append(began + good["at_ns"] / 1e9)
            took.append(good["latency_us"].astype(np.float64))
        empty = np.zeros(0)
        return Answers(np.concatenate([empty, *due]), np.concatenate([empty, *took]))

    def _send(self, number: int) -> None:
        path, turn = self._folder / f"samples-{number}.bin", 0
        while not self._stop.is_set():
            turn += 1
            spec = LoadSpec(
                self._requests,
                # The first of the other one is shorter: their seams never meet.
                RUN_S / 2 if number and turn == 1 else RUN_S,
                rate=self._rate / GENERATORS,
                connections=2,
                warmup_s=0,
                seed=GENERATORS * turn + number,
                samples=path,
                timeout_s=60,
            )
            began = self.clock
            try:
                report = run(spec, self._port, "--no-spin")
            except LoadError as error:
                self._errors.append(error)
                return
            self._parts.append((began, np.fromfile(path, SAMPLE), report))
