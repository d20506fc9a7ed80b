"""The page for the domain expert: what it tells, and that nothing written by others runs on it."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from governance import shape
from governance.bundle import folder
from governance.bundle.drawing import Interval, bars, distributions, intervals
from governance.bundle.groups import GROUPS, Change, Identity
from governance.bundle.markup import micros, percent, text
from governance.bundle.page import render
from governance.bundle.verify import Verification, verify
from tests.governance.bundle import evidence
from tests.governance.bundle.evidence import CHAIN, PIN
from tests.governance.reports import counts
from tests.governance.signing import CANDIDATE, MODEL, NOW

HOSTILE = "</title></svg><script>alert(1)</script><img src=x onerror='alert(2)'>\u202ednetni\"&"
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body main h1 h2 h3 p strong code div section ul li dl dt dd "
        "span figure figcaption table thead tbody tr th td svg path circle rect text details "
        "summary footer",
    )
)


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.shown: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        # Parts of drawings close themselves.
        if tag not in ("meta", "path", "circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def page(root: Path, now: int = NOW + 60) -> str:
    return render(look(root), now)


def look(root: Path) -> Verification:
    return verify(root, CHAIN, PIN, NOW + 60)


def shown(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Reader(html).shown))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    evidence.before_approval(tmp_path / "b")
    return tmp_path / "b"


def test_it_tells_what_a_decision_hangs_on(root: Path) -> None:
    evidence.approve(root, "dora")
    told = shown(page(root))
    for wanted in (
        "asks for a second step on fewer payments",
        "PASS",
        "2,000",
        "0.492%",
        "183 µs",
        "0.000083 EUR",
        "night transfers",
        "38 ms, 0 requests failed",
        "domain expert and governance approver, 2 people waits for signatures",
        "dora",
        "read the report; segments look right",
        folder.open_bundle(root).digest,
    ):
        assert wanted in told, wanted


def test_it_is_whole_html_that_fetches_and_runs_nothing(root: Path) -> None:
    found = page(root)
    reader = Reader(found)
    assert reader.open == []
    assert reader.tags <= TAGS
    assert not reader.attributes & {"src", "href", "style", "srcset", "action"}
    assert not any(name.startswith("on") for name in reader.attributes)
    assert "url(" not in found
    assert "@import" not in found
    assert "default-src 'none'" in found


def hostile(value: Any) -> Any:
    """A document with every free text made hostile, as far as its form lets it."""
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) and " " in value else value


def test_nothing_that_somebody_wrote_becomes_markup(tmp_path: Path) -> None:
    root = tmp_path / "b"
    held = evidence.before_approval(root)
    documents = {
        name: shape.read(GROUPS[name], hostile(shape.write(group)), name)
        for name, group in held.groups.items()
    }
    folder.add(root, documents)
    evidence.approve(root, "dora", comment=HOSTILE)
    evidence.approve(root, "greta", decision="refuse", comment=HOSTILE, nonce="b" * 32)
    found = look(root)
    assert found.bundle is not None
    # A manifest with such a name is not read; here it has got through all the same.
    named = replace(found.bundle, manifest=replace(found.bundle.manifest, model=HOSTILE))
    html = render(replace(found, bundle=named), NOW)
    reader = Reader(html)
    assert reader.open == []
    assert reader.tags <= TAGS
    assert not any(name.startswith("on") for name in reader.attributes)
    assert "\u202e" not in html
    assert "\\u202ednetni" in shown(html)


def test_a_bundle_that_does_not_hold_says_so_at_the_top(root: Path) -> None:
    folder.add(root, {"change": Change(summary="x", first=True, expected_incumbent=CANDIDATE)})
    told = shown(page(root))
    assert "Do not sign: 1 finding in this bundle." in told
    assert told.index("Do not sign") < told.index("What changes")


@pytest.mark.parametrize(("d", "verdict"), [(60, "FAIL"), (8, "INCONCLUSIVE")])
def test_a_comparison_that_did_not_pass_is_told_with_its_reason(
    tmp_path: Path, d: int, verdict: str
) -> None:
    compared = evidence.report(found=counts(d=d))
    assert compared.verdict == verdict
    evidence.before_approval(tmp_path / "b", compared)
    told = shown(page(tmp_path / "b"))
    assert verdict in told
    assert compared.reasons[0].partition(": ")[2] in told
    assert ("It failed on live requests" in told) == (verdict == "FAIL")


def test_a_refusal_is_told_where_signatures_are(root: Path) -> None:
    evidence.approve(root, "greta", decision="refuse", comment="segment 3")
    told = shown(page(root))
    assert "domain expert and governance approver, 2 people refused by greta" in told
    assert "segment 3" in told


def test_a_young_candidate_has_a_page_too(tmp_path: Path) -> None:
    folder.create(tmp_path / "b", MODEL, CANDIDATE)
    folder.add(tmp_path / "b", {"identity": Identity(MODEL, CANDIDATE)})
    told = shown(page(tmp_path / "b"))
    for wanted in ("was not compared", "no evaluation yet", "not measured", "Nobody has signed"):
        assert wanted in told


def test_the_same_bundle_gives_the_same_page(root: Path) -> None:
    assert page(root) == page(root)


def test_drawings_of_nothing_are_a_sentence_or_empty() -> None:
    assert "nothing to draw" in intervals([], str, zero=True)
    assert "nothing to draw" in distributions([("a", [], "first")])
    assert "nothing to draw" in distributions([("a", [(1.0, 0)], "first")])
    assert bars([("a", 0, "first")]).startswith("<svg")


@pytest.mark.parametrize("rows", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-2.0, 1e-9, 1e9)])
def test_any_interval_can_be_drawn(rows: tuple[float, float, float]) -> None:
    for zero in (True, False):
        drawn = intervals([Interval("a", *rows, None, "first")], str, zero=zero)
        assert "nan" not in drawn
        assert "inf" not in drawn


@pytest.mark.parametrize(
    ("rate", "told"), [(0, "0%"), (0.00499, "0.499%"), (1e-9, "under 0.001%"), (1, "100%")]
)
def test_rates_are_told_from_nothing(rate: float, told: str) -> None:
    assert percent(rate) == told


def test_times_have_the_unit_that_people_read() -> None:
    assert [micros(v) for v in (None, "81.25", "999.6", "12345")] == [
        "—",
        "81 µs",
        "1 ms",
        "12.3 ms",
    ]
    assert text(None) == "—"
