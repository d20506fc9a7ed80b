"""HTML in which nothing that somebody wrote can become markup."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from governance.description import plain

NONE: Final = "—"


class Html(str):
    """Text that is markup already. Everything else is escaped before it gets onto a page."""

    __slots__ = ()


def text(value: object) -> Html:
    """Anything as text: escaped, and what turns text round or hides spelt out."""
    if isinstance(value, Html):
        return value
    return Html(escape(plain(NONE if value is None else str(value)), quote=True))


def element(name: str, inner: object, css: str = "") -> Html:
    """One element around text or markup."""
    attribute = f' class="{escape(css, quote=True)}"' if css else ""
    return Html(f"<{name}{attribute}>{text(inner)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after another."""
    return Html(between.join(text(part) for part in parts))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> Html:
    """A table; its first `words` columns are words, to the left, and the rest figures."""

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{' class=word' if place < words else ''}>{text(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return Html(
        f'<div class="wide"><table><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names with values."""
    inner = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs)
    return Html(f'<dl class="facts">{inner}</dl>')


def items(sentences: Iterable[object]) -> Html:
    """A list."""
    return Html("<ul>" + "".join(f"<li>{text(s)}</li>" for s in sentences) + "</ul>")


def tiles(pairs: Iterable[tuple[str, object, str]]) -> Html:
    """The few figures that matter: label, value, class."""
    inner = "".join(
        f'<div class="tile"><span>{text(label)}</span>'
        f'<strong class="{escape(css, quote=True)}">{text(value)}</strong></div>'
        for label, value, css in pairs
    )
    return Html(f'<div class="tiles">{inner}</div>')


def section(title: str, *parts: object) -> Html:
    """A section with its heading."""
    return Html(f"<section><h2>{text(title)}</h2>{join(parts)}</section>")


def figure(caption: str, drawing: Html) -> Html:
    """A drawing with what it shows."""
    return Html(f"<figure><figcaption>{text(caption)}</figcaption>{drawing}</figure>")


def short(digest: str | None) -> Html:
    """A digest as people compare it; whole where it is pointed at."""
    if digest is None:
        return Html(NONE)
    return Html(f'<code title="{escape(digest, quote=True)}">{text(digest[7:19])}…</code>')


def day(seconds: int | None) -> str:
    """A time for people."""
    if seconds is None:
        return NONE
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def percent(rate: float) -> str:
    """A rate with as many places as it takes to tell it from nothing, to a hundred thousandth."""
    if 0 < rate < 1e-5:
        return "under 0.001%"
    return f"{100 * rate:.3g}%"


def number(count: int | str, thing: str) -> str:
    """A number of things, one or several."""
    return f"{count} {thing}{'' if str(count) == '1' else 's'}"


def micros(value: str | None) -> str:
    """A time in µs as a person reads it."""
    if value is None:
        return NONE
    us = float(value)
    return f"{us:,.0f} µs" if us < 999.5 else f"{us / 1000:,.3g} ms"


STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --card: #f5f6f8; --ink: #1b1f24;
  --muted: #5b6470; --line: #dde1e6; --first: #2463c9; --second: #b4540a; --good: #17753a;
  --bad: #b3261e; --wait: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1d2127; --ink: #e7eaee;
  --muted: #a2abb7; --line: #343b44; --first: #79a9ff; --second: #ffae66; --good: #6fcf8f;
  --bad: #ff8f86; --wait: #ffcf70; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 44px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 24px 0 8px; }
p, ul { margin: 8px 0; max-width: 75ch; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; } .muted, footer, .facts dt, figcaption small { color: var(--muted); }
footer { margin-top: 48px; padding-top: 8px; border-top: 1px solid var(--line); font-size: 0.9rem; }
code { font-family: ui-monospace, Consolas, monospace; font-size: 0.9em; }
.banner { border-left: 4px solid; background: var(--card); padding: 12px 16px; margin: 20px 0;
  border-radius: 0 10px 10px 0; }
.banner p { margin: 0; } .banner.good { border-color: var(--good); }
.banner.bad { border-color: var(--bad); } .banner.wait { border-color: var(--wait); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 16px 6px 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th.word, td.word { text-align: left; white-space: normal; overflow-wrap: break-word; }
.wide + .wide { margin-top: 20px; } figure table { font-size: 0.95rem; }
th { font-weight: 500; color: var(--muted); font-size: 0.85rem; }
.tiles { display: grid; gap: 12px; margin: 20px 0;
  grid-template-columns: repeat(auto-fit, minmax(min(220px, 100%), 1fr)); }
.tile { background: var(--card); border-radius: 10px; padding: 12px 14px; }
.tile span { display: block; color: var(--muted); font-size: 0.8rem; line-height: 1.3; }
.tile strong { font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.banner.good, .banner.bad, .banner.wait { color: inherit; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr));
  gap: 20px; margin: 20px 0; }
figure { margin: 0; background: var(--card); border-radius: 10px; padding: 14px 16px; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 6px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
svg .muted { fill: var(--muted); } svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg .bar { stroke-width: 3; stroke-linecap: round; }
svg .limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .first { stroke: var(--first); fill: var(--first); }
svg .second { stroke: var(--second); fill: var(--second); }
svg .line { fill: none; stroke-width: 1.8; } svg .area { stroke: none; fill-opacity: 0.14; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--muted); }
@media (max-width: 560px) { .facts { grid-template-columns: 1fr; }
  .facts dd { margin-bottom: 8px; } }
@media print { section, figure { break-inside: avoid; } details > * { display: revert; } }
"""
"""The look of the project's other pages: light and dark, and fit for printing."""
