"""The comparison of servers: rows of those that are missing, ratios, the check of answers."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench import scenario
from bench.comparison import ALONE, CROWD, EQUAL, OURS, PEERS, TRITON, Entry, ratios, row
from bench.doors import Door, WrongAnswerError, judge
from bench.results import Result, Row, side_by_side
from bench.scenario import Scenario


def committed() -> Scenario:
    return scenario.read(scenario.FOLDER / "peers.toml")


def report(per_s: float, p50: float | None = 1.0, p99: float | None = 9.0) -> dict[str, Any]:
    return {"ok_per_s": per_s, "latency_us": {"p50": p50, "p99": p99}}


def measured(name: str, *per_s: float, p99: float | None = 9.0) -> Entry:
    reports = {CROWD: [report(x) for x in per_s], ALONE: [report(1)], EQUAL: [report(1, p99=p99)]}
    return Entry(Door(name), reports=reports)


def test_the_committed_scenario_asks_for_one_and_a_half_times_tritons_empty_call() -> None:
    s = committed()
    assert (s.kind, s.target, s.in_flight, s.server_cores) == ("peers", 1.5, 64, "0")
    assert 0 < s.load_fraction < 1
    assert TRITON in [door.name for doors in PEERS.values() for door in doors]


def test_ratios_are_taken_window_by_window_and_only_tritons_has_a_target() -> None:
    entries = [measured(OURS, 30, 40), measured("mlserver", 3, 2), measured(TRITON, 10, 20)]
    figures, unjudged = ratios(entries, 1.5)
    assert [(f.samples, f.target) for f in figures] == [((3, 2), 1.5), ((10, 20), None)]
    assert "triton" in figures[0].what
    assert unjudged == ()


@pytest.mark.parametrize("missing", [OURS, TRITON])
def test_a_target_without_a_figure_is_told_and_not_passed_over(missing: str) -> None:
    entries = [measured(OURS, 30), measured(TRITON, 10)]
    (gone,) = (e for e in entries if e.door.name == missing)
    gone.absent = "did not start: no libpython"
    figures, (sentence,) = ratios(entries, 1.5)
    assert figures == ()
    assert "not judged, did not start: no libpython" in sentence


def test_a_row_has_throughput_median_and_tail_with_the_load_named() -> None:
    told = row(measured("mlserver", 5, 7, 6), committed(), 100.4)
    assert [(f.what, f.value) for f in told.figures] == [
        ("64 in flight", 6),
        ("one in flight: p50", 1),
        ("at 100/s: p99", 9),
    ]


def test_a_quantile_that_no_window_could_tell_is_left_out() -> None:
    told = row(measured("mlserver", 5, p99=None), committed(), 100)
    assert [f.what for f in told.figures] == ["64 in flight", "one in flight: p50"]


def shown(result: Result) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(side_by_side(result))
    return capture.get()


def test_a_missing_peer_is_a_line_with_its_reason_in_text_and_json(tmp_path: Path) -> None:
    gone = row(Entry(Door("ray serve"), absent="not installed: no ray[serve]"), committed(), 100)
    rows = (row(measured("mlserver", 5), committed(), 100), gone)
    result = Result("peers", "A title", {}, (), rows=rows, unjudged=("t: not judged",))
    (line,) = (line for line in shown(result).splitlines() if "ray serve" in line)
    assert "not measured: not installed: no ray[serve]" in line
    told = json.loads(result.write(tmp_path).read_text())
    assert told["rows"][1] == {
        "name": "ray serve",
        "driven": "ModelInfer, gRPC",
        "figures": [],
        "absent": "not installed: no ray[serve]",
    }
    assert told["rows"][0]["figures"][0]["median"] == 5
    assert told["unjudged"] == ["t: not judged"]


def test_large_figures_are_written_out() -> None:
    rows = (row(measured("mlserver", 145_793.4), committed(), 100),)
    assert "145,793 (145,793 to 145,793)" in shown(Result("n", "A title", {}, (), rows=rows))


def test_a_table_of_missing_peers_alone_can_be_shown() -> None:
    rows = (Row("a", "d", absent="why"),)
    assert "not measured: why" in shown(Result("n", "A title", {}, (), rows=rows))


def test_scores_must_all_be_there_and_close() -> None:
    wanted = np.array([0.25, 0.5], np.float32)
    judge(wanted + np.float32(1e-6), wanted)
    with pytest.raises(WrongAnswerError, match="away from"):
        judge(wanted + np.float32(1e-4), wanted)
    with pytest.raises(WrongAnswerError, match="1 of 2 rows"):
        judge(np.array([0.25, np.nan], np.float32), wanted)
