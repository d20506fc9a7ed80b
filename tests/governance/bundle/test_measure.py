"""Latency and cost from a load report: exact, and the same wherever they are derived."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.bundle.errors import BundleError
from governance.bundle.measure import cost, read_run, spell
from tests.governance.bundle.evidence import load_report
from tests.governance.signing import CANDIDATE

PATH = "measurements/a.json"


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(load_report(80.0, 3000.0)) | fields).encode()


def test_a_report_is_told_in_decimals_as_it_was_measured() -> None:
    run = read_run(load_report(81.25, 2999.9), PATH, CANDIDATE)
    assert (run.latency_us.p50, run.latency_us.p99) == ("81.25", "182.812")
    assert (run.rate, run.decisions_per_second, run.arrival) == ("3000", "2999.9", "open")
    assert sum(each.answers for each in run.histogram) == 420 * 214


def test_a_quantile_of_too_few_samples_is_left_out() -> None:
    run = read_run(changed(latency_us={"count": 9, "p50": None}), PATH, CANDIDATE)
    assert (run.latency_us.count, run.latency_us.p50, run.latency_us.p999) == (9, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{",
        changed(tool="ab"),
        changed(decisions_per_s="many"),
        changed(decisions_per_s=True),
        changed(latency_us=7),
        changed(histogram_us=[1]),
        changed(rows=None),
    ],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError) as refused:
        read_run(data, PATH, CANDIDATE)
    assert refused.value.reason == "bad_measurement"


def test_cost_is_price_times_cores_over_decisions() -> None:
    run = read_run(load_report(400.0, 100_000.0, rate=None), PATH, CANDIDATE)
    # 0.36 an hour and core are 0.0001 a second; two cores; ten seconds for a million.
    assert cost(run, "0.36", "2", "EUR").per_million == "0.002"


@given(st.integers(1, 10**7), st.integers(1, 10**4), st.integers(1, 64))
def test_cost_is_exact_to_six_places(rate: int, cents: int, cores: int) -> None:
    run = read_run(changed(decisions_per_s=rate), PATH, CANDIDATE)
    told = Fraction(cost(run, f"{Decimal(cents) / 100}", str(cores), "USD").per_million)
    exact = Fraction(cents, 100) * cores * 10**6 / (3600 * rate)
    assert abs(told - exact) <= Fraction(1, 2 * 10**6)


@pytest.mark.parametrize(("price", "rate"), [("1", 0.0), ("free", 10.0)])
def test_a_cost_of_nothing_measured_is_refused(price: str, rate: float) -> None:
    run = read_run(changed(decisions_per_s=rate), PATH, CANDIDATE)
    with pytest.raises(BundleError) as refused:
        cost(run, price, "1", "EUR")
    assert refused.value.reason == "bad_measurement"


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0"), ("1.500", "1.5"), ("1000", "1000"), ("-0.0001", "0"), ("2.0005", "2")],
)
def test_numbers_have_one_spelling(value: str, text: str) -> None:
    assert spell(Decimal(value), 3) == text
