"""Results: figures against their targets, as JSON, as a table, as a plot."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Plot
from rich.markup import escape
from rich.table import Table

from bench import machine


@dataclass(frozen=True)
class Figure:
    """One number that is shown: the median of its repeats, beside what was promised.

    `at_least` tells on which side of the target the value must be; without a target it is
    reported only.
    """

    what: str
    unit: str
    samples: tuple[float, ...]
    target: float | None = None
    at_least: bool = True

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest."""
        return min(self.samples), max(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the median is on the right side of the target; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class Bar:
    """One bar of a result's plot."""

    label: str
    value: float


@dataclass(frozen=True)
class Row:
    """One contender's figures, or in `absent` the reason why there are none."""

    name: str
    driven: str
    figures: tuple[Figure, ...] = ()
    absent: str = ""


@dataclass(frozen=True)
class Result:
    """One scenario's outcome. `conditions` say how it was measured, `runs` hold every report.

    `rows` set several contenders side by side; `unjudged` names targets for which there is no
    figure, and why: they count as missed.
    """

    name: str
    title: str
    conditions: dict[str, Any]
    figures: tuple[Figure, ...]
    bars: tuple[Bar, ...] = ()
    bars_unit: str = ""
    runs: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    bars_log: bool = False
    rows: tuple[Row, ...] = ()
    unjudged: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write NAME.json and, if there is something to draw, NAME.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        told = {
            "name": self.name,
            "title": self.title,
            "machine": machine.describe() | {"pauses": machine.pauses()},
            "conditions": self.conditions,
            "figures": [_told(f) for f in self.figures],
            "runs": [_short(run) for run in self.runs],
        }
        if self.rows:
            rows = [{**asdict(r), "figures": [_told(f) for f in r.figures]} for r in self.rows]
            told |= {"rows": rows, "unjudged": self.unjudged}
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(told, indent=1) + "\n")
        if self.bars:
            _draw(self, folder / f"{self.name}.svg")
        return path


def _told(figure: Figure) -> dict[str, Any]:
    more = {"median": figure.value, "spread": figure.spread, "reached": figure.reached}
    return asdict(figure) | more


def _short(run: dict[str, Any]) -> dict[str, Any]:
    """A generator's report without its addresses and its long lists."""
    left_out = {"histogram_us", "windows", "target", "path", "tool", "pauses"}
    told = {key: value for key, value in run.items() if key not in left_out}
    if pauses := run.get("pauses"):
        late = [pause["late_us"] for pause in pauses]
        told["pauses"] = {"count": len(late), "sum_us": sum(late), "longest_us": max(late)}
    return told


def _draw(result: Result, path: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = result.name
    plot = Plot(figsize=(7, 0.6 + 0.45 * len(result.bars)), layout="constrained")
    axes = plot.subplots()
    labels = [bar.label for bar in result.bars]
    bars = axes.barh(labels, [bar.value for bar in result.bars], color="#3b6ea5")
    axes.bar_label(bars, fmt=_plain if result.bars_log else "{:,.4g}", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(result.bars_unit)
    axes.set_title(result.title, fontsize=10)
    if result.bars_log:
        axes.set_xscale("log")
        axes.set_xlabel(f"{result.bars_unit} (logarithmic)")
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    plot.savefig(path, metadata={"Date": None})


def table(results: Sequence[Result]) -> Table:
    """Every figure of every result."""
    shown = Table("scenario", "figure", "median", "spread", "target", "")
    for result in results:
        for figure in result.figures:
            low, high = figure.spread
            sign = "≥" if figure.at_least else "≤"
            target = "" if figure.target is None else f"{sign} {figure.target:,.4g}"
            verdict = {None: "", True: "[green]reached", False: "[red]missed"}[figure.reached]
            value = f"{figure.value:,.4g} {figure.unit}"
            shown.add_row(
                result.name, figure.what, value, f"{low:,.4g} to {high:,.4g}", target, verdict
            )
    return shown


def side_by_side(result: Result) -> Table:
    """A result's rows: a contender a line, a figure a column; reasons where figures are missing."""
    columns = list(dict.fromkeys(f"{f.what}, {f.unit}" for r in result.rows for f in r.figures))
    shown = Table("contender", "driven by", *columns, title=result.title)
    for row in result.rows:
        known = {f"{f.what}, {f.unit}": f for f in row.figures}
        cells = [_cell(known.get(column)) for column in columns]
        # Another program's words may look like markup.
        driven = f"not measured: {escape(row.absent)}" if row.absent else row.driven
        shown.add_row(row.name, driven, *cells)
    return shown


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    low, high = figure.spread
    return f"{_plain(figure.value)} ({_plain(low)} to {_plain(high)})"


def _plain(value: float) -> str:
    """At least four digits, never a power of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
