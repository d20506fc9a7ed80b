"""E-values: evidence against a hypothesis that may be looked at after every single observation.

An e-process E starts at 1 and, if the hypothesis is true, is not expected to grow, whatever came
before. Ville's inequality (1939) then bounds the chance that it EVER reaches 1/alpha by alpha; so
there is nothing to correct for peeking. Every function depends on counts alone, so that a report
carries integers and anybody can compute the same again. All work is in natural logarithms.

Sources: Ville 1939; Robbins 1970 and Howard, Ramdas, McAuliffe, Sekhon 2021 (mixtures and
confidence sequences); Ramdas, Grunwald, Vovk, Shafer 2023 (e-values); McNemar 1947.
"""

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction

from governance.shadow.errors import ShadowError

PASS_GRID = tuple(Fraction(c, 100) for c in (0, 5, 10, 15, 20, 25, 35, 50, 65, 80))
"""Alternatives below the limit, as shares of it; equal weights.

Any grid keeps the error bound; this one is dense where good candidates are. At a tenth of the limit
of 0.5% and alpha 0.5%, it passes within 2,600 pairs in 90.3 of 100 runs; an even grid of twelve
shares from 0 to 0.9 needs 2,850 for nine in ten.
"""
FAIL_GRID = tuple(Fraction(c, 100) for c in (110, 125, 150, 200, 300, 500, 1000, 2000, 5000))
"""Alternatives above the limit, as multiples of it; those of 1 and more are left out."""
SIGN_GRID = tuple(Fraction(p, 100) for p in (55, 60, 65, 70, 75, 80, 85, 90, 95, 99))
"""Chances of a good window, all above one half; equal weights."""

# A verdict must not hang on the last bits of a logarithm: evidence has to exceed its bound by this.
SLACK = 1e-9
MOST_PAIRS = 10**9


def log_e_below(n: int, d: int, limit: Fraction) -> float:
    """Evidence that a rate is below `limit`, from `d` events in `n` observations.

    Hypothesis: every observation is an event with a chance of at least `limit`, given the past.
    E = mean over c in PASS_GRID of (q/limit)^d ((1-q)/(1-limit))^(n-d) with q = c * limit.

    Raises:
        ShadowError: counts or limit are impossible.

    """
    _check(n, d, limit)
    return _mixture(n, d, [c * limit for c in PASS_GRID], limit)


def log_e_above(n: int, d: int, limit: Fraction) -> float:
    """Evidence that a rate is above `limit`: the mirror image, over FAIL_GRID.

    Hypothesis: every observation is an event with a chance of at most `limit`, given the past.

    Raises:
        ShadowError: counts or limit are impossible.

    """
    _check(n, d, limit)
    rates = [c * limit for c in FAIL_GRID if c * limit < 1] or [(1 + limit) / 2]
    return _mixture(n, d, rates, limit)


def log_e_mostly(windows: int, good: int) -> float:
    """Evidence that more than half of all windows are good (a sign test).

    E = mean over p in SIGN_GRID of (2p)^good (2(1-p))^(windows-good).

    Raises:
        ShadowError: the counts are impossible.

    """
    half = Fraction(1, 2)
    _check(windows, good, half)
    return _mixture(windows, good, SIGN_GRID, half)


def log_e_mostly_not(windows: int, good: int) -> float:
    """Evidence that less than half of all windows are good."""
    return log_e_mostly(windows, windows - good)


def log_e_mcnemar(b: int, c: int) -> float:
    """Evidence that two models err unequally often, from pairs in which exactly one errs.

    `b`: only the candidate was wrong; `c`: only the incumbent. E = B(b+1, c+1) 2^(b+c), the
    uniform mixture over the chance that an unequal pair goes against the candidate.

    Raises:
        ShadowError: a count is negative.

    """
    if b < 0 or c < 0:
        raise ShadowError("bad_counts", f"{b} and {c} are not counts")
    return _log_beta(b + 1, c + 1) + (b + c) * math.log(2)


def log_e_fewer_wrong(b: int, c: int) -> float:
    """McNemar's evidence as far as it speaks for the candidate: at most 1 where it errs as often.

    That E ever reaches 1/alpha with b < c is the walk b - c crossing a lower bound, which is the
    less likely the more often the candidate is wrong: so it bounds the one-sided error as well.
    """
    log_e = log_e_mcnemar(b, c)
    return log_e if b < c else min(log_e, 0.0)


def mcnemar_needed(b: int, c: int, alpha: Fraction, most: int = 1_000_000) -> int | None:
    """Estimate how many more unequal pairs show that the candidate errs less often.

    None if it is not expected at the share seen so far.
    """
    if b >= c:
        return None
    share = b / (b + c)

    def enough(more: int) -> bool:
        one, other = b + share * more, c + (1 - share) * more
        return reaches(_log_beta(one + 1, other + 1) + (one + other) * math.log(2), alpha)

    return _least(enough, most)


def reaches(log_e: float, alpha: Fraction) -> bool:
    """Whether the evidence is at least 1/alpha, with a slack that no rounding can bridge."""
    return log_e >= -math.log(alpha) + SLACK


def confidence_sequence(n: int, d: int, alpha: Fraction) -> tuple[float, float]:
    """Interval for a rate that covers it at all times at once with probability 1 - alpha.

    All q with B(a+d, b+n-d) / B(a, b) < q^d (1-q)^(n-d) / alpha, the prior Beta(a=1/2, b=199/2).
    Robbins' mixture; for reports, not for decisions.

    Raises:
        ShadowError: the counts are impossible.

    """
    _check(n, d, Fraction(1, 2))
    if n == 0:
        return 0.0, 1.0
    a, b = 0.5, 99.5
    bound = _log_beta(a + d, b + n - d) - _log_beta(a, b) + math.log(alpha)

    def inside(q: float) -> bool:
        return _log_likelihood(n, d, q) > bound

    peak = min(max(d / n, 1e-12), 1 - 1e-12)
    low = 0.0 if d == 0 else _edge(inside, peak, 0.0)
    high = 1.0 if d == n else _edge(inside, peak, 1.0)
    return low, high


def pairs_needed(
    n: int, d: int, limit: Fraction, alpha: Fraction, most: int = 10_000_000
) -> int | None:
    """Estimate how many more observations bring E to 1/alpha if the rate stays as seen so far.

    With few events seen it is hopeful. None if it is not expected within `most`.
    """
    rates = [float(c * limit) for c in PASS_GRID]
    return _needed(n, d, rates, float(limit), alpha, most)


def windows_needed(windows: int, good: int, alpha: Fraction, most: int = 100_000) -> int | None:
    """Estimate how many more windows show that most are good; None if that is not expected.

    Before the first window it is told for good ones only.
    """
    rates = [float(p) for p in SIGN_GRID]
    return _needed(windows, good if windows else 0, rates, 0.5, alpha, most, windows == 0)


def _needed(
    n: int,
    d: int,
    rates: Sequence[float],
    base: float,
    alpha: Fraction,
    most: int,
    all_events: bool = False,
) -> int | None:
    rate = 1.0 if all_events else (d / n if n else 0.0)

    def enough(more: int) -> bool:
        logs = [_log_ratio(n + more, d + rate * more, q, base) for q in rates]
        return reaches(_log_mean_exp(logs), alpha)

    return _least(enough, most)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """Find the least number that is enough, up to `most`, by halving; None if there is none."""
    if enough(0):
        return 0
    if not enough(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def e_text(log_e: float) -> str:
    """Write log10 E with four decimals, rounded down: nobody passes by rounding."""
    if log_e == -math.inf:
        return "-inf"
    return str((Decimal(log_e) / Decimal(math.log(10))).quantize(Decimal("0.0001"), ROUND_FLOOR))


def rate_text(rate: float, up: bool) -> str:
    """Write a rate with six decimals, an upper bound rounded up, a lower one down."""
    return str(Decimal(rate).quantize(Decimal("0.000001"), ROUND_CEILING if up else ROUND_FLOOR))


def _check(n: int, d: int, limit: Fraction) -> None:
    if not 0 <= d <= n <= MOST_PAIRS:
        raise ShadowError("bad_counts", f"{d} events in {n} observations cannot be")
    if not 0 < limit < 1:
        raise ShadowError("bad_limit", f"a limit lies between 0 and 1, not at {limit}")


def _mixture(n: int, d: int, rates: Sequence[Fraction], limit: Fraction) -> float:
    base = float(limit)
    return _log_mean_exp([_log_ratio(n, d, float(q), base) for q in rates])


def _log_ratio(n: float, d: float, q: float, limit: float) -> float:
    """Log of (q/limit)^d ((1-q)/(1-limit))^(n-d)."""
    misses = (n - d) * (math.log1p(-q) - math.log1p(-limit)) if n > d else 0.0
    if d <= 0:
        return misses
    return -math.inf if q == 0 else d * math.log(q / limit) + misses


def _log_mean_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(x - top) for x in logs) / len(logs))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(n: int, d: int, q: float) -> float:
    hits = d * math.log(q) if d and q > 0 else (-math.inf if d else 0.0)
    misses = (n - d) * math.log1p(-q) if n > d and q < 1 else (-math.inf if n > d else 0.0)
    return hits + misses


def _edge(inside: Callable[[float], bool], good: float, bad: float) -> float:
    """Where `inside` ends between a point inside and one outside; the outer side is given."""
    for _ in range(200):
        middle = (good + bad) / 2
        if middle in (good, bad):
            break
        good, bad = (middle, bad) if inside(middle) else (good, middle)
    return bad
