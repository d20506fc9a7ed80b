"""Charts as SVG text to put into a page: no ids in common, no colours of their own.

Colours are the page's CSS variables (--ink, --muted, --line, --first, --second), so a chart
is readable on light and dark alike. matplotlib writes stand-in colours that are replaced.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from bench.outcome import Load, duration

INK, MUTED, LINE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
}
_BINS = 56
# Of a single bucket, whose lower bound nothing tells: a tenth of a decade.
_LONE_WIDTH = float(np.log(10)) / 10
_MOST_BARS = 16


class Stretch(Protocol):
    """A stretch of a run that began `t_s` seconds after its start; latencies in µs."""

    @property
    def t_s(self) -> float: ...  # noqa: D102
    @property
    def p50_us(self) -> float | None: ...  # noqa: D102
    @property
    def p99_us(self) -> float | None: ...  # noqa: D102


def latency_distribution(load: Load, key: str) -> str:
    """How latencies are distributed, on a logarithmic axis, with quantiles and the deadline.

    Args:
        load: its `histogram_us` is drawn.
        key: tells this chart from every other on the page.

    Returns:
        An `<svg>` element; a sentence in its place if there was no answer.
    """
    filled = spread(load.histogram_us)
    if not filled:
        return _nothing("No answer came, so there is no latency to show.")
    figure, axes = _axes()
    edges = np.array([low for low, _, _ in filled] + [filled[-1][1]])
    share = np.array([count for _, _, count in filled])
    share = 100 * share / share.sum()
    axes.stairs(share, edges, fill=True, color=FIRST, alpha=0.75)
    axes.set_xscale("log")
    axes.set_ylim(0, float(share.max()) * 1.32)
    marks = [
        ("p50", load.latency.p50, INK),
        ("p99", load.latency.p99, INK),
        ("p99.9", load.latency.p999, INK),
        ("deadline", load.deadline_us, SECOND),
    ]
    for height, (label, value, colour) in enumerate(marks):
        if value:
            axes.axvline(value, color=colour, linewidth=1, linestyle=(0, (4, 3)))
            # Each on its own height: quantiles may lie close to each other.
            axes.annotate(
                f"{label} {duration(value)}",
                (value, 0.97 - 0.065 * height),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                color=colour,
                fontsize=9,
                va="top",
            )
    axes.set_ylabel("% of answers")
    axes.set_xlabel("from the scheduled send to the answer")
    right = max([edges[-1]] + [value for _, value, _ in marks if value])
    axes.set_xlim(float(edges[0]), float(right) * (right / edges[0]) ** 0.22)
    _time_axis(axes, "x")
    return _svg(figure, key, "Distribution of latency")


def latency_over_time(load: Load, key: str) -> str:
    """The median and the 99th percentile of each stretch of the run; see above for `key`."""
    return latency_of_windows(load.windows, (), key)


def latency_of_windows(
    windows: Sequence[Stretch], marks: Sequence[tuple[str, float]], key: str
) -> str:
    """The same of any stretches, with marks of what happened when (s); see above for `key`."""
    times = [window.t_s for window in windows]
    series = [
        ("p50", [window.p50_us for window in windows], FIRST),
        ("p99", [window.p99_us for window in windows], SECOND),
    ]
    if not any(value for _, values, _ in series for value in values):
        return _nothing("No answer came, so there is no latency to show.")
    # With marks it has the page's width to itself.
    figure, axes = _axes(10.4 if marks else 5.2)
    for label, values, colour in series:
        known = np.array([np.nan if value is None else value for value in values])
        axes.plot(times, known, color=colour, linewidth=1.8, marker="o", markersize=3, label=label)
    for place, (label, at) in enumerate(marks):
        axes.axvline(at, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        # Each on its own height: they may lie close to each other.
        axes.annotate(
            label,
            (at, 0.97 - 0.075 * place),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=INK,
            fontsize=9,
            va="top",
        )
    axes.set_yscale("log")
    axes.margins(y=0.6 if marks else 0.15)
    _time_axis(axes, "y")
    axes.set_xlabel("seconds since the start")
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), fontsize=9)
    return _svg(figure, key, "Latency over time")


def batch_sizes(batches: Sequence[tuple[int, int]], key: str) -> str:
    """How many batches had how many rows; see above for `key`."""
    bars = grouped(batches)
    if not bars:
        return _nothing("No batch ran.")
    figure, axes = _axes()
    axes.bar([label for label, _ in bars], [count for _, count in bars], color=FIRST, width=0.7)
    axes.set_ylabel("batches")
    axes.set_xlabel("rows in a batch")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(figure, key, "Sizes of batches")


def spread(histogram: Sequence[tuple[float, int]]) -> list[tuple[float, float, float]]:
    """A histogram on an even logarithmic grid, as (lower, upper, count), total unchanged.

    A bucket's count is spread evenly, on a logarithmic axis, from the bound before it; but no
    bucket is taken to be wider than the narrowest, as empty ones may have been left out.

    Args:
        histogram: (upper bound, count) pairs, bounds positive and ascending.
    """
    bounds = np.log([bound for bound, _ in histogram])
    width = float(np.diff(bounds).min()) if len(bounds) > 1 else _LONE_WIDTH
    filled = [(bound, count) for bound, (_, count) in zip(bounds, histogram, strict=True) if count]
    if not filled:
        return []
    places, below = [filled[0][0] - width], [0.0]
    for bound, count in filled:
        # Where nothing lies in between, the share below stays what it was.
        places += [max(bound - width, places[-1]), bound]
        below += [below[-1], below[-1] + count]
    extent = places[-1] - places[0]
    grid = np.linspace(places[0], places[-1], min(_BINS, max(1, round(extent / width))) + 1)
    counts = np.diff(np.interp(grid, places, below))
    edges = np.exp(grid)
    return [
        (float(low), float(high), float(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def grouped(batches: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """(label, batches) in ascending order of rows, total unchanged.

    More sizes than fit are grouped by powers of two: 1, 2, 3-4, 5-8, and so on.
    """
    sizes = sorted((rows, count) for rows, count in batches if count)
    if len(sizes) <= _MOST_BARS:
        return [(str(rows), count) for rows, count in sizes]
    groups: dict[int, int] = {}
    for rows, count in sizes:
        upper = 1 << max(rows - 1, 0).bit_length()
        groups[upper] = groups.get(upper, 0) + count
    return [
        (str(upper) if upper <= 2 else f"{upper // 2 + 1}-{upper}", count)
        for upper, count in groups.items()
    ]


def _axes(width: float = 5.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 3.0), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(which="both", colors=MUTED, labelsize=9, length=0)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    return figure, axes


def _time_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    low, high = axis.get_view_interval()
    # Over less than two decades the powers of ten alone would leave an axis all but bare.
    few = high / low < 100
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: duration(value) if few and _leads(value) else "")
        if few
        else NullFormatter()
    )


def _leads(value: float) -> bool:
    """Whether `value` is 2 or 5 times a power of ten."""
    return round(value / 10 ** np.floor(np.log10(value))) in (2, 5)


def _svg(figure: Figure, key: str, title: str) -> str:
    text = io.StringIO()
    # The salt makes ids both repeatable and different from every other chart's on the page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        for label in figure.findobj(match=mpl.text.Text):
            if isinstance(label, mpl.text.Text) and label.get_color() == "black":
                label.set_color(INK)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return _inline(text.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """A matplotlib SVG file's text as an element that fits and matches its page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = (
        re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", svg[: svg.index(">")])
        + (svg[svg.index(">") :])
    )
    svg = svg.replace("<svg", f'<svg class="chart" role="img" aria-label="{title}"', 1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href=", "href=")
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg.strip()


def _nothing(sentence: str) -> str:
    return f'<p class="none">{sentence}</p>'
