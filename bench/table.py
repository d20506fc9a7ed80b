"""The demo's results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from bench.outcome import NONE, SpecialistResult, duration


def results_table(results: Sequence[SpecialistResult]) -> Table:
    """One column a specialist, one row a figure; quality is offline, then by the gateway."""
    table = Table(title="Specialists through the gateway", title_style="bold")
    table.add_column("")
    for result in results:
        table.add_column(result.name, justify="right", overflow="fold")
    for label, cells in _rows(results):
        table.add_row(label, *cells)
    return table


def print_results(results: Sequence[SpecialistResult], console: Console | None = None) -> None:
    """Prints the table to `console`; to standard output if None."""
    (console or Console()).print(results_table(results))


def _rows(results: Sequence[SpecialistResult]) -> list[tuple[str, list[str]]]:
    rows: list[tuple[str, Callable[[SpecialistResult], str]]] = [
        ("model", lambda r: r.model),
        ("AUC, offline", lambda r: f"{r.offline.auc:.4f}"),
        ("AUC, gateway", lambda r: f"{r.gateway.auc:.4f}" if r.gateway else NONE),
        ("accuracy, offline", lambda r: f"{r.offline.accuracy:.1%}"),
        ("accuracy, gateway", lambda r: f"{r.gateway.accuracy:.1%}" if r.gateway else NONE),
        ("cost per 100, offline", lambda r: f"{r.offline.cost_per_100:.2f}"),
        ("cost per 100, gateway", lambda r: f"{r.gateway.cost_per_100:.2f}" if r.gateway else NONE),
        ("same decision", lambda r: f"{r.same_decisions:,} of {r.compared:,}"),
        ("decisions per second", lambda r: f"{r.load.decisions_per_s:,.0f}"),
        ("latency p50", lambda r: duration(r.load.latency.p50)),
        ("latency p90", lambda r: duration(r.load.latency.p90)),
        ("latency p99", lambda r: duration(r.load.latency.p99)),
        ("latency p99.9", lambda r: duration(r.load.latency.p999)),
        ("deadline", lambda r: duration(r.load.deadline_us)),
        ("rows in a batch, mean", lambda r: f"{r.mean_batch:.1f}" if r.mean_batch else NONE),
        ("sent", lambda r: f"{r.load.sent:,}"),
        ("late", lambda r: f"{r.load.late:,}"),
        ("shed", lambda r: f"{r.load.shed:,}"),
        ("unanswered", lambda r: f"{r.load.unanswered:,}"),
    ]
    return [(label, [figure(result) for result in results]) for label, figure in rows]
