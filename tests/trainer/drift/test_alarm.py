"""The alarm's rate on quiet traffic is at most the stated one, and a shift is found."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.drift.alarm import BETS, Detector, bets_on
from trainer.drift.look import look, psi
from trainer.errors import InputError


def quiet(seed: int, n: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


def test_every_bet_has_the_mean_1_on_uniform_ranks() -> None:
    p = (np.arange(100_000) + 0.5) / 100_000
    found = bets_on(p)
    assert found.shape == (100_000, BETS)
    assert np.allclose(found.mean(axis=0), 1, atol=1e-4)
    assert (found > 0).all()


def test_ranks_of_quiet_traffic_are_uniform_even_with_ties() -> None:
    detector = Detector.on(np.round(quiet(1), 1), ("a", "b"), every=1e12)
    ranks = np.concatenate([detector._ranks(np.round(quiet(2 + i, 64), 1)) for i in range(60)])
    for column in ranks.T:
        counts = np.histogram(column, bins=10, range=(0, 1))[0] / len(column)
        assert np.abs(counts - 0.1).max() < 0.02


def test_false_alarms_come_no_more_often_than_stated() -> None:
    every, length, runs = 2000.0, 500, 120
    alarms = sum(
        Detector.on(quiet(2 * i), ("a", "b"), every=every, seed=i).feed(quiet(2 * i + 1, length))
        is not None
        for i in range(runs)
    )
    # Within `length` at most length / every of the runs are expected to alarm: 30 of 120.
    assert alarms <= 30


def test_a_shift_is_found_soon_and_its_column_named() -> None:
    detector = Detector.on(quiet(1, 2000), ("a", "b"), every=10_000)
    assert detector.feed(quiet(2, 300)) is None
    found = detector.feed(quiet(3, 1000) + np.array([0.0, 1.0]))
    assert found is not None
    assert found.column == "b"
    assert 300 < found.at < 450
    assert found.evidence >= 10_000
    assert found.since <= 200


def test_a_column_that_becomes_wider_or_missing_is_found() -> None:
    wider = Detector.on(quiet(1, 2000), ("a", "b"), every=10_000)
    assert wider.feed(quiet(2, 2000) * np.array([3.0, 1.0])) is not None
    missing = Detector.on(quiet(1, 2000), ("a", "b"), every=10_000)
    rows = quiet(2, 400)
    rows[::4, 0] = np.nan
    found = missing.feed(rows)
    assert found is not None
    assert found.column == "a"


def test_blocks_of_any_size_give_the_same_alarm() -> None:
    rows = quiet(3, 640) + 0.5
    one = Detector.on(quiet(1), ("a", "b"), every=5000)
    other = Detector.on(quiet(1), ("a", "b"), every=5000)
    first = one.feed(rows)
    for at in range(0, 640, 64):
        other.feed(rows[at : at + 64])
    assert first is not None
    assert other.alarm == first


def test_a_reference_that_tells_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="must have 200 rows and 2 columns"):
        Detector.on(quiet(1, 50), ("a", "b"), every=10)
    with pytest.raises(InputError, match="must hold finite numbers"):
        Detector.on(np.full((300, 2), np.nan), ("a", "b"), every=10)
    detector = Detector.on(quiet(1), ("a", "b"), every=10)
    with pytest.raises(InputError, match="must have 2 columns"):
        detector.feed(np.zeros((3, 5)))


def test_the_index_of_stability_is_nothing_for_equals_and_known_for_a_known_shift() -> None:
    values = np.arange(1000.0)
    assert psi(values, values) == pytest.approx(0, abs=1e-9)
    halves = np.r_[np.repeat(0.0, 500), np.repeat(1.0, 500)]
    moved = np.r_[np.repeat(0.0, 250), np.repeat(1.0, 750)]
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert psi(halves, moved) == pytest.approx(expected)


def test_the_column_that_moved_most_is_looked_at_first() -> None:
    found = look(quiet(1), quiet(2) + np.array([0.0, 2.0]), ("a", "b"))
    assert found[0].column == "b"
    assert found[0].psi > 0.25 > found[1].psi
    assert found[0].p < 1e-6
