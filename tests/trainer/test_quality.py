"""Metrics against values worked out by hand, and the threshold against every other one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.quality import (
    Costs,
    auc,
    auc_interval,
    cheapest_threshold,
    cost_per_100,
    decide,
    measure,
)


def scores(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def labels(*values: int) -> npt.NDArray[np.int8]:
    return np.array(values, np.int8)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    # Positives 0.8 and 0.35, negatives 0.4 and 0.1: three of the four pairs are in order.
    assert auc(scores(0.1, 0.4, 0.35, 0.8), labels(0, 0, 1, 1)) == pytest.approx(0.75)


def test_auc_counts_a_tie_as_half_a_pair() -> None:
    # Pairs: (0.5, 0.5) tie, (0.5, 0.2) right, (0.9, 0.5) right, (0.9, 0.2) right.
    assert auc(scores(0.5, 0.9, 0.5, 0.2), labels(1, 1, 0, 0)) == pytest.approx(3.5 / 4)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=40).filter(
        lambda rows: len({label for _, label in rows}) == 2
    )
)
def test_auc_equals_counting_every_pair(rows: list[tuple[int, int]]) -> None:
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    won = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    expected = won / (len(positives) * len(negatives))
    values = scores(*(score for score, _ in rows))
    assert auc(values, labels(*(label for _, label in rows))) == pytest.approx(expected)


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one positive and one negative"):
        auc(scores(0.1, 0.2), labels(1, 1))


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        auc(scores(0.1, 0.2), labels(1))


def test_the_interval_is_repeatable_and_holds_the_auc() -> None:
    random = np.random.default_rng(1)
    y = (np.arange(200) % 3 == 0).astype(np.int8)
    values = (random.normal(size=200) + y).astype(np.float32)
    low, high = auc_interval(values, y)
    assert (low, high) == auc_interval(values, y)
    assert low < auc(values, y) < high
    assert (low, high) != auc_interval(values, y, seed=8)


def test_the_interval_narrows_with_more_rows() -> None:
    random = np.random.default_rng(1)
    y = (np.arange(2000) % 2).astype(np.int8)
    values = (random.normal(size=2000) + y).astype(np.float32)
    few = auc_interval(values[:100], y[:100], resamples=300)
    many = auc_interval(values, y, resamples=300)
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_a_score_on_the_threshold_is_positive() -> None:
    assert decide(scores(0.25, 0.5, 0.75), 0.5).tolist() == [False, True, True]


def test_quality_counts_and_costs_are_those_worked_out_by_hand() -> None:
    # At 0.5: 0.9 right, 0.4 missed, 0.6 false alarm, 0.1 and 0.2 right.
    quality = measure(
        scores(0.9, 0.4, 0.6, 0.1, 0.2), labels(1, 1, 0, 0, 0), 0.5, Costs(miss=4, false_alarm=1)
    )
    assert (quality.rows, quality.misses, quality.false_alarms) == (5, 1, 1)
    assert quality.accuracy == pytest.approx(0.6)
    assert quality.cost_per_100 == pytest.approx(100 * (4 + 1) / 5)
    assert quality.auc == pytest.approx(5 / 6)


rows_of_scores = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(rows_of_scores, st.floats(0.1, 10), st.floats(0.1, 10))
def test_no_other_threshold_costs_less(
    rows: list[tuple[float, int]], miss: float, false_alarm: float
) -> None:
    values = scores(*(score for score, _ in rows))
    y = labels(*(label for _, label in rows))
    costs = Costs(miss, false_alarm)
    chosen = cheapest_threshold(values, y, costs)
    others = [-1.0, 2.0, *values.tolist(), *np.nextafter(values, np.float32(9)).tolist()]
    best = min(cost_per_100(decide(values, other), y, costs) for other in others)
    assert cost_per_100(decide(values, chosen), y, costs) == pytest.approx(best)


@given(rows_of_scores)
def test_float32_holds_the_threshold_exactly(rows: list[tuple[float, int]]) -> None:
    values = scores(*(score for score, _ in rows))
    chosen = cheapest_threshold(values, labels(*(label for _, label in rows)), Costs(3, 1))
    assert float(np.float32(chosen)) == chosen


def test_among_equally_cheap_thresholds_the_middle_of_the_widest_gap_is_taken() -> None:
    # Between 0.125 and 0.25 it makes one false alarm, between 0.375 and 0.875 one miss.
    values = scores(0.125, 0.25, 0.375, 0.875)
    assert cheapest_threshold(values, labels(0, 1, 0, 1), Costs(1, 1)) == 0.625


def test_two_neighbouring_float32_are_still_told_apart() -> None:
    half = np.float32(0.5)
    for low in (half, np.nextafter(half, np.float32(1))):
        values = scores(float(low), float(np.nextafter(low, np.float32(1))))
        chosen = cheapest_threshold(values, labels(0, 1), Costs(1, 1))
        assert decide(values, chosen).tolist() == [False, True]


def test_a_dearer_miss_lowers_the_threshold() -> None:
    values, y = scores(0.1, 0.2, 0.3, 0.4, 0.6, 0.9), labels(0, 1, 0, 0, 1, 1)
    dear = cheapest_threshold(values, y, Costs(10, 1))
    cheap = cheapest_threshold(values, y, Costs(1, 1))
    assert dear < 0.2
    assert cheap > 0.4
