"""The verdict of an evaluation, derived again from its table of figures.

A metric with a threshold holds if the bound of its interval that is worse reaches the threshold:
`low` where more is better, `high` where less is. Regressions hold if there are no more of them than
were allowed before the run. All must hold in the one run that the table is of.
"""

from collections.abc import Iterator
from fractions import Fraction

from governance.attestations import Evaluation
from governance.bundle.errors import BundleError
from governance.bundle.groups import Evaluated, Metric

REGRESSIONS = "regressions"


def tests(table: Evaluated) -> dict[str, bool]:
    """Each test by its name, and whether it holds.

    Raises:
        BundleError: `no_threshold`, if nothing is asked of the candidate; `bad_interval`;
            `duplicate_metric`; `bad_regressions`, if they are not those that are named.

    """
    found: dict[str, bool] = {}
    for metric in table.metrics or ():
        _check_interval(metric)
        if metric.threshold is None:
            continue
        if metric.name in found:
            raise BundleError("duplicate_metric", f"the metric {metric.name} is gated twice")
        found[metric.name] = _holds(metric, metric.threshold)
    if not found:
        raise BundleError("no_threshold", "no metric of the evaluation has a threshold")
    if (lost := table.regressions) is not None:
        if len(set(lost.names)) != lost.regressed or lost.regressed > lost.cases:
            raise BundleError(
                "bad_regressions",
                f"{lost.regressed} of {lost.cases} cases regressed, {len(lost.names)} are named",
            )
        found[REGRESSIONS] = lost.regressed <= lost.allowed
    return found


def check_statement(statement: Evaluation, table: Evaluated, table_digest: str) -> str:
    """Check that a signed evaluation says what its table of figures gives; what it gives.

    Args:
        statement: the predicate.
        table: the document evaluation.json.
        table_digest: its digest, which the statement's configuration has to name.

    Raises:
        BundleError: `other_table`, `evaluation_differs`, or as `tests`.

    """
    named = {"sha256:" + used.digest.sha256 for used in statement.configuration}
    if table_digest not in named:
        raise BundleError(
            "other_table",
            "the signed evaluation does not name evaluation.json",
            expected=f"{table_digest} in its configuration",
        )
    for data_set in sorted({metric.data_set for metric in table.metrics or ()} - named):
        raise BundleError("other_data", f"the signed evaluation does not name data {data_set}")
    derived = tests(table)
    verdict = "PASSED" if all(derived.values()) else "FAILED"
    failed = {name for name, holds in derived.items() if not holds}
    if statement.result != verdict:
        raise BundleError(
            "evaluation_differs",
            f"the signed evaluation says {statement.result}, its figures give {verdict}",
        )
    if statement.failed_tests is not None and set(statement.failed_tests) != failed:
        raise BundleError("evaluation_differs", "other tests fail than the evaluation says")
    return "; ".join(_told(table, derived))


def _told(table: Evaluated, derived: dict[str, bool]) -> Iterator[str]:
    for metric in table.metrics or ():
        if metric.threshold is not None:
            bound, sign = (metric.low, "≥") if metric.better == "more" else (metric.high, "≤")
            word = "" if derived[metric.name] else "not "
            yield f"{metric.name}: bound {bound} is {word}{sign} {metric.threshold}"
    if table.regressions is not None:
        lost = table.regressions
        yield f"{lost.regressed} of {lost.cases} cases regressed, {lost.allowed} allowed"


def _holds(metric: Metric, threshold: str) -> bool:
    if metric.better == "more":
        return Fraction(metric.low) >= Fraction(threshold)
    return Fraction(metric.high) <= Fraction(threshold)


def _check_interval(metric: Metric) -> None:
    if not Fraction(metric.low) <= Fraction(metric.value) <= Fraction(metric.high):
        raise BundleError(
            "bad_interval",
            f"{metric.name} is {metric.value}, outside {metric.low} to {metric.high}",
        )
