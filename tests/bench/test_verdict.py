"""The simulation of verdicts, small: at the limit hardly any run passes, bursts or not."""

from fractions import Fraction

import numpy as np
import pytest

from bench import verdict
from governance.shadow import evalue

ALPHA = Fraction("0.01")


def test_bounds_are_the_least_pairs_that_pass() -> None:
    for d, n in enumerate(verdict.pass_bounds(ALPHA, 3000)):
        assert evalue.reaches(evalue.log_e_below(int(n), d, verdict.LIMIT), ALPHA)
        assert not evalue.reaches(evalue.log_e_below(int(n) - 1, d, verdict.LIMIT), ALPHA)


def test_the_first_look_that_passes_is_found() -> None:
    bounds = verdict.pass_bounds(ALPHA, 5000)
    bad = np.zeros(5000, dtype=bool)
    assert verdict.first_pass(bad, bounds) == bounds[0]
    bad[10] = True
    assert verdict.first_pass(bad, bounds) == bounds[1]
    assert verdict.first_pass(np.ones(5000, dtype=bool), bounds) is None


@pytest.mark.parametrize("mean", verdict.BURSTS)
def test_bursty_traffic_is_bad_at_the_limit(mean: int) -> None:
    chance = np.random.default_rng(1)
    traffic = verdict.bursty(chance, 4_000_000, mean)
    share = traffic.bad(np.arange(4_000_000)).mean()
    assert abs(share / float(verdict.LIMIT) - 1) < 0.15


def test_at_the_limit_few_runs_pass_though_somebody_looks_after_every_pair() -> None:
    rows = {row["what"]: row["passed"] for row in verdict.false_passes(150, ALPHA)}
    # More than seven of 150 at 1% each would happen once in five thousand times.
    assert all(passed <= 7 for what, passed in rows.items() if "one pair" in what)
    assert rows["independent pairs"] <= 7
    assert rows["bursts of 30, every request"] > 100
    assert rows["independent pairs, Wilson bound at 95% instead"] > 20
