"""The live model unharmed by a shadow: from windows in turns, or not at all."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from governance.bundle import folder, harm
from governance.bundle.errors import BundleError
from governance.bundle.measure import check_runs, read_run
from governance.bundle.measured import Run, Serving
from governance.errors import GovernanceError
from tests.governance.bundle.evidence import load_report
from tests.governance.service.stage import Stage, short_policy
from tests.governance.service.test_evidence import Strict, add_report
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL


def window(name: str, number: int, p50: float, model: str, rate: float | None = 500.0) -> Any:
    path = f"measurements/{name}-shadow-{number}.json"
    data = load_report(p50, 500.0, rate=rate)
    return read_run(data, path, model), data


def windows(without: list[float], shadowed: list[float], model: str = INCUMBENT) -> Serving:
    runs: dict[str, tuple[Run, ...]] = {}
    for name, each in (("without", without), ("with", shadowed)):
        runs[name] = tuple(window(name, n, p50, model)[0] for n, p50 in enumerate(each, 1))
    return Serving(without_shadow=runs["without"] or None, with_shadow=runs["with"] or None)


def reason(said: Serving, incumbent: str = INCUMBENT, limit: str = "1.05") -> str:
    with pytest.raises(BundleError) as refused:
        harm.check(said, incumbent, limit)
    return refused.value.reason


def test_the_figure_is_the_median_over_neighbouring_windows() -> None:
    # One window in which the machine stood still decides nothing.
    said = windows([80, 160, 80, 80, 80], [82, 164, 800, 82, 80])
    assert abs(harm.harm(said) - Fraction(82, 80)) < Fraction(1, 1000)
    assert harm.check(said, INCUMBENT, "1.05") == harm.harm(said)


def test_a_shadow_that_harms_is_refused() -> None:
    assert reason(windows([80, 80, 80], [90, 90, 90])) == "incumbent_harmed"
    assert harm.check(windows([80, 80, 80], [84, 84, 84]), INCUMBENT, "1.06") > 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Serving(), "missing:serving.withShadow"),
        (windows([80, 80, 80], []), "missing:serving.withShadow"),
        (windows([80, 80], [80, 80]), "too_few_windows"),
        (windows([80, 80, 80, 80], [80, 80, 80]), "too_few_windows"),
        (windows([80, 80, 80], [80, 80, 80], model=CANDIDATE), "other_incumbent"),
    ],
)
def test_what_shows_nothing_is_refused_for_its_own_reason(said: Serving, expected: str) -> None:
    assert reason(said) == expected


def test_windows_of_another_load_show_nothing() -> None:
    said = windows([80, 80, 80], [80, 80, 80])
    assert said.with_shadow is not None
    lower = replace(said.with_shadow[0], rate="50")
    assert reason(replace(said, with_shadow=(lower, *said.with_shadow[1:]))) == "other_load"
    closed = tuple(replace(run, arrival="closed", rate=None) for run in said.with_shadow)
    assert reason(Serving(without_shadow=closed, with_shadow=closed)) == "other_load"
    silent = replace(said.with_shadow[0], latency_us=replace(closed[0].latency_us, p99=None))
    assert reason(replace(said, with_shadow=(silent, *said.with_shadow[1:]))) == "no_quantile"


def test_a_window_that_its_raw_report_does_not_give_is_found() -> None:
    said, data = window("with", 1, 80, INCUMBENT)
    better = replace(said, latency_us=replace(said.latency_us, p99="1"))
    with pytest.raises(BundleError) as refused:
        list(check_runs({said.report: data}, Serving(with_shadow=(better,))))
    assert refused.value.reason == "measurement_differs"


class Careful(Strict):
    """A gateway whose policy asks that the shadow harm nobody, and for no other evidence."""

    def classes(self) -> dict[str, Any]:
        classes = super().classes()
        for told in classes.values():
            told["evidence"], told["harm_limit"] = [], "1.05"
        return classes


@pytest.fixture
def careful(tmp_path: Path) -> Careful:
    return Careful(tmp_path)


def measured(careful: Careful, root: Path, shadowed: float) -> None:
    """The bundle grows by windows of the live model."""
    serving = folder.open_bundle(root).group(Serving)
    files: dict[str, bytes] = {}
    runs: dict[str, tuple[Run, ...]] = {}
    for name, p50 in (("without", 80.0), ("with", shadowed)):
        made = [window(name, number, p50, careful.digests[0]) for number in (1, 2, 3)]
        files |= {run.report: data for run, data in made}
        runs[name] = tuple(run for run, _ in made)
    grown = replace(serving, without_shadow=runs["without"], with_shadow=runs["with"])
    folder.add(root, {"serving": grown}, files=files)


def refusal(careful: Careful) -> str:
    with pytest.raises(GovernanceError) as refused:
        careful.promote()
    return refused.value.reason


def test_a_promotion_asks_for_what_the_policy_asks(careful: Careful) -> None:
    root = careful.passed()
    assert refusal(careful) == "missing:serving.withShadow"
    measured(careful, root, 90.0)
    assert refusal(careful) == "incumbent_harmed"


def test_a_shadow_that_harmed_nobody_is_promoted(careful: Careful) -> None:
    root = careful.passed()
    add_report(careful, root)
    measured(careful, root, 82.0)
    careful.promote()
    assert careful.stage.live() == (careful.digests[1],) * 3


def test_a_first_model_has_nobody_to_harm(careful: Careful) -> None:
    # Made live when the gateway was made.
    assert careful.stage.live() == (careful.digests[0],) * 3
    assert isinstance(careful.stage, Stage) and short_policy().risk_class(MODEL).harm_limit is None
