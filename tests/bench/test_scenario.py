"""Scenarios, figures and results: what a benchmark's verdict rests on."""

import json
from pathlib import Path

import pytest

from bench import scenario
from bench.measure import MEASURES
from bench.results import Bar, Figure, Result
from bench.scenario import KINDS, ScenarioError


def test_every_committed_scenario_can_be_read_and_measured() -> None:
    scenarios = scenario.all_scenarios()
    assert {s.kind for s in scenarios} == set(KINDS) == set(MEASURES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('kind = "compare"\ntitle = "t"\nrepeat = 3', "unknown key repeat"),
        ('kind = "guess"\ntitle = "t"', "kind must be one of"),
        ('kind = "compare"', "title"),
        ("kind = ", "Invalid value"),
    ],
)
def test_a_scenario_that_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=sentence) as refused:
        scenario.read(path)
    assert "mine.toml" in str(refused.value)


def test_a_figure_is_judged_by_its_median_on_its_own_side() -> None:
    assert Figure("f", "", (9.0, 11.0, 12.0), target=10).reached
    assert not Figure("f", "", (9.0, 9.5, 12.0), target=10).reached
    assert Figure("f", "", (9.0, 9.5, 12.0), target=10, at_least=False).reached
    assert Figure("f", "", (1.0,)).reached is None
    assert Figure("f", "", (3.0, 1.0, 2.0)).spread == (1.0, 3.0)


def test_a_result_keeps_figures_conditions_and_reports_but_no_address(tmp_path: Path) -> None:
    report = {"ok": 5, "target": "127.0.0.1:4711", "windows": [], "histogram_us": []}
    figures = (Figure("throughput", "1/s", (2.0,), target=1),)
    result = Result("r", "A title", {"rows": 1}, figures, (Bar("a", 1.0),), "u", (report,))
    told = json.loads(result.write(tmp_path).read_text())
    assert told["figures"][0]["reached"] is True
    assert told["conditions"] == {"rows": 1}
    assert told["runs"] == [{"ok": 5}]
    assert {"cpu", "cores", "pauses"} <= set(told["machine"])
    assert "A title" in (tmp_path / "r.svg").read_text()
