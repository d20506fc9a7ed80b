"""Whether the model that answers is unharmed while another is compared with it, from its reports.

Windows of the live model without a shadow and with one alternate at one load. The figure is the
median, over pairs of neighbouring windows, of p99 with against p99 without: what drifts hits both,
and one window in which the machine stood still decides nothing.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from statistics import median
from typing import Final

from governance.bundle.errors import BundleError
from governance.bundle.measured import Run, Serving

LEAST_WINDOWS: Final = 3
REMEDY: Final = "measure in turns, and `sluicegate bundle measure --without-shadow … --with-shadow`"


def harm(serving: Serving) -> Fraction:
    """p99 of the live model with a shadow, as a multiple of that without one.

    Raises:
        BundleError: `missing:serving.withShadow`, `too_few_windows`, `other_load` or `no_quantile`.

    """
    without, shadowed = serving.without_shadow or (), serving.with_shadow or ()
    if not shadowed:
        raise BundleError(
            "missing:serving.withShadow", "nobody measured what the shadow costs", remedy=REMEDY
        )
    if len(without) != len(shadowed) or len(shadowed) < LEAST_WINDOWS:
        raise BundleError(
            "too_few_windows",
            f"{len(without)} windows without a shadow, {len(shadowed)} with one",
            expected=f"as many of each, {LEAST_WINDOWS} at least",
            remedy=REMEDY,
        )
    loads = {(run.arrival, run.rate, run.rows, run.connections) for run in (*without, *shadowed)}
    if len(loads) > 1 or without[0].arrival != "open":
        raise BundleError(
            "other_load", "the windows are not of one load with open arrivals", remedy=REMEDY
        )
    pairs = zip(_p99(without), _p99(shadowed), strict=True)
    return median(other / one for one, other in pairs)


def check(serving: Serving, incumbent: str, limit: str) -> Fraction:
    """Refuse evidence that the shadow harmed the live model by more than a limit.

    Raises:
        BundleError: `incumbent_harmed`, `other_incumbent`, or what `harm` raises.

    """
    found = harm(serving)
    for run in (*(serving.without_shadow or ()), *(serving.with_shadow or ())):
        if run.model != incumbent:
            raise BundleError(
                "other_incumbent", f"{run.report} measured {run.model}", expected=incumbent
            )
    if found > Fraction(limit):
        raise BundleError(
            "incumbent_harmed",
            f"with the shadow the live model's p99 was {float(found):.3f} times that without",
            expected=f"{limit} times at most",
            remedy="compare at a lower load, or on other cores",
        )
    return found


def _p99(runs: Sequence[Run]) -> Iterator[Fraction]:
    for run in runs:
        told = run.latency_us.p99
        if told is None or Fraction(told) <= 0:
            raise BundleError("no_quantile", f"{run.report} has too few answers for a p99")
        yield Fraction(told)
