"""The interval of a ratio of quantiles: by pairs of windows, as the machine disturbs them."""

import numpy as np
from numpy.typing import NDArray

from bench.samples import ratio_interval


def _windows(seed: int, scale: float) -> list[NDArray[np.uint32]]:
    random = np.random.default_rng(seed)
    # Each window has a speed of its own, as on a machine that others use.
    speeds = np.random.default_rng(0).lognormal(0, 0.5, 30)
    return [(random.exponential(1e4, 200) * scale * s).astype(np.uint32) for s in speeds]


def test_equal_windows_have_a_ratio_of_one() -> None:
    assert ratio_interval(_windows(1, 1.0), _windows(1, 1.0), 0.99, resamples=50) == (1.0, 1.0)


def test_it_holds_the_true_ratio_and_tells_a_large_one_from_one() -> None:
    low, high = ratio_interval(_windows(1, 1.5), _windows(2, 1.0), 0.99, resamples=500)
    assert 1.1 < low < 1.5 < high


def test_it_holds_one_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(40):
        above, below = _windows(2 * seed, 1.0), _windows(2 * seed + 1, 1.0)
        low, high = ratio_interval(above, below, 0.9, resamples=100)
        held += low <= 1 <= high
    assert held >= 33
