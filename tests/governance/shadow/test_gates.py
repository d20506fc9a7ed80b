"""The shadow policy: defaults, ranges, unknown keys, the alpha that attempts spend."""

from fractions import Fraction
from typing import Any

import pytest

from governance.shadow.errors import ShadowError
from governance.shadow.gates import FIELDS, parse_policy


def test_an_empty_policy_has_the_defaults() -> None:
    policy = parse_policy({})
    assert (policy.alpha, policy.disagreement_limit) == (Fraction("0.01"), Fraction("0.005"))
    assert (policy.block_ms, policy.min_hours, policy.window_pairs) == (200, 24, 1000)
    assert [gate.name for gate in policy.gates] == ["disagreement", "errors", "latency"]


def test_limits_and_segments_add_gates() -> None:
    policy = parse_policy(
        {
            "flip_up_limit": "0.002",
            "flip_down_limit": "0.004",
            "score_limit": "0.01",
            "segments": {"mobile": {"limit": "0.01", "n_min": 100}},
        }
    )
    assert [gate.name for gate in policy.gates] == [
        "disagreement",
        "errors",
        "flips_up",
        "flips_down",
        "scores",
        "segment_mobile",
        "latency",
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"blok_ms": 200}, "unknown_key"),
        ({"alpha": 0.01}, "bad_value"),
        ({"alpha": "1e-2"}, "bad_value"),
        ({"alpha": "-0.01"}, "bad_value"),
        ({"alpha": "NaN"}, "bad_value"),
        ({"alpha": None}, "bad_value"),
        ({"alpha": "0.5"}, "out_of_range"),
        ({"alpha": "0"}, "out_of_range"),
        ({"block_ms": 0}, "out_of_range"),
        ({"block_ms": True}, "bad_value"),
        ({"block_ms": "200"}, "bad_value"),
        ({"n_min": 10, "n_max": 5}, "contradiction"),
        ({"min_hours": 200}, "contradiction"),
        ({"seed_commitment": "abc"}, "bad_value"),
        ({"segments": []}, "bad_value"),
        ({"segments": {"Mobile": {"limit": "0.01", "n_min": 1}}}, "bad_value"),
        ({"segments": {"m": {"limit": "0.01"}}}, "unknown_key"),
        ({"segments": {"m": {"limit": "0.9", "n_min": 1}}}, "out_of_range"),
        ({"segments": {f"s{i}": {"limit": "0.01", "n_min": 1} for i in range(33)}}, "bad_value"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_for_its_own_reason(
    value: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ShadowError) as refused:
        parse_policy(value)
    assert refused.value.reason == reason


def test_a_misspelt_key_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ShadowError, match="did you mean block_ms"):
        parse_policy({"blok_ms": 200})


@pytest.mark.parametrize("key", FIELDS)
def test_every_default_and_both_ends_of_every_range_are_taken(key: str) -> None:
    field = FIELDS[key]
    slack = {"n_min": 1, "n_max": 10**9, "min_hours": 0, "t_max_hours": 8760}
    for value in (field.low, field.high):
        changed = {**slack, "labelled_min": 1, key: value}
        if key in ("min_hours", "n_min", "n_max", "t_max_hours"):
            changed = {"min_hours": 0, "t_max_hours": 8760, "n_min": 1, "n_max": 10**9, key: value}
        parse_policy(changed)


def test_all_attempts_together_spend_alpha() -> None:
    policy = parse_policy({})
    assert policy.alpha_of(1) == policy.alpha / 2
    spent = sum(policy.alpha_of(attempt) for attempt in range(1, 2000))
    assert policy.alpha * Fraction(1999, 2000) == spent < policy.alpha
    with pytest.raises(ShadowError) as refused:
        policy.alpha_of(0)
    assert refused.value.reason == "bad_attempt"
