"""E-values against published numbers, against exact arithmetic, and against simulated peeking."""

import math
import random
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.shadow import evalue
from governance.shadow.errors import ShadowError

LIMIT = Fraction("0.005")
SMALL = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (max(p), min(p)))


def exact(n: int, d: int, rates: list[Fraction], base: Fraction) -> Fraction:
    """The same mixture in whole-number arithmetic."""
    terms = [(q / base) ** d * ((1 - q) / (1 - base)) ** (n - d) for q in rates]
    return sum(terms, Fraction(0)) / len(terms)


def agrees(log_e: float, value: Fraction) -> bool:
    if value == 0:
        return log_e == -math.inf
    log = math.log(value.numerator) - math.log(value.denominator)
    return math.isclose(log_e, log, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(("alpha", "n"), [("0.05", 758), ("0.01", 1125), ("0.005", 1280)])
def test_pairs_that_pass_without_any_disagreement(alpha: str, n: int) -> None:
    needed = Fraction(alpha)
    assert evalue.reaches(evalue.log_e_below(n, 0, LIMIT), needed)
    assert not evalue.reaches(evalue.log_e_below(n - 1, 0, LIMIT), needed)
    assert evalue.pairs_needed(0, 0, LIMIT, needed) == n


@given(SMALL, st.sampled_from(["0.005", "0.01", "0.2", "0.5"]))
def test_evidence_is_that_of_exact_arithmetic(counts: tuple[int, int], limit: str) -> None:
    n, d = counts
    base = Fraction(limit)
    below = exact(n, d, [c * base for c in evalue.PASS_GRID], base)
    rates = [c * base for c in evalue.FAIL_GRID if c * base < 1]
    assert agrees(evalue.log_e_below(n, d, base), below)
    assert agrees(evalue.log_e_above(n, d, base), exact(n, d, rates, base))
    half = Fraction(1, 2)
    mostly = exact(n, d, list(evalue.SIGN_GRID), half)
    assert agrees(evalue.log_e_mostly(n, d), mostly)
    assert agrees(evalue.log_e_mostly_not(n, n - d), mostly)


@given(st.integers(0, 40), st.sampled_from(["0.005", "0.1", "0.5"]))
def test_at_the_limit_evidence_is_not_expected_to_grow(n: int, limit: str) -> None:
    """The supermartingale property, exactly: the mean of E over all d is 1."""
    q = Fraction(limit)
    for rates in (
        [c * q for c in evalue.PASS_GRID],
        [c * q for c in evalue.FAIL_GRID if c * q < 1],
    ):
        mean = sum(
            math.comb(n, d) * q**d * (1 - q) ** (n - d) * exact(n, d, rates, q)
            for d in range(n + 1)
        )
        assert mean == 1


def test_confidence_sequence_is_the_published_one() -> None:
    low, high = evalue.confidence_sequence(10_000, 20, Fraction("0.05"))
    assert (round(low, 5), round(high, 4)) == (0.00089, 0.0038)


@given(SMALL)
def test_confidence_sequence_holds_the_rate_seen(counts: tuple[int, int]) -> None:
    n, d = counts
    low, high = evalue.confidence_sequence(n, d, Fraction("0.05"))
    assert 0 <= low <= (d / n if n else 0.5) <= high <= 1


def test_mcnemars_evidence_is_the_published_one() -> None:
    assert round(math.exp(evalue.log_e_mcnemar(30, 10)), 1) == 31.6
    assert round(math.exp(evalue.log_e_mcnemar(20, 20)), 2) == 0.19


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_evidence_is_that_of_exact_arithmetic(b: int, c: int) -> None:
    value = Fraction(2 ** (b + c), (b + c + 1) * math.comb(b + c, b))
    assert agrees(evalue.log_e_mcnemar(b, c), value)


def test_nobody_passes_by_rounding() -> None:
    bound = -math.log(0.01)
    assert not evalue.reaches(bound, Fraction("0.01"))
    assert evalue.reaches(bound + 2e-9, Fraction("0.01"))
    assert evalue.e_text(math.log(10) * 1.99999) == "1.9999"
    assert evalue.e_text(math.log(10) * -0.00001) == "-0.0001"
    assert evalue.e_text(-math.inf) == "-inf"
    assert (evalue.rate_text(1e-9, up=True), evalue.rate_text(1e-9, up=False)) == (
        "0.000001",
        "0.000000",
    )


@pytest.mark.parametrize(("n", "d"), [(10**9, 0), (10**9, 10**6), (10**9, 10**9), (1, 1), (0, 0)])
def test_great_counts_neither_overflow_nor_turn_into_nan(n: int, d: int) -> None:
    for value in (
        evalue.log_e_below(n, d, LIMIT),
        evalue.log_e_above(n, d, LIMIT),
        evalue.log_e_mostly(n, d),
        *evalue.confidence_sequence(n, d, Fraction("0.01")),
    ):
        assert not math.isnan(value) and value < math.inf


@pytest.mark.parametrize(("n", "d"), [(1, 2), (-1, 0), (5, -1), (10**10, 0)])
def test_impossible_counts_are_refused(n: int, d: int) -> None:
    for compute in (evalue.log_e_below, evalue.log_e_above):
        with pytest.raises(ShadowError) as refused:
            compute(n, d, LIMIT)
        assert refused.value.reason == "bad_counts"
    with pytest.raises(ShadowError):
        evalue.confidence_sequence(n, d, LIMIT)


def test_impossible_limits_and_pairs_are_refused() -> None:
    with pytest.raises(ShadowError) as refused:
        evalue.log_e_below(1, 0, Fraction(1))
    assert refused.value.reason == "bad_limit"
    with pytest.raises(ShadowError) as negative:
        evalue.log_e_mcnemar(-1, 0)
    assert negative.value.reason == "bad_counts"


def test_estimates_end_where_the_evidence_does() -> None:
    alpha = Fraction("0.005")
    more = evalue.pairs_needed(500, 0, LIMIT, alpha)
    assert more is not None
    assert evalue.reaches(evalue.log_e_below(500 + more, 0, LIMIT), alpha)
    assert evalue.pairs_needed(5000, 0, LIMIT, alpha) == 0
    assert evalue.pairs_needed(1000, 10, LIMIT, alpha) is None
    assert evalue.windows_needed(0, 0, alpha) == 10
    assert evalue.windows_needed(20, 4, alpha) is None


def test_looking_after_every_pair_seldom_passes_what_is_at_the_limit() -> None:
    """A naive bound at the same level would pass a third of these runs."""
    chance = random.Random(11)  # noqa: S311
    alpha = Fraction("0.05")
    passes = 0
    least = [0]
    for d in range(60):
        n = max(least[-1], d)
        while not evalue.reaches(evalue.log_e_below(n, d, LIMIT), alpha):
            n += 1
        least.append(n)
    bounds = least[1:]
    for _ in range(400):
        gaps = (int(math.log(chance.random()) / math.log(0.995)) for _ in range(60))
        # Just before disagreement number d + 1 the pairs so far are all but it.
        reached = accumulate(gap + 1 for gap in gaps)
        passes += any(n - 1 >= bounds[d] for d, n in enumerate(reached))
    assert 0 < passes <= 0.05 * 400 + 9


def test_a_fine_candidate_passes_soon_enough() -> None:
    """Exactly, not by chance: at a tenth of the limit, half by 1,400 pairs, 90% by 2,600."""
    alpha, rate = Fraction("0.005"), 0.0005
    alive, passed, shares = {0: 1.0}, 0.0, {}
    for n in range(1, 2601):
        after: dict[int, float] = {}
        for d, share in alive.items():
            after[d] = after.get(d, 0.0) + share * (1 - rate)
            if d < 12:
                after[d + 1] = after.get(d + 1, 0.0) + share * rate
        if n >= 1280:
            for d in [d for d in after if evalue.reaches(evalue.log_e_below(n, d, LIMIT), alpha)]:
                passed += after.pop(d)
        alive = after
        shares[n] = passed
    assert shares[1400] >= 0.5
    assert shares[2600] >= 0.9
