"""The governance story as a table for a terminal, and as a section of the demo's report."""

from collections.abc import Iterator
from html import escape

from rich.console import Console
from rich.table import Table

from bench.charts import latency_of_windows
from bench.outcome import duration
from bench.story_outcome import Comparison, Story


def print_story(story: Story, console: Console) -> None:
    """Print what the story showed."""
    table = Table(title="Governance on live traffic", title_style="bold", show_header=False)
    for name, value in rows(story):
        table.add_row(name, value)
    console.print(table)


def rows(story: Story) -> Iterator[tuple[str, str]]:
    """What the story showed, as names and values for a person to read."""
    for each in story.comparisons:
        yield each.of, f"{each.verdict}: {_counts(each)}, in {each.seconds:.1f} s"
        yield "", "; ".join(each.reasons)
    for phase in story.phases:
        quantiles = f"p50 {duration(phase.p50_us)}, p99 {duration(phase.p99_us)}"
        yield f"latency {phase.name} the promotion", quantiles
    yield "promotion, command to answer", duration(1e3 * story.promotion_ms)
    yield "rollback, asked for to first answer", duration(1e3 * story.rollback_ms)
    yield "calls answered, none failed", f"{story.answered:,}"
    for what, why in story.refused:
        yield f"refused: {what}", why
    yield "audit", f"agrees: {story.audit}"
    yield "the whole story", f"{story.seconds:.0f} s"


def story_section(story: Story) -> str:
    """The story as an HTML section."""
    listed = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        f"<td style='text-align:left;white-space:normal'>{escape(value)}</td></tr>"
        for name, value in rows(story)
    )
    verdicts = "".join(
        f'<div class="tile"><span>{escape(each.of)}: d of n</span>'
        f'<strong class="{"good" if each.verdict == "PASS" else "bad"}">{each.verdict} '
        f"{each.d:,} of {each.n:,}</strong></div>"
        for each in story.comparisons
    )
    return f"""<section id="governance">
<h2>A model is replaced</h2>
<p>The site-risk specialist, under governance, on its held-out rows as live traffic. Version 2 was
compared in shadow, signed for by two people and made live; version 3 turned one decision in fifty
and stayed out; then version 1 came back. The comparison was cut short by a demo policy: blocks of
5 ms, no least number of hours, one caller, a latency gate as wide as it goes. Load generators,
server and governance share the machine's cores, and the generators sleep between sends, so
latencies are higher here than in the sections before.</p>
<div class="tiles">{verdicts}
<div class="tile"><span>promotion</span><strong>{duration(1e3 * story.promotion_ms)}</strong></div>
<div class="tile"><span>rollback</span><strong>{duration(1e3 * story.rollback_ms)}</strong></div>
<div class="tile"><span>failed calls</span><strong>0 of {story.answered:,}</strong></div></div>
<figure><figcaption>Latency over the story</figcaption>
{latency_of_windows(story.windows, story.marks, "governance/time")}</figure>
<div class="wide"><table><tbody>{listed}</tbody></table></div>
</section>"""


def _counts(each: Comparison) -> str:
    limit = f"{float(each.limit):.2%}"
    return f"{each.d:,} of {each.n:,} decisions differ (d of n), less than {limit} may"
