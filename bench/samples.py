"""The generator's file of samples: one latency a request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bench.results import Figure

SAMPLE = np.dtype([("at_ns", "<u8"), ("latency_us", "<u4"), ("status", "u1")])

# Requests sent so long before a pause may still be in the server when it begins; the witness wakes
# once a millisecond, so a pause may begin that much before it is due.
BEFORE_S: Final = 0.004
# After a pause of L a queue at load r takes L·r/(1-r) to drain; twice that, and a little.
MARGIN: Final = 2.0
AFTER_S: Final = 0.002


def latencies(samples: Path) -> NDArray[np.uint32]:
    """µs of every good answer of a window, uint32 [n]."""
    read = np.fromfile(samples, SAMPLE)
    found: NDArray[np.uint32] = read["latency_us"][read["status"] == 0]
    return found


def disturbed(at_s: NDArray[np.float64], report: dict[str, Any], load: float) -> NDArray[np.bool_]:
    """Which requests were sent while the machine had taken a core away, or soon after.

    Args:
        at_s: when each was due, seconds since counting began, [n].
        report: the generator's, with `pauses` as its witnesses saw them.
        load: share of the server's capacity that is asked of it, below 1.

    """
    found = np.zeros(len(at_s), bool)
    for pause in report.get("pauses", ()):
        length, until = 1e-6 * pause["late_us"], pause["until_s"]
        settled = until + AFTER_S + MARGIN * length * load / (1 - load)
        found |= (at_s >= until - length - BEFORE_S) & (at_s <= settled)
    return found


@dataclass
class Windows:
    """Good answers of several windows of one kind, with and without what the machine did.

    `load` is the share of capacity that is asked for, `watched` whether there were witnesses.
    """

    name: str
    load: float
    watched: bool
    each: list[NDArray[np.uint32]] = field(default_factory=list)
    calm: list[NDArray[np.uint32]] = field(default_factory=list)
    pauses: int = 0
    seconds: float = 0.0

    def add(self, samples: Path, report: dict[str, Any]) -> None:
        """Take a window's samples in."""
        read = np.fromfile(samples, SAMPLE)
        read = read[read["status"] == 0]
        out = disturbed(1e-9 * read["at_ns"], report, self.load)
        self.each.append(read["latency_us"])
        self.calm.append(read["latency_us"][~out])
        counted = [p for p in report.get("pauses", ()) if p["until_s"] >= 0]
        self.pauses += len(counted)
        self.seconds += report["duration_s"]

    def quantile(self, q: float, *, calm: bool = False) -> float:
        """Of all windows together, µs."""
        return float(np.quantile(np.concatenate(self.calm if calm else self.each), q))

    def quantiles(self, q: float, *, calm: bool = False) -> tuple[float, ...]:
        """Window by window, µs."""
        return tuple(float(np.quantile(w, q)) for w in (self.calm if calm else self.each))

    @property
    def left_out(self) -> float:
        """Share of the answers that fell into a pause of the machine."""
        return 1 - sum(map(len, self.calm)) / max(1, sum(map(len, self.each)))

    @property
    def pauses_per_s(self) -> float:
        """Pauses a second of load."""
        return self.pauses / max(1e-9, self.seconds)


def ratio_interval(
    with_it: Sequence[NDArray[np.uint32]],
    without: Sequence[NDArray[np.uint32]],
    q: float,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Interval of a quantile of all answers of one kind of window over that of the other.

    Pairs of neighbouring windows are drawn with replacement (percentile bootstrap, Efron 1979):
    what the machine does lasts longer than an answer, so answers are not independent.

    Args:
        with_it, without: latencies of each window, in the order of the pairs, uint32 [n] each.

    """
    random = np.random.default_rng(7)
    n = len(with_it)
    found = []
    for _ in range(resamples):
        drawn = random.integers(0, n, n)
        above, below = (
            np.quantile(np.concatenate([each[i] for i in drawn]), q) for each in (with_it, without)
        )
        found.append(above / below)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compared(
    what: str,
    with_it: Windows,
    without: Windows,
    q: float,
    target: float | None,
    headline: Literal["pooled", "windows"] = "pooled",
) -> tuple[Figure, ...]:
    """Figures of a quantile of windows of one kind against that of the other.

    The target holds for the headline: all answers together, or the median of the ratios of
    neighbouring windows; and where there were witnesses, for all answers together without those
    that met a pause of the machine.
    """
    ratios = zip(with_it.quantiles(q), without.quantiles(q), strict=True)
    every = {
        "pooled": (with_it.quantile(q) / without.quantile(q),),
        "windows": tuple(b / a for b, a in ratios),
    }
    names = {"pooled": "all answers together", "windows": "window by window"}
    figures = [
        Figure(
            f"{what}, {names[kind]}", "times", samples, target if kind == headline else None, False
        )
        for kind, samples in every.items()
    ]
    if with_it.watched:
        calm = with_it.quantile(q, calm=True) / without.quantile(q, calm=True)
        figures.append(
            Figure(f"{what}, without the machine's pauses", "times", (calm,), target, False)
        )
        for windows in (without, with_it):
            out, per_s = 100 * windows.left_out, windows.pauses_per_s
            figures.append(Figure(f"… answers left out, {windows.name}", "%", (out,)))
            figures.append(Figure(f"… pauses a second, {windows.name}", "", (per_s,)))
    figures += [Figure(f"p{100 * q:g} {w.name}", "µs", w.quantiles(q)) for w in (without, with_it)]
    return tuple(figures)
