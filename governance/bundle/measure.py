"""Latency and cost from the load generator's own report, in exact decimal arithmetic.

The report (`sluicegate-loadgen`, every field in bench/loadgen/src/report.rs) goes into the bundle
as it was written; who verifies the bundle derives the same figures from it again.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from governance.bundle.errors import BundleError
from governance.bundle.measured import Bin, Cost, Quantiles, Run, Serving

FORMULA = (
    "per_million = price_per_core_hour * server_cores * 1000000 / (3600 * decisions_per_second); "
    "decisions_per_second are rows answered OK a second in the named run, over all server_cores"
)
_HOUR = 3600
_MILLION = 1_000_000


def read_run(data: bytes, path: str, model: str) -> Run:
    """What a report says, as the bundle tells it.

    Args:
        data: the report's bytes.
        path: where the bundle keeps it, `measurements/NAME.json`.
        model: the digest of the model that was measured.

    Raises:
        BundleError: `bad_measurement`, if it is no report of sluicegate-loadgen.

    """
    report = _object(data, path)
    try:
        if report["tool"] != "sluicegate-loadgen":
            raise ValueError("it is another tool's")
        latency = report["latency_us"] or {}
        return Run(
            model=model,
            report=path,
            arrival=report["mode"],
            rate=None if report["rate"] is None else spell(report["rate"], 3),
            rows=int(report["rows"]),
            connections=int(report["connections"]),
            deadline_us=None if report["deadline_us"] is None else int(report["deadline_us"]),
            seconds=spell(report["duration_s"], 3),
            sent=int(report["sent"]),
            ok=int(report["ok"]),
            late=int(report["late"]),
            decisions_per_second=spell(report["decisions_per_s"], 3),
            latency_us=Quantiles(
                int(latency.get("count") or 0),
                *(_maybe(latency.get(name)) for name in ("p50", "p90", "p99", "p999")),
            ),
            histogram=tuple(
                Bin(spell(bound, 3), int(count)) for bound, count in report["histogram_us"]
            ),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error


def check_runs(files: Mapping[str, bytes], said: Serving) -> Iterator[Run]:
    """Derive every run again from its raw report; each that is the same.

    Raises:
        BundleError: `missing_measurement` or `measurement_differs`.

    """
    for run in said.runs:
        if run.report not in files:
            raise BundleError("missing_measurement", f"{run.report} is not in the bundle")
        if read_run(files[run.report], run.report, run.model) != run:
            raise BundleError("measurement_differs", f"serving.json differs from {run.report}")
        yield run


def cost(run: Run, price_per_core_hour: str, server_cores: str, currency: str) -> Cost:
    """What a million decisions cost at the rate of a run.

    price per core and hour * cores * 1,000,000 / (3,600 * decisions a second), rounded to six
    places. It counts the server's cores for the whole time, busy or not, and nothing else: no
    memory, no network, no people.

    Raises:
        BundleError: `bad_measurement`: the run answered nothing, or a number is none.

    """
    try:
        rate, price = Fraction(run.decisions_per_second), Fraction(price_per_core_hour)
        cores = Fraction(server_cores)
        each = price * cores * _MILLION / (_HOUR * rate)
    except (ValueError, ZeroDivisionError) as error:
        raise _bad(run.report, str(error)) from error
    told = Decimal(each.numerator) / Decimal(each.denominator)
    return Cost(FORMULA, server_cores, price_per_core_hour, currency, spell(told, 6), run.report)


def spell(value: Any, places: int) -> str:
    """A number as text with at most so many places, without zeros at its end.

    Raises:
        ArithmeticError: it is not a number.

    """
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise InvalidOperation(f"{value!r} is not a number")
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    # Adding nothing makes 0 of -0.
    text = f"{rounded + 0:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _maybe(value: Any) -> str | None:
    return None if value is None else spell(value, 3)


def _object(data: bytes, path: str) -> Mapping[str, Any]:
    try:
        # Binary floating point would make the last digit a matter of the machine.
        found = json.loads(data, parse_float=Decimal)
    except ValueError as error:
        raise _bad(path, str(error)) from error
    if not isinstance(found, dict):
        raise _bad(path, "it is no JSON object")
    return found


def _bad(path: str, why: str) -> BundleError:
    return BundleError(
        "bad_measurement",
        f"{path}: {why}",
        expected="a report of sluicegate-loadgen",
        remedy="measure again and give the file that it writes",
    )
