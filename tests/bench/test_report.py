"""The report and the table: nothing to fetch, every number there, any name harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.charts import grouped, spread
from bench.outcome import Load, LoadResultError, SpecialistResult, duration
from bench.report import render, write_report
from bench.table import print_results
from trainer.quality import Costs, Quality

OFFLINE = Quality(375, 0.9793, 0.9678, 0.9883, 0.9147, 14.13, 7, 25)
LOAD_JSON: Mapping[str, Any] = {
    "latency_us": {
        "p50": 412.0,
        "p90": 733,
        "p99": 1240,
        "p999": 8800,
        "max": 9999,
        "mean": 500.5,
        "count": 4321,
    },
    "histogram_us": [[256, 10], [512, 3000], [1024, 1300], [2048, 8], [9999, 3]],
    "windows": [
        {"t_s": 0, "sent": 2000, "ok": 1990, "p50_us": 410, "p99_us": 1200},
        {"t_s": 1, "sent": 2400, "ok": 0, "p50_us": None, "p99_us": None},
        {"t_s": 2, "sent": 2400, "ok": 2331, "p50_us": 415, "p99_us": 1300},
    ],
    "ok": 4321,
    "sent": 4444,
    "late": 17,
    "status": {"OK": 4321, "RESOURCE_EXHAUSTED": 98, "DEADLINE_EXCEEDED": 23},
    "decisions_per_s": 6543.2,
    "throughput_per_s": 6600,
    "deadline_us": 20000,
    "rate": 7000,
    "connections": 8,
    "unanswered": 2,
}
NO_ANSWER: Mapping[str, Any] = {
    **LOAD_JSON,
    "latency_us": dict.fromkeys(("p50", "p90", "p99", "p999", "max", "mean"), None) | {"count": 0},
    "histogram_us": [],
    "windows": [],
    "ok": 0,
    "status": {"UNAVAILABLE": 4444},
    "deadline_us": None,
    "rate": None,
}


def result(load: Mapping[str, Any] = LOAD_JSON, **changes: Any) -> SpecialistResult:
    plain = SpecialistResult(
        name="phishing",
        task="Is this web site phishing?",
        model="gradient-boosted trees",
        labels=("legitimate", "phishing"),
        threshold=0.3485,
        costs=Costs(4.0, 1.0),
        offline=OFFLINE,
        gateway=replace(OFFLINE, auc=0.9791, cost_per_100=15.25),
        same_decisions=374,
        compared=375,
        load=Load.from_json(load),
        batches=((1, 900), (4, 345)),
        notes=("A note.",),
    )
    return replace(plain, **changes)


class Page(HTMLParser):
    """Collects what a page refers to, its words, and whether its tags are balanced."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        loading = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
        self.links += [value or "" for name, value in attrs if name in loading]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_page_opens_without_a_network() -> None:
    text = render([result(), replace(result(), name="credit")])
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "//" not in text
    assert "@import" not in text


def test_everything_a_page_refers_to_is_on_it_once() -> None:
    text = render([result(), replace(result(), name="credit")])
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    clips = [part.partition(")")[0] for part in text.split("url(#")[1:]]
    assert clips  # The charts clip their lines, so this looks at something.
    assert {link.removeprefix("#") for link in [*page.links, *clips]} <= set(page.ids)


@pytest.mark.parametrize(
    "number",
    [
        "0.9793 (0.968 to 0.988)",
        "0.9791",
        "91.5%",
        "14.13",
        "15.25",
        "374 of 375",
        "6,543",
        "412 µs",
        "733 µs",
        "1.24 ms",
        "8.8 ms",
        "10 ms",
        "20 ms",
        "4,444",
        "98",
        "17",
        "0.3485",
        "A note.",
        "1,245 batches",
        "shed: 98",
        "deadline passed: 23",
    ],
)
def test_the_page_holds_every_figure(number: str) -> None:
    assert number in " ".join(Page(render([result()])).words.split())


def test_the_page_has_three_charts_and_the_requests_way() -> None:
    assert Page(render([result()])).tags.count("svg") == 4


def test_a_different_decision_is_not_shown_as_agreement() -> None:
    assert "✓" not in render([result()])
    assert "✓" in render([result(same_decisions=375)])
    assert "No row was compared." in render([result(same_decisions=0, compared=0)])


def test_a_run_without_answers_is_reported_all_the_same() -> None:
    words = Page(render([result(NO_ANSWER, gateway=None, batches=())])).words
    assert "No answer came" in words
    assert "No batch ran." in words
    assert "as many as possible" in words
    assert "4,444" in words


def test_names_and_notes_cannot_change_the_page() -> None:
    bad = "<script src='https://x.invalid'>\"&"
    text = render([result(task=bad, notes=(bad,), model=bad)], title=bad, about={bad: bad})
    page = Page(text)
    assert "script" not in page.tags
    assert page.words.count(bad) >= 6


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", [result()], about={"Machine": "a laptop"})
    assert path.read_text("utf-8") == render([result()], about={"Machine": "a laptop"})


def test_the_table_holds_the_figures_of_every_specialist() -> None:
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_results([result(), result(NO_ANSWER, name="credit", gateway=None, batches=())], console)
    text = console.export_text()
    for figure in (
        "phishing",
        "credit",
        "0.9793",
        "0.9791",
        "374 of 375",
        "6,543",
        "1.24 ms",
        "98",
    ):
        assert figure in text


def test_the_mean_batch_is_weighted_by_how_many_batches_ran() -> None:
    assert result(batches=((1, 3), (5, 1))).mean_batch == 2.0
    assert result(batches=()).mean_batch is None


def test_a_load_result_without_a_field_is_refused_by_name() -> None:
    with pytest.raises(LoadResultError, match="late"):
        Load.from_json({key: value for key, value in LOAD_JSON.items() if key != "late"})


@pytest.mark.parametrize(
    ("us", "words"),
    [
        (None, "—"),
        (0.4, "0.4 µs"),
        (7, "7 µs"),
        (412.4, "412 µs"),
        (999.6, "1 ms"),
        (1240, "1.24 ms"),
        (100_400, "100 ms"),
        (2_500_000, "2.5 s"),
    ],
)
def test_a_duration_is_read_in_three_figures(us: float | None, words: str) -> None:
    assert duration(us) == words


histograms = st.lists(
    st.tuples(st.integers(1, 10**7), st.integers(0, 10**5)),
    max_size=30,
    unique_by=lambda pair: pair[0],
).map(sorted)


@given(histograms)
def test_a_spread_histogram_keeps_every_answer_where_it_was(
    histogram: list[tuple[int, int]],
) -> None:
    bars = spread(histogram)
    total = sum(count for _, count in histogram)
    assert sum(count for _, _, count in bars) == pytest.approx(total)
    assert all(count >= -1e-6 for _, _, count in bars)
    if total:
        assert bars[-1][1] == pytest.approx(max(bound for bound, count in histogram if count))


def test_buckets_of_even_width_are_drawn_as_they_are() -> None:
    bars = spread([(10, 0), (20, 3), (40, 8), (80, 0), (160, 5), (320, 0)])
    assert [count for _, _, count in bars] == pytest.approx([3, 8, 0, 5])
    assert [bars[0][0], *(upper for _, upper, _ in bars)] == pytest.approx([10, 20, 40, 80, 160])


def test_a_gap_between_buckets_stays_empty() -> None:
    # Buckets without answers may be left out of the histogram.
    assert [count for _, _, count in spread([(20, 3), (40, 8), (160, 5)])] == pytest.approx(
        [3, 8, 0, 5]
    )


@given(st.dictionaries(st.integers(1, 4096), st.integers(1, 1000), max_size=60))
def test_grouped_batches_keep_every_batch(batches: dict[int, int]) -> None:
    bars = grouped(list(batches.items()))
    assert sum(count for _, count in bars) == sum(batches.values())
    assert len(bars) <= 16


def test_many_batch_sizes_are_grouped_by_powers_of_two() -> None:
    assert grouped([(rows, 1) for rows in range(1, 18)]) == [
        ("1", 1),
        ("2", 1),
        ("3-4", 2),
        ("5-8", 4),
        ("9-16", 8),
        ("17-32", 1),
    ]
