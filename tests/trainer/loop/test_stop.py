"""When the loop goes on and when it stops: each condition by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.loop.stop import compare, must_stop
from trainer.loop.types import Best, Spent, Tried
from trainer.spec.spec import Data, Evaluate, Spec, Stop

SPEC = Spec("x", Data(), Evaluate(), stop=Stop(patience=2, improvement=0.01, divergence=0.05))
BEST = Best(model="good", score=0.8, round=0)


def tried(model: str = "new") -> Tried:
    return Tried(1, "boosting", {}, False, 0.8, model, "folds", 0.5, 0.0, True, "", 1.0)


def test_the_first_that_fits_is_the_best() -> None:
    found = compare(SPEC, 0, Best(), tried(), 0.6, Spent())
    assert (found.best.model, found.improved, found.spent.stale) == ("new", True, 0)


def test_a_gain_resets_patience() -> None:
    found = compare(SPEC, 3, BEST, tried(), 0.82, Spent(stale=1, diverged=1))
    assert (found.best.model, found.spent.stale, found.spent.diverged) == ("new", 0, 0)


def test_a_gain_that_is_too_small_is_kept_but_costs_patience() -> None:
    found = compare(SPEC, 1, BEST, tried(), 0.805, Spent())
    assert (found.best.model, found.improved, found.spent.stale) == ("new", False, 1)


def test_a_small_loss_leaves_the_best() -> None:
    found = compare(SPEC, 1, BEST, tried(), 0.78, Spent())
    assert (found.best.model, found.taken_back, found.spent.diverged) == ("good", False, 0)


def test_a_fall_is_taken_back_to_the_last_good_one() -> None:
    found = compare(SPEC, 1, BEST, tried(), 0.7, Spent())
    assert (found.best, found.taken_back, found.spent.diverged) == (BEST, True, 1)
    assert "back to the last good one" in found.reason


def test_a_round_that_fits_nothing_leaves_the_best() -> None:
    found = compare(SPEC, 1, BEST, None, float("nan"), Spent())
    assert (found.best, found.spent.stale, found.spent.diverged) == (BEST, 1, 1)


def test_more_surplus_is_better() -> None:
    surplus = replace(SPEC, task="shading")
    assert compare(surplus, 1, Best(score=100.0), tried(), 101.0, Spent()).improved


@pytest.mark.parametrize(
    ("spent", "round_", "kind"),
    [
        (Spent(), 0, None),
        (Spent(stale=2), 0, "patience"),
        (Spent(diverged=2), 0, "divergence"),
        (Spent(trials=40), 0, "trials"),
        (Spent(seconds=3600.0), 0, "seconds"),
        (Spent(), 5, "rounds"),
    ],
)
def test_each_condition_stops_by_its_name(spent: Spent, round_: int, kind: str | None) -> None:
    found = must_stop(SPEC, round_, spent)
    assert (found[0] if found else None) == kind
