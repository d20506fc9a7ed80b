"""The fairness report: rates that can be counted by hand, and what reaches the evidence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from governance.bundle import folder as bundles
from tests.trainer.tables import signer, spec_of
from trainer.cli.progress import folder_of, follow
from trainer.evaluation.fairness import LEAST, Rate, binomial, rates
from trainer.evaluation.metrics import Scored
from trainer.loop import prepare
from trainer.quality import Costs

HOW = {"level": 0.95, "resamples": 400, "seed": 1}


def of(groups: dict[str, tuple[int, int, int, int]]) -> tuple[Scored, list[str]]:
    """Cases by group: how many caught, missed, falsely alarmed and let through."""
    scores, y, names = [], [], []
    for name, counts in groups.items():
        for count, (score, label) in zip(
            counts, ((0.9, 1), (0.1, 1), (0.9, 0), (0.1, 0)), strict=True
        ):
            scores += [score] * count
            y += [label] * count
            names += [name] * count
    return Scored(np.array(scores), np.array(y, float), np.ones(len(y)), 0.5, Costs(1, 1)), names


def by(found: tuple[Rate, ...]) -> dict[tuple[str, str], Rate]:
    return {(rate.group, rate.measure): rate for rate in found}


def test_rates_are_those_that_a_hand_counts() -> None:
    scored, names = of({"a": (30, 10, 20, 140), "b": (10, 10, 60, 20)})
    found = by(rates(scored, "core", "g", names, **HOW))  # type: ignore[arg-type]
    assert found["a", "positive_rate"].bound.value == pytest.approx(50 / 200)
    assert found["a", "caught"].bound.value == pytest.approx(30 / 40)
    assert found["a", "false_alarms"].bound.value == pytest.approx(20 / 160)
    assert found["a", "gap"].bound.value == pytest.approx((50 * 0.9 + 150 * 0.1) / 200 - 0.2)
    assert found["b", "caught"].n == 20
    # Let through: 150 of 200 and 30 of 100.
    assert found["a", "impact"].bound.value == 1
    assert found["b", "impact"].bound.value == pytest.approx(0.3 / 0.75)
    assert found["b", "impact"].unequal
    assert not found["a", "impact"].unequal
    assert all(rate.bound.low <= rate.bound.value <= rate.bound.high for rate in found.values())


def test_equal_groups_are_within_four_fifths_and_their_interval_says_how_sure_that_is() -> None:
    scored, names = of({"a": (20, 20, 80, 80), "b": (20, 20, 80, 80)})
    found = by(rates(scored, "core", "g", names, **HOW))  # type: ignore[arg-type]
    impact = found["b", "impact"]
    assert impact.bound.value == 1
    assert not impact.unequal
    assert 0.7 < impact.bound.low < 0.95


def test_a_group_too_small_to_tell_is_left_out_and_one_group_has_no_impact() -> None:
    scored, names = of({"a": (30, 10, 20, 140), "b": (10, 10, 10, LEAST - 31)})
    found = by(rates(scored, "core", "g", names, **HOW))  # type: ignore[arg-type]
    assert {group for group, _ in found} == {"a"}
    assert ("a", "impact") not in found


def test_where_nobody_is_favoured_all_are_treated_alike() -> None:
    scored, names = of({"a": (50, 0, 50, 0), "b": (30, 0, 30, 0)})
    found = by(rates(scored, "core", "g", names, **HOW))  # type: ignore[arg-type]
    assert found["b", "impact"].bound.value == 1


def test_the_interval_of_a_rate_is_clopper_and_pearsons() -> None:
    # Published values for 0 and 2 of 10 at 95%.
    none, two = binomial(0, 10, 0.95), binomial(2, 10, 0.95)
    assert (none.low, round(none.high, 4)) == (0, 0.3085)
    assert (round(two.low, 4), round(two.high, 4)) == (0.0252, 0.5561)


def test_the_proposal_tells_how_decisions_fall_on_groups_and_names_those_below_four_fifths(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, drop='protected = ["region"]')
    key = signer()
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    ended = follow(spec, key, None, tmp_path / "seals", ray=False)
    assert ended.proposed is not None
    assert ended.assessed is not None
    assert ended.assessed.report is not None
    told = ended.assessed.report.fairness
    assert {(r.on, r.column) for r in told} == {("core", "region"), ("held_out", "region")}
    evidence = Path(ended.proposed.evidence)
    kept = json.loads((evidence / "attachments" / "fairness.json").read_text())
    assert len(kept) == len(told)
    bundle = bundles.open_bundle(evidence)
    segments = {(s.segment, s.metric) for s in bundle.groups["evaluation"].segments}  # type: ignore[union-attr]
    assert ("held_out: region = s", "impact") in segments
    risks = " ".join(r.what for r in bundle.groups["risk"].remaining)  # type: ignore[union-attr]
    assert ("four fifths" in risks) == any(r.unequal for r in told)
