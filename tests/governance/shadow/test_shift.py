"""PSI and KS on bins: by hand, by scipy, and where they say nothing."""

import math
import random
from dataclasses import replace

import pytest
from scipy.stats import ks_2samp

from governance.errors import GovernanceError
from governance.shadow.errors import ShadowError
from governance.shadow.shift import Shift, ks, psi, shift
from governance.shadow.statement import Frame, predicate, verify
from governance.shadow_report import Shift as Told
from governance.statements import Statement, parse
from tests.governance.ledgers import digest
from tests.governance.shadow.pairs import LATER, complete, fed


def drawn(seed: int, mean: float, count: int = 4000) -> list[float]:
    chance = random.Random(seed)  # noqa: S311
    return [chance.gauss(mean, 1) for _ in range(count)]


def test_by_hand() -> None:
    # (0.3 - 0.5) ln(0.3 / 0.5) + (0.7 - 0.5) ln(0.7 / 0.5)
    expected = -0.2 * math.log(0.6) + 0.2 * math.log(1.4)
    assert math.isclose(psi([50, 50], [30, 70]), expected)
    assert math.isclose(ks([50, 50], [30, 70]), 0.2)
    assert math.isclose(psi([100, 0], [100, 0]), 0)
    # An empty bin is half a row.
    assert math.isclose(
        psi([99, 1], [100, 0]), (0.005 - 0.01) * math.log(0.5) + 0.01 * math.log(100 / 99)
    )


def test_bins_hold_a_tenth_of_the_incumbents_scores_each() -> None:
    found = shift(drawn(1, 0.0), drawn(2, 0.0))
    assert found is not None and found.incumbent == (400,) * 10
    assert sum(found.candidate) == 4000
    assert psi(found.incumbent, found.candidate) < 0.02


def test_a_shift_shows_and_ks_on_bins_is_at_most_the_statistic() -> None:
    one, other = drawn(1, 0.0), drawn(2, 0.5)
    found = shift(one, other)
    assert found is not None and psi(found.incumbent, found.candidate) > 0.15
    statistic = float(ks_2samp(one, other).statistic)
    assert 0.8 * statistic < ks(found.incumbent, found.candidate) <= statistic + 1e-12


def test_scores_that_are_merely_exchanged_show_nothing() -> None:
    one = drawn(1, 0.0)
    found = shift(one, one[::-1])
    assert found is not None
    assert psi(found.incumbent, found.candidate) == ks(found.incumbent, found.candidate) == 0


@pytest.mark.parametrize("score", [0.5, 0.0, -3.0])
def test_one_score_for_all_has_one_edge(score: float) -> None:
    found = shift([score] * 50, [score] * 49 + [score + 1])
    assert found == Shift((score,), (50, 0), (49, 1))


def test_without_finite_scores_there_is_no_shift() -> None:
    assert shift([], []) is None
    assert shift([math.inf, 1.0], [1.0, math.nan]) is None


def test_a_report_carries_bins_from_which_an_auditor_computes_again() -> None:
    run = fed(complete() for _ in range(2500))
    frame = Frame(
        "eu", digest("p"), bytes(32), digest("s"), shift=shift(drawn(1, 0), drawn(2, 1e9))
    )
    made = predicate(run.report(LATER), run.judge(LATER), replace(frame, shift=None))
    assert made.shift is None and verify(made).outcome == "PASS"
    small = shift(drawn(1, 0.0, 900), drawn(2, 1e9, 900))
    made = predicate(run.report(LATER), run.judge(LATER), replace(frame, shift=small))
    said = parse(Statement("fraud", made.candidate, made).payload, type(made)).predicate
    assert said.shift is not None and said.shift.ks == "0.9000"
    assert verify(said).outcome == "PASS"
    for changed in (
        replace(said.shift, psi="0.0001"),
        replace(said.shift, ks="0.0000"),
        replace(said.shift, candidate=said.shift.incumbent),
    ):
        with pytest.raises(ShadowError) as refused:
            verify(replace(said, shift=changed))
        assert refused.value.reason == "verdict_differs"
    # More scores than pairs.
    with pytest.raises(ShadowError):
        verify(predicate(run.report(LATER), run.judge(LATER), frame))


@pytest.mark.parametrize(
    ("incumbent", "candidate"), [((1, 2, 3), (1, 2)), ((1, 2), (1, 3)), ((0, 0), (0, 0))]
)
def test_bins_that_contradict_each_other_are_no_report(
    incumbent: tuple[int, ...], candidate: tuple[int, ...]
) -> None:
    with pytest.raises(GovernanceError) as refused:
        Told(("0.5",), incumbent, candidate, "0.0000", "0.0000")
    assert refused.value.reason == "bad_counts"
