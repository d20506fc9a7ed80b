"""The interval of a median: by order statistics, so for every distribution."""

import numpy as np

from bench.samples import median_interval


def test_ends_are_the_order_statistics_of_the_tables() -> None:
    # 95% for n = 6: the extremes (1 - 2/64 = 0.969); for n = 20: the 6th and the 15th (0.959).
    assert median_interval(range(6)) == (0, 5)
    assert median_interval(range(20)) == (5, 14)


def test_five_samples_say_too_little() -> None:
    assert median_interval(range(5)) is None


def test_it_holds_the_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        low, high = median_interval(random.lognormal(0, 2, 15).tolist()) or (np.inf, -np.inf)
        held += low <= 1 <= high
    assert 0.95 <= held / 2000 <= 0.98
