"""The demo's report: one HTML file that opens anywhere, with nothing to fetch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from bench.charts import batch_sizes, latency_distribution, latency_over_time
from bench.outcome import NONE, SpecialistResult, duration
from bench.story_outcome import Story
from bench.story_report import story_section
from trainer.quality import Quality


def write_report(
    path: Path,
    results: Sequence[SpecialistResult],
    *,
    title: str = "Sluicegate demo",
    about: Mapping[str, str] | None = None,
    story: Story | None = None,
) -> Path:
    """Writes the report to `path` (its folder is made) and returns `path`; see `render`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(results, title=title, about=about, story=story), "utf-8")
    return path


def render(
    results: Sequence[SpecialistResult],
    *,
    title: str = "Sluicegate demo",
    about: Mapping[str, str] | None = None,
    story: Story | None = None,
) -> str:
    """The report as HTML text.

    Args:
        results: one section each, in this order.
        title: the page's.
        about: facts of the run, such as machine and settings, by name.
        story: how a model was replaced under governance, after the specialists.
    """
    sections = "\n".join(_section(result) for result in results)
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in (about or {}).items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p>Small specialists on real public data, decided through the gateway under load. Held-out rows
went through both ONNX Runtime in Python (offline) and the gateway; latency runs from the moment
a request was due to be sent.</p>
</header>
{_overview(results)}
<section>
<h2>A request's way</h2>
{_way(results)}
</section>
{sections}
{story_section(story) if story else ""}
{f'<section><h2>This run</h2><dl class="facts">{facts}</dl></section>' if facts else ""}
<footer><p>AUC: how often a positive row scores above a negative one, with a 95% bootstrap
interval. Cost: what wrong decisions cost per 100 decisions. Late: answered after the deadline.
Shed: refused on arrival, because the deadline could not be met.</p></footer>
</main>
</body>
</html>
"""


def _overview(results: Sequence[SpecialistResult]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(r.name)}</th>"
        f"<td>{r.same_decisions:,} of {r.compared:,}</td>"
        f"<td>{_auc(r.gateway)}</td>"
        f"<td>{r.load.decisions_per_s:,.0f}</td>"
        f"<td>{duration(r.load.latency.p50)}</td><td>{duration(r.load.latency.p99)}</td>"
        f"<td>{duration(r.load.deadline_us)}</td>"
        f"<td>{r.load.late:,}</td><td>{r.load.shed:,}</td></tr>"
        for r in results
    )
    return f"""<div class="wide"><table>
<thead><tr><th scope="col">Specialist</th><th scope="col">Same decision</th>
<th scope="col">AUC</th><th scope="col">Decisions/s</th><th scope="col">p50</th>
<th scope="col">p99</th><th scope="col">Deadline</th><th scope="col">Late</th>
<th scope="col">Shed</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


def _section(result: SpecialistResult) -> str:
    load, name = result.load, escape(result.name)
    tiles = "".join(
        f'<div class="tile"><span>{label}</span><strong>{value}</strong></div>'
        for label, value in (
            ("decisions per second", f"{load.decisions_per_s:,.0f}"),
            ("p50", duration(load.latency.p50)),
            ("p90", duration(load.latency.p90)),
            ("p99", duration(load.latency.p99)),
            ("p99.9", duration(load.latency.p999)),
            ("late", f"{load.late:,}"),
            ("shed", f"{load.shed:,}"),
            ("rows in a batch", NONE if result.mean_batch is None else f"{result.mean_batch:.1f}"),
        )
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in result.notes)
    return f"""<section id="{name}">
<h2>{name}</h2>
<p>{escape(result.task)} Model: {escape(result.model)}; a score of {result.threshold:.4f} or more
means <em>{escape(result.labels[1])}</em>. Missing one costs {result.costs.miss:g}, a false alarm
{result.costs.false_alarm:g}.</p>
{notes}
<div class="tiles">{tiles}</div>
<h3>Quality</h3>
{_quality(result)}
<div class="charts">
<figure><figcaption>Distribution of latency</figcaption>
{latency_distribution(load, result.name + "/distribution")}</figure>
<figure><figcaption>Latency over time</figcaption>
{latency_over_time(load, result.name + "/time")}</figure>
<figure><figcaption>Sizes of batches</figcaption>
{batch_sizes(result.batches, result.name + "/batches")}</figure>
<figure><figcaption>Requests</figcaption>{_requests(result)}</figure>
</div>
</section>"""


def _quality(result: SpecialistResult) -> str:
    offline, gateway = result.offline, result.gateway
    rows = "".join(
        f"<tr><th scope='row'>{label}</th><td>{before}</td><td>{through}</td></tr>"
        for label, before, through in (
            ("AUC (95% interval)", _auc(offline, interval=True), _auc(gateway, interval=True)),
            ("Accuracy", f"{offline.accuracy:.1%}", f"{gateway.accuracy:.1%}" if gateway else NONE),
            (
                "Cost per 100 decisions",
                f"{offline.cost_per_100:.2f}",
                f"{gateway.cost_per_100:.2f}" if gateway else NONE,
            ),
            (
                "Missed / false alarms",
                f"{offline.misses} / {offline.false_alarms}",
                f"{gateway.misses} / {gateway.false_alarms}" if gateway else NONE,
            ),
            ("Held-out rows", f"{offline.rows:,}", f"{gateway.rows:,}" if gateway else NONE),
        )
    )
    alike = result.same_decisions == result.compared > 0
    same = f"Same decision on {result.same_decisions:,} of {result.compared:,} rows."
    verdict = f"{'✓' if alike else '✗'} {same}" if result.compared else "No row was compared."
    return f"""<div class="wide"><table>
<thead><tr><th></th><th scope="col">Offline</th><th scope="col">Through the gateway</th></tr>
</thead>
<tbody>{rows}</tbody></table></div>
<p class="{"good" if alike else "bad"}">{verdict}</p>"""


def _requests(result: SpecialistResult) -> str:
    load = result.load
    facts = [
        ("Sent", f"{load.sent:,}"),
        *((name, f"{count:,}") for name, count in sorted(load.status.items())),
        ("Unanswered", f"{load.unanswered:,}"),
        ("Answers per second", f"{load.throughput_per_s:,.0f}"),
        ("Asked for per second", "as many as possible" if not load.rate else f"{load.rate:,.0f}"),
        ("Connections", f"{load.connections:,}"),
        ("Deadline", duration(load.deadline_us)),
        ("Slowest answer", duration(load.latency.max)),
    ]
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{value}</td></tr>" for name, value in facts
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _auc(quality: Quality | None, *, interval: bool = False) -> str:
    if quality is None:
        return NONE
    spread = f" ({quality.auc_low:.3f} to {quality.auc_high:.3f})" if interval else ""
    return f"{quality.auc:.4f}{spread}"


def _way(results: Sequence[SpecialistResult]) -> str:
    """The stages that a request passes, with the counts of all results together."""
    sent = sum(r.load.sent for r in results)
    ok = sum(r.load.ok for r in results)
    shed = sum(r.load.shed for r in results)
    expired = sum(r.load.expired for r in results)
    ran = sum(count for r in results for _, count in r.batches)
    stages = (
        ("Caller", (f"{sent:,} sent", f"{ok:,} answered")),
        ("gRPC door", ("decodes, checks", "the contract")),
        ("Admission", ("can the deadline", "be met?")),
        ("Queue", ("earliest deadline", "first")),
        ("Batch", ("rows gathered", f"{ran:,} batches")),
        ("Lane", ("ONNX Runtime,", "one call a batch")),
    )
    pitch, width, top, height = 160, 136, 46, 78
    parts = []
    for place, (name, lines) in enumerate(stages):
        x = 6 + place * pitch
        middle = x + width / 2
        parts.append(
            f'<rect class="box" x="{x}" y="{top}" width="{width}" height="{height}" rx="8"/>'
        )
        parts.append(f'<text class="name" x="{middle}" y="{top + 26}">{name}</text>')
        parts += [
            f'<text class="word" x="{middle}" y="{top + 46 + 17 * row}">{line}</text>'
            for row, line in enumerate(lines)
        ]
        if place:
            parts.append(_arrow(x - pitch + width + 2, top + height / 2, x - 3, top + height / 2))
    for place, label in ((2, f"shed: {shed:,}"), (3, f"deadline passed: {expired:,}")):
        middle = 6 + place * pitch + width / 2
        parts.append(_arrow(middle, top + height + 2, middle, top + height + 28))
        parts.append(f'<text class="out" x="{middle}" y="{top + height + 46}">{label}</text>')
    first, last = 6 + width / 2, 6 + 5 * pitch + width / 2
    parts.append(
        f'<path class="flow" d="M{last} {top - 2}V16H{first}V{top - 10}"/>'
        f'<path class="head" d="M{first} {top - 3}l-5 -9h10z"/>'
        f'<text class="word" x="{(first + last) / 2}" y="32">scores back to each caller</text>'
    )
    return (
        '<div class="wide"><svg class="way" viewBox="0 0 952 182" role="img" '
        'aria-label="The stages that a request passes">' + "".join(parts) + "</svg></div>"
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """A line with a head, either to the right or downwards."""
    head = "l-9 -5v10z" if y == to_y else "l-5 -9h10z"
    return (
        f'<path class="flow" d="M{x} {y}L{to_x} {to_y}"/>'
        f'<path class="head" d="M{to_x} {to_y}{head}"/>'
    )


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f5f6f8; --ink: #1b1f24;
  --muted: #5b6470; --line: #dde1e6; --first: #2463c9; --second: #b4540a; --good: #17753a;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1d2127; --ink: #e7eaee;
  --muted: #a2abb7; --line: #343b44; --first: #79a9ff; --second: #ffae66; --good: #6fcf8f;
  --bad: #ff8f86; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.35rem; margin: 48px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 24px 0 8px; }
p { margin: 8px 0; max-width: 75ch; }
header p, footer, .facts dt { color: var(--muted); }
footer { margin-top: 48px; padding-top: 8px; border-top: 1px solid var(--line); font-size: 0.9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px 6px 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; }
thead th, tbody th { font-weight: 500; }
thead th { color: var(--muted); font-size: 0.85rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 12px;
  margin: 20px 0; }
.tile { background: var(--card); border-radius: 10px; padding: 12px 14px; }
.tile span { display: block; color: var(--muted); font-size: 0.8rem; line-height: 1.3; }
.tile strong { font-size: 1.2rem; font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .none { color: var(--muted); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr));
  gap: 20px; margin-top: 20px; }
figure { margin: 0; background: var(--card); border-radius: 10px; padding: 14px 16px; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 6px; }
figure table { font-size: 0.9rem; } figure th, figure td { padding-block: 3px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif !important; }
.way { min-width: 760px; margin-top: 12px; }
.way .box { fill: var(--card); stroke: var(--line); }
.way text { text-anchor: middle; fill: var(--muted); font-size: 12.5px; }
.way .name { fill: var(--ink); font-size: 15px; font-weight: 600; }
.way .out { fill: var(--second); }
.way .flow { fill: none; stroke: var(--muted); stroke-width: 1.5; }
.way .head { fill: var(--muted); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
@media print { section { break-inside: avoid; } }
"""
