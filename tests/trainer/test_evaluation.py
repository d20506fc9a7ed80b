"""Suites, bounds, leaks, metrics: each by a case that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer import archive, codec
from trainer.errors import InputError
from trainer.evaluation import suite as suites
from trainer.evaluation.bounds import bound, difference
from trainer.evaluation.leaks import clear_of, scan
from trainer.evaluation.metrics import (
    Scored,
    average_precision,
    calibration_error,
    measure,
    precision_at,
)
from trainer.evaluation.split import CORE, HELD_OUT, TRAIN, sides
from trainer.examples import Examples, of_rows, of_texts
from trainer.loop.diagnose import clusters_of, lower
from trainer.quality import Costs
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Data, Evaluate, Spec

COSTS = Costs(5.0, 1.0)


def of(scores: list[float], y: list[int], threshold: float = 0.5) -> Scored:
    return Scored(np.array(scores), np.array(y, float), np.ones(len(y)), threshold, COSTS)


def test_average_precision_is_the_mean_precision_at_each_positive() -> None:
    scores, y = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 0.0, 1.0, 0.0])
    assert average_precision(scores, y) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.ones(4), y) == pytest.approx(0.5)


def test_scores_that_are_frequencies_have_no_calibration_error() -> None:
    scores = np.repeat([0.25, 0.75], 400)
    y = np.r_[np.tile([1, 0, 0, 0], 100), np.tile([1, 1, 1, 0], 100)].astype(float)
    assert calibration_error(scores, y, bins=2) == pytest.approx(0)
    assert calibration_error(scores, 1 - y, bins=2) == pytest.approx(0.5)


def test_cost_counts_misses_and_false_alarms_at_their_price() -> None:
    assert measure("cost_per_100", of([0.9, 0.1, 0.9, 0.1], [0, 1, 1, 0])) == 150


def test_a_bid_earns_what_is_left_of_the_value_and_nothing_if_it_loses() -> None:
    bids = Scored(
        np.array([50.0, 90.0, 10.0]), np.array([40.0, 100.0, 10.0]), np.full(3, 100.0), -1, COSTS
    )
    assert measure("surplus", bids) == pytest.approx((50 + 0 + 90) / 3)
    assert measure("win_rate", bids) == pytest.approx(2 / 3)
    assert bids.right.tolist() == [True, True, True]


def test_precision_falls_when_prevalence_is_put_back() -> None:
    scores = np.r_[np.full(90, 0.9), np.full(10, 0.1), np.full(5, 0.9), np.full(95, 0.1)]
    y = np.r_[np.ones(100), np.zeros(100)]
    sample, known = precision_at(Scored(scores, y, np.ones(200), 0.5, COSTS), 0.9, 0.01)
    assert sample == pytest.approx(90 / 95)
    assert known == pytest.approx(0.01 * 0.9 / (0.01 * 0.9 + 0.99 * 0.05))


def test_a_bound_holds_the_value_and_a_paired_difference_of_equals_is_nothing() -> None:
    random = np.random.default_rng(1)
    y = random.integers(0, 2, 300).astype(float)
    scores = np.clip(y * 0.3 + random.normal(0.4, 0.2, 300), 0, 1)
    one = Scored(scores, y, np.ones(300), 0.5, COSTS)
    b = bound("auc", one, level=0.95, resamples=200, seed=1)
    assert b.low < b.value < b.high
    d = difference("auc", one, one, level=0.95, resamples=200, seed=1)
    assert (d.value, d.low, d.high) == (0, 0, 0)
    other = Scored(scores, 1 - y, np.ones(300), 0.5, COSTS)
    with pytest.raises(ValueError, match="same cases"):
        difference("auc", one, other, level=0.95, resamples=10, seed=1)


def rows(n: int = 400) -> Examples:
    random = np.random.default_rng(5)
    x = random.normal(size=(n, 3))
    return of_rows(x, x[:, 0] > 0.3, ["a", "b", "c"], slices={"part": ["x", "y"] * (n // 2)})


def test_guards_are_the_cases_that_a_plain_model_finds_hardest() -> None:
    examples = rows()
    plain = examples.x[:, 1].astype(float)
    suite = suites.draw("core", 1, examples, plain, 1000, 7)
    guard = np.array([k == "false_negative_guard" for k in suite.kinds])
    positive = examples.y == 1
    assert plain[guard].max() <= plain[positive & ~guard].min()
    assert all(count >= 0.05 * 400 for count in suite.balance.values())


def test_a_model_that_flags_everything_cannot_pass_every_kind() -> None:
    suite = suites.draw("core", 1, rows(), np.zeros(400), 1000, 7)
    y = suite.examples.y
    right = Scored(np.ones(len(y)), y, np.ones(len(y)), 0.5, COSTS).right
    by_kind = {k: right[[c == k for c in suite.kinds]].mean() for k in suites.KINDS}
    assert by_kind["true_negative"] == by_kind["false_positive_guard"] == 0


def test_a_suite_is_the_same_after_its_file(tmp_path: Path) -> None:
    suite = suites.draw("core", 3, rows(), np.zeros(400), 200, 7)
    path = tmp_path / "core.jsonl.gz"
    path.write_bytes(suites.to_bytes(suite))
    again = suites.read(path)
    assert again.digest == suite.digest
    assert suites.to_bytes(again) == suites.to_bytes(suite)
    other = suites.draw("core", 4, rows(), np.zeros(400), 200, 7)
    assert other.digest != suite.digest
    path.write_bytes(suites.to_bytes(suite)[:-9])
    with pytest.raises(InputError, match="is no suite"):
        suites.read(path)


def test_a_text_that_was_copied_or_changed_a_little_is_a_leak() -> None:
    words = [f"word{i}" for i in range(200)]
    train = of_texts([" ".join(words[:40]), " ".join(words[40:80])], [0, 1], ids=["a", "b"])
    held = [
        " ".join(words[:40]),
        " ".join([*words[40:75], "other", *words[76:80]]),
        " ".join(words[100:140]),
        "short",
    ]
    suite = of_texts(held, [0, 1, 0, 1], ids=["same", "near", "new", "short"])
    found = scan(train, suite, words=5, share=0.65)
    assert (found.exact, found.runs) == (("same",), ("near",))
    assert clear_of(train, [suite], words=5, share=0.65).tolist() == []
    assert clear_of(train, [suite.take([1, 2, 3])], words=5, share=0.65).tolist() == [0]
    assert clear_of(train, [suite.take([2, 3])], words=5, share=0.65).tolist() == [0, 1]


def test_groups_stay_on_one_side_and_the_latest_are_held_out() -> None:
    examples = rows()
    spec = Spec("x", Data(split="group", split_by="g"), Evaluate())
    groups = tuple(f"g{i % 40}" for i in range(400))
    side = sides(Loaded(examples, groups=groups), spec)
    of_group = {
        g: {int(s) for s, one in zip(side, groups, strict=True) if one == g} for g in groups
    }
    assert all(len(found) == 1 for found in of_group.values())
    by_time = sides(Loaded(examples, order=np.arange(400.0)), spec)
    assert by_time[-1] == HELD_OUT
    assert by_time[0] == TRAIN
    assert set(np.diff(by_time)) <= {0, CORE - TRAIN, HELD_OUT - CORE}


def test_a_planted_weakness_is_found_by_name() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(2000, 4))
    place = np.where(random.random(2000) < 0.2, "south", "north")
    examples = of_rows(x, x[:, 0] > 0, list("abcd"), slices={"place": place.tolist()})
    wrong = random.random(2000) < np.where(place == "south", 0.5, 0.05)
    (first, holds), *_ = clusters_of(examples, wrong, 7)
    assert first.name == "place = south"
    assert (place[holds(examples)] == "south").all()
    later = examples.take(np.arange(500)[::-1])
    assert (holds(later) == (place[:500][::-1] == "south")).all()


def test_a_planted_corner_of_the_inputs_is_found_without_a_name() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(3000, 4))
    corner = (x[:, 1] > 1) & (x[:, 2] > 0.5)
    wrong = random.random(3000) < np.where(corner, 0.8, 0.02)
    examples = of_rows(x, x[:, 0] > 0, list("abcd"))
    found = clusters_of(examples, wrong, 7)
    assert found
    held = np.any([holds(examples) for _, holds in found], axis=0)
    # The same cells hold other cases that look alike.
    fresh = of_rows(x[::-1], x[::-1, 0] > 0, list("abcd"))
    assert (np.any([holds(fresh) for _, holds in found], axis=0)[::-1] == held).mean() > 0.99
    purity = (corner & held & wrong).sum() / (held & wrong).sum()
    assert purity > 0.85


def test_failures_without_a_pattern_give_no_cluster() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(3000, 4))
    examples = of_rows(x, x[:, 0] > 0, list("abcd"), slices={"part": ["x", "y", "z"] * 1000})
    assert len(clusters_of(examples, random.random(3000) < 0.1, 7)) <= 1


def test_the_lower_bound_of_a_rate_is_clopper_and_pearsons() -> None:
    assert lower(0, 10) == 0
    assert lower(10, 10, 0.95) == pytest.approx(0.05 ** (1 / 10))


def test_examples_and_archives_are_the_same_after_their_bytes() -> None:
    examples = of_texts(["a\0", "ü", ""], [0, 1, 0], ids=["1", "2", "3"], slices={"s": "abc"})
    again = Examples.from_bytes(examples.to_bytes())
    assert again.digest == examples.digest
    assert again.texts == ("a\0", "ü", "")
    assert examples.to_bytes() == again.to_bytes()
    with pytest.raises(InputError, match="cannot be read"):
        Examples.from_bytes(examples.to_bytes()[:-3])
    with pytest.raises(ValueError, match="no archive"):
        archive.unpack(b"something else")


def test_a_digest_tells_values_apart_that_look_alike() -> None:
    found = [
        codec.digest(("a", "b")),
        codec.digest(("ab",)),
        codec.digest((1,)),
        codec.digest((1.0,)),
        codec.digest((True,)),
        codec.digest(("1",)),
        codec.digest(np.zeros(2)),
        codec.digest(np.zeros(2, np.float32)),
        codec.digest(np.zeros((1, 2))),
    ]
    assert len(set(found)) == len(found)
