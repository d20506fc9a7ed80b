"""Ends of pairs to a verdict: what counts as what, coverage, windows, reports that recompute."""

import copy
import json
import math
from typing import Any

import pytest

from governance.shadow.ends import Answer, End, parse_counts
from governance.shadow.errors import ShadowError
from governance.shadow.report import combine, recompute
from tests.governance.ledgers import digest
from tests.governance.shadow.pairs import (
    DAY,
    LATER,
    START,
    broken,
    comparison,
    complete,
    fed,
    slugs,
)


def good(n: int = 2000, **changed: Any) -> Any:
    return fed((complete() for _ in range(n)), **changed)


def test_a_candidate_that_always_agrees_passes() -> None:
    verdict = good().judge(LATER)
    assert (verdict.outcome, verdict.final) == ("PASS", False)
    assert [reason.slug for reason in verdict.reasons] == ["all_shown"]


def test_a_pass_can_be_lost_again() -> None:
    run = good(1300)
    assert run.judge(LATER).outcome == "PASS"
    for _ in range(3):
        run.add(complete(same=False))
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert "disagreement_not_shown" in slugs(run)


def test_a_candidate_that_disagrees_on_one_in_fifty_fails_with_a_sentence() -> None:
    run = comparison()
    with pytest.raises(ShadowError) as over:
        for place in range(20_000):
            run.add(complete(same=place % 50 != 0))
    assert over.value.reason == "comparison_over"
    verdict = run.judge(LATER)
    assert (verdict.outcome, verdict.final) == ("FAIL", True)
    assert verdict.reasons[0].slug == "disagreement_above_limit"
    assert "decisions that differ" in verdict.reasons[0].sentence
    assert run.counts().n < 2000


@pytest.mark.parametrize(
    ("seen", "slug"),
    [
        (lambda: good(100), "too_few_pairs"),
        (lambda: good(1200), "disagreement_not_shown"),
        (lambda: fed([*[complete()] * 2000, *[broken("shed")] * 30]), "shed_above_limit"),
        (
            lambda: fed([*[complete()] * 2000, *[broken("incumbent_error")] * 30]),
            "incumbent_errors",
        ),
        (lambda: good(2000, caller_share="0.5"), "one_caller"),
        (lambda: good(2000, window_pairs=1000), "latency_not_shown"),
        (
            lambda: good(2000, segments={"mobile": {"limit": "0.01", "n_min": 10}}),
            "segment_starved",
        ),
        (comparison, "starved"),
    ],
)
def test_what_is_missing_makes_it_inconclusive_for_its_own_reason(seen: Any, slug: str) -> None:
    run = seen()
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert slug in slugs(run)


def test_too_early_is_inconclusive() -> None:
    run = good()
    assert slugs(run, START + DAY - 1) == {"too_early"}
    assert run.judge(START + DAY).outcome == "PASS"


def test_it_is_over_at_the_greatest_number_of_pairs_or_hours() -> None:
    few = good(600, n_max=600)
    assert (few.judge(LATER).final, "n_max" in slugs(few)) == (True, True)
    late = good(600)
    assert (late.judge(START + 7 * DAY).final, "time_over" in slugs(late, START + 7 * DAY)) == (
        True,
        True,
    )


def test_errors_and_time_outs_are_disagreements() -> None:
    run = fed([complete(), broken("candidate_error"), broken("candidate_timeout")])
    counts = run.counts()
    assert (counts.n, counts.d, counts.failed) == (3, 2, 2)


def test_shed_pairs_and_the_incumbents_errors_are_no_pairs_but_counted() -> None:
    counts = fed([broken("shed"), broken("incumbent_error"), complete()]).counts()
    assert (counts.n, counts.chosen, counts.shed, counts.incumbent_error) == (1, 3, 1, 1)


def test_flips_are_counted_by_direction() -> None:
    down = End("complete", "c", None, Answer(1, 0.6, 1, "1"), Answer(0, 0.4, 1, "1"))
    counts = fed([complete(same=False), down, down]).counts()
    assert (counts.disagreed, counts.flips_up, counts.flips_down) == (3, 1, 2)


def test_scores_that_moved_further_than_epsilon_are_counted() -> None:
    ends = [complete(score=s) for s in (0.2, 0.24, 0.26, 0.1, None)]
    assert fed(ends).counts().moved == 3


def test_segments_count_their_own_pairs() -> None:
    segments = {"mobile": {"limit": "0.01", "n_min": 1}}
    ends = [complete(segment="mobile", same=False), complete(segment="mobile"), complete()]
    counts = fed(ends, segments=segments).counts()
    assert counts.segments == {"mobile": (2, 1)}


def test_a_slower_candidate_fails_by_its_windows() -> None:
    run = comparison()
    with pytest.raises(ShadowError):
        for _ in range(5000):
            run.add(complete(slower=1.06))
    assert slugs(run) == {"latency_above_limit"}


def test_a_ratio_at_the_limit_is_good_and_one_above_is_not() -> None:
    assert fed(complete(slower=1.05) for _ in range(100)).counts().good_windows == 1
    assert fed(complete(slower=1.0501) for _ in range(100)).counts().good_windows == 0


def test_time_outs_make_a_window_slow() -> None:
    ends = [*[complete(slower=0.5)] * 98, *[broken("candidate_timeout")] * 2]
    counts = fed(ends, error_limit="0.5", disagreement_limit="0.5").counts()
    assert (counts.windows, counts.good_windows) == (1, 0)


def test_execute_times_are_compared_within_one_bucket() -> None:
    other = End("complete", "c", None, Answer(0, 0.2, 100, "16"), Answer(0, 0.2, 100, "64"))
    run = fed([other] * 2000)
    assert (run.counts().unpaired, run.counts().windows) == (2000, 0)
    assert "latency_unpaired" in slugs(run)
    mixed = [
        End("complete", "c", None, Answer(0, 0.2, 9, bucket), Answer(0, 0.2, 9, bucket))
        for _ in range(99)
        for bucket in ("1", "2")
    ]
    assert fed(mixed).counts().windows == 0


def test_the_outlook_tells_what_each_gate_still_needs() -> None:
    told = {gate["gate"]: gate for gate in good(1000).outlook()}
    assert told["disagreement"]["pairs_needed"] == 280
    assert told["latency"]["pairs_needed"] == 0
    assert float(told["disagreement"]["low"]) == 0 < float(told["disagreement"]["high"]) < 0.012


@pytest.mark.parametrize(
    "end",
    [
        End("complete", "c", None, Answer(0, 0.1, 1, "1"), None),
        End("complete", "c", None, None, Answer(0, 0.1, 1, "1")),
        End("lost", "c"),  # type: ignore[arg-type]
    ],
)
def test_an_end_that_is_none_is_refused(end: End) -> None:
    with pytest.raises(ShadowError) as refused:
        comparison().add(end)
    assert refused.value.reason == "bad_end"


def test_a_report_recomputes_from_its_integers_after_json() -> None:
    report = json.loads(json.dumps(good().report(LATER)))
    assert recompute(report).outcome == report["verdict"] == "PASS"
    assert "float" not in {type(value).__name__ for value in _leaves(report)}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"verdict": "PASS"}, "verdict_differs"),
        ({"attempt": 9}, "verdict_differs"),
        ({"format": "other"}, "bad_report"),
        ({"more": 1}, "bad_report"),
        ({"attempt": "1"}, "bad_report"),
        ({"attempt": 0}, "bad_attempt"),
        ({"counts": []}, "bad_report"),
        ({"policy": {"window": 1}}, "unknown_key"),
    ],
)
def test_a_report_that_was_changed_does_not_recompute(change: dict[str, Any], reason: str) -> None:
    report = {**good(1250).report(LATER), **change}
    with pytest.raises(ShadowError) as refused:
        recompute(report)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "change",
    [
        {"complete": -1},
        {"complete": 1.0},
        {"disagreed": 5000},
        {"flips_up": 3},
        {"windows": 10**6},
        {"good_windows": 100},
        {"top_caller": 10**6},
        {"segments": {"mobile": {"n": 1, "d": 2}}},
        {"segments": {"mobile": {"n": 1}}},
        {"unknown": 1},
    ],
)
def test_counts_that_contradict_each_other_are_refused(change: dict[str, Any]) -> None:
    counts = {**good(1250).counts().plain(), **change}
    with pytest.raises(ShadowError) as refused:
        parse_counts(counts)
    assert refused.value.reason == "bad_report"


def test_segments_of_a_report_are_those_of_its_policy() -> None:
    report = copy.deepcopy(good().report(LATER))
    report["counts"]["segments"] = {"mobile": {"n": 1, "d": 0}}
    with pytest.raises(ShadowError) as refused:
        recompute(report)
    assert refused.value.reason == "bad_report"


def _of(gateway: str, n: int = 700, bad: int = 0, **changed: Any) -> dict[str, Any]:
    run = good(n)
    for _ in range(bad):
        run.add(complete(same=False))
    return {**run.report(LATER), "gateway": digest(gateway), **changed}


def test_reports_of_a_fleet_add_up_to_what_none_shows_alone() -> None:
    parts = [_of("one"), _of("two")]
    assert {part["verdict"] for part in parts} == {"INCONCLUSIVE"}
    whole = combine(parts, digest("fleet"))
    assert (whole["verdict"], whole["counts"]["complete"]) == ("PASS", 1400)
    assert recompute(whole).outcome == "PASS"


def test_disagreements_of_a_fleet_add_up() -> None:
    whole = combine([_of("one", bad=2), _of("two", bad=2)], digest("fleet"))
    assert (whole["counts"]["disagreed"], whole["verdict"]) == (4, "INCONCLUSIVE")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "no_reports"),
        ([_of("one"), _of("one")], "gateway_twice"),
        ([_of("one"), _of("two", candidate=digest("other"))], "other_run"),
        ([_of("one"), _of("two", verdict="PASS")], "verdict_differs"),
    ],
)
def test_reports_that_do_not_belong_together_are_not_added(
    parts: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(ShadowError) as refused:
        combine(parts, digest("fleet"))
    assert refused.value.reason == reason


def test_a_score_that_is_no_number_fails_at_once() -> None:
    for score in (math.nan, math.inf, -math.inf):
        run = fed([complete()] * 2000)
        run.add(complete(score=score))
        assert (run.judge(LATER).outcome, slugs(run)) == ("FAIL", {"nan_scores"})
