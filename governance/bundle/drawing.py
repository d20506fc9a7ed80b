"""Plots as inline SVG, drawn by hand: colours and fonts are the page's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from governance.bundle.markup import Html, text

_WIDTH = 520
_LABELS = 168
_RIGHT = 14


@dataclass(frozen=True)
class Interval:
    """A value with its interval, and the limit that it is held against, if there is one."""

    label: str
    low: float
    value: float
    high: float
    limit: float | None
    css: str


def intervals(rows: Sequence[Interval], spell: Callable[[float], str], *, zero: bool) -> Html:
    """Each value as a dot on its interval, with a dashed line where its limit is.

    Args:
        rows: one line each.
        spell: writes a value for the axis.
        zero: whether the axis begins at 0; else at what is drawn first.

    """
    seen = [v for row in rows for v in (row.low, row.high, row.limit) if v is not None]
    if not seen:
        return _nothing()
    least, most = (0.0 if zero else min(seen)), max(seen)
    margin = (most - least or abs(most) or 1.0) * 0.08
    least, most = (0.0 if zero else least - margin), most + margin
    bottom = 14 + 30 * len(rows)

    def x(value: float) -> float:
        return _LABELS + (value - least) / (most - least) * (_WIDTH - _LABELS - _RIGHT)

    parts = []
    for tick in _ticks(least, most):
        at, told = f"{x(tick):.1f}", text(spell(tick))
        parts.append(
            f'<path class="grid" d="M{at} 6V{bottom}"/>'
            f'<text class="muted mid" x="{at}" y="{bottom + 17}">{told}</text>'
        )
    for place, row in enumerate(rows):
        y = 24 + 30 * place
        parts.append(
            f'<text class="end" x="{_LABELS - 12}" y="{y + 4}">{text(_cut(row.label))}</text>'
            f'<path class="bar {row.css}" d="M{x(row.low):.1f} {y}H{x(row.high):.1f}"/>'
            f'<circle class="{row.css}" cx="{x(row.value):.1f}" cy="{y}" r="5"/>'
        )
        if row.limit is not None:
            parts.append(f'<path class="limit" d="M{x(row.limit):.1f} {y - 11}v22"/>')
    return _svg(parts, bottom + 26, "Values with their intervals and limits")


def bars(rows: Sequence[tuple[str, int, str]]) -> Html:
    """Counts as bars: label, count, class."""
    most = max((count for _, count, _ in rows), default=0)
    parts = []
    for place, (label, count, css) in enumerate(rows):
        y = 10 + 34 * place
        width = (_WIDTH - _LABELS - 70) * count / most if most else 0
        parts.append(
            f'<text class="end" x="{_LABELS - 12}" y="{y + 15}">{text(_cut(label))}</text>'
            f'<rect class="{css}" x="{_LABELS}" y="{y}" width="{max(width, 1):.1f}" height="20" '
            f'rx="3"/><text x="{_LABELS + max(width, 1) + 8:.1f}" y="{y + 15}">{count:,}</text>'
        )
    return _svg(parts, 14 + 34 * len(rows), "Counts")


def distributions(series: Sequence[tuple[str, Sequence[tuple[float, int]], str]]) -> Html:
    """How latencies are distributed, on one logarithmic axis, as shares of each series.

    Args:
        series: label, (upper bound in µs, answers) ascending, and class.

    """
    filled = [(label, [b for b in bins if b[1]], css) for label, bins, css in series]
    bounds = [bound for _, bins, _ in filled for bound, _ in bins if bound > 0]
    if not bounds:
        return _nothing()
    # Ten buckets a decade: a bucket begins a tenth of a decade below its bound.
    least, most = math.log10(min(bounds)) - 0.1, math.log10(max(bounds))
    top, bottom, left = 34, 190, 16

    def x(value: float) -> float:
        return left + (value - least) / (most - least) * (_WIDTH - left - _RIGHT)

    shares = [
        (label, [(math.log10(b), n / sum(c for _, c in bins)) for b, n in bins if b > 0], css)
        for label, bins, css in filled
        if bins
    ]
    highest = max(share for _, bins, _ in shares for _, share in bins)
    parts = [f'<path class="grid" d="M{left} {bottom}H{_WIDTH - _RIGHT}"/>']
    for decade in range(math.floor(least), math.ceil(most) + 1):
        for step in (1, 2, 5):
            place = decade + math.log10(step)
            if least <= place <= most:
                told = text(_time(step * 10.0**decade))
                parts.append(
                    f'<path class="grid" d="M{x(place):.1f} {top}V{bottom}"/>'
                    f'<text class="muted mid" x="{x(place):.1f}" y="{bottom + 17}">{told}</text>'
                )
    for place, (label, bins, css) in enumerate(shares):
        path = f"M{x(bins[0][0] - 0.1):.1f} {bottom}"
        for bound, share in bins:
            y = bottom - share / highest * (bottom - top - 6)
            path += f"L{x(bound - 0.1):.1f} {y:.1f}H{x(bound):.1f}"
        path += f"V{bottom}"
        at = left + 4 + 190 * place
        parts.append(
            f'<path class="area {css}" d="{path}Z"/><path class="line {css}" d="{path}"/>'
            f'<rect class="{css}" x="{at}" y="8" width="12" height="12" rx="2"/>'
            f'<text x="{at + 19}" y="18">{text(_cut(label))}</text>'
        )
    return _svg(parts, bottom + 26, "Distribution of latency")


def _ticks(least: float, most: float) -> list[float]:
    """Round values, about four of them."""
    step = 10.0 ** math.floor(math.log10((most - least) / 4))
    step = next(s * step for s in (1, 2, 5, 10) if (most - least) / (s * step) <= 5)
    first = math.ceil(least / step)
    return [place * step for place in range(first, math.floor(most / step) + 1)]


def _time(us: float) -> str:
    return f"{us:g} µs" if us < 1000 else f"{us / 1000:g} ms"


def _cut(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"


def _svg(parts: Sequence[str], height: int, title: str) -> Html:
    return Html(
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">'
        + "".join(parts)
        + "</svg>"
    )


def _nothing() -> Html:
    return Html('<p class="muted">There is nothing to draw yet.</p>')
