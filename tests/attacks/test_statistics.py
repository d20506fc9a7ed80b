"""Attacks on the comparison: missing data, easy traffic, bursts, peeking, trying again."""

import math
import random

import pytest

from governance.shadow.errors import ShadowError
from governance.shadow.gates import parse_policy
from governance.shadow.report import Comparison
from governance.shadow.sampling import Sampler
from tests.governance.shadow.pairs import (
    DAY,
    LATER,
    START,
    broken,
    comparison,
    complete,
    fed,
    slugs,
)

SEED = bytes(range(32))


def test_a_starved_shadow_never_passes() -> None:
    run = comparison()
    assert (run.judge(LATER).outcome, "starved" in slugs(run)) == ("INCONCLUSIVE", True)
    assert run.judge(START + 30 * DAY).final


def test_a_run_that_is_all_shed_never_passes() -> None:
    run = fed([broken("shed")] * 5000)
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert "shed_above_limit" in slugs(run)


def test_shedding_what_would_disagree_does_not_buy_a_pass() -> None:
    """The candidate is bad on 3% of the pairs, and just those are shed."""
    run = fed(broken("shed") if place % 33 == 0 else complete() for place in range(20_000))
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert slugs(run) == {"shed_above_limit"}


@pytest.mark.parametrize("kind", ["candidate_error", "candidate_timeout"])
def test_a_candidate_that_never_answers_fails(kind: str) -> None:
    run = comparison()
    with pytest.raises(ShadowError) as over:
        for _ in range(100):
            run.add(broken(kind))
    assert over.value.reason == "comparison_over"
    assert slugs(run) == {"disagreement_above_limit", "errors_above_limit"}


def test_an_incumbent_that_always_fails_proves_nothing_for_the_candidate() -> None:
    run = fed([broken("incumbent_error")] * 5000)
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert "incumbent_errors" in slugs(run)


def test_one_nan_among_thousands_of_good_scores_fails() -> None:
    run = fed([complete()] * 3000)
    assert run.judge(LATER).outcome == "PASS"
    run.add(complete(score=math.nan))
    assert (run.judge(LATER).outcome, slugs(run)) == ("FAIL", {"nan_scores"})
    with pytest.raises(ShadowError) as over:
        run.add(complete())
    assert over.value.reason == "comparison_over"


def test_replayed_easy_traffic_of_one_caller_does_not_buy_a_pass() -> None:
    """One caller replays a request that is easy, at any rate; the others are few."""
    policy = parse_policy({})
    sampler = Sampler(policy, SEED)
    for now in range(0, 3_600_000, 40):
        sampler.offer(now, "loud")
    sampler.close()
    pairs = sampler.drain()
    assert len(pairs) == policy.caller_pairs_per_hour
    ends = [complete(caller=pair.caller) for pair in pairs]
    run = fed([*ends, *[complete(caller="quiet")] * 100], caller_share="0.5")
    assert run.judge(LATER).outcome == "INCONCLUSIVE"
    assert slugs(run) == {"one_caller"}


def test_a_verdict_is_not_bought_in_an_hour() -> None:
    run = fed([complete()] * 5000)
    assert slugs(run, START + 3600) == {"too_early"}


def test_a_rare_segment_cannot_hide_in_the_whole() -> None:
    """All of a small segment turns over; over everything it is within the limit."""
    segments = {"mobile": {"limit": "0.02", "n_min": 20}}
    run = comparison(segments=segments)
    with pytest.raises(ShadowError) as over:
        for place in range(40_000):
            small = place % 400 == 7
            run.add(complete(same=not small, segment="mobile" if small else None))
    assert over.value.reason == "comparison_over"
    assert slugs(run) == {"segment_mobile_above_limit"}


def _bursts(chance: random.Random, requests: int, rate: float, mean: int) -> list[bool]:
    """Whether each request is bad; bad ones come in bursts, `rate` of all in the long run."""
    found: list[bool] = []
    while len(found) < requests:
        found += [False] * int(chance.expovariate(rate / (mean * (1 - rate))))
        found += [True] * (1 + int(math.log(chance.random()) / math.log(1 - 1 / mean)))
    return found[:requests]


def _passes(bad: list[bool]) -> bool:
    """Whether somebody who looks after every pair ever sees the disagreement gate hold."""
    run = comparison(window_pairs=100_000, n_max=10**9)
    for n, each in enumerate(bad, 1):
        try:
            run.add(complete(same=not each))
        except ShadowError:
            return False
        # Fewer than 1,280 pairs never pass.
        if n >= 1280 and n % 20 == 0 and run.judge(LATER).gates[0].shown:
            return True
    return False


def test_bursts_pass_a_bad_candidate_if_every_request_counts_and_not_if_thinned() -> None:
    """Marginal rate at the limit in bursts of thirty: 1 of 100 may pass; unthinned most do."""
    chance = random.Random(5)  # noqa: S311
    whole = thinned = 0
    policy = parse_policy({"caller_pairs_per_hour": 1_000_000, "block_ms": 100})
    for run in range(4):
        bad = _bursts(chance, 100 * 1500, 0.005, 30)
        whole += _passes(bad[:6000])
        sampler = Sampler(policy, _seed(run))
        for now, _ in enumerate(bad):
            sampler.offer(now, "c")
        sampler.close()
        thinned += _passes([bad[pair.block * 100 + pair.sequence] for pair in sampler.drain()])
    assert whole >= 2
    assert thinned <= 1


def _seed(run: int) -> bytes:
    return run.to_bytes(32, "big")


def test_trying_until_it_passes_spends_alpha() -> None:
    """Each attempt needs more evidence; all of them together keep to alpha."""
    ends = [complete()] * 1350
    outcomes = []
    for attempt in (1, 2, 3, 20):
        run = fed(ends, attempt=attempt)
        outcomes.append(run.judge(LATER).outcome)
    assert outcomes == ["PASS", "INCONCLUSIVE", "INCONCLUSIVE", "INCONCLUSIVE"]


def test_looking_after_every_pair_is_no_way_to_pass() -> None:
    """At the limit, with a look after every pair, the share that ever passes is below alpha."""
    chance = random.Random(2)  # noqa: S311
    passed = sum(_passes([chance.random() < 0.005 for _ in range(4000)]) for _ in range(40))
    assert passed <= 2


def test_a_failed_run_cannot_be_outweighed_by_going_on() -> None:
    run: Comparison = comparison()
    with pytest.raises(ShadowError):
        for _ in range(40):
            run.add(complete(same=False))
    failed = run.counts()
    for _ in range(3):
        with pytest.raises(ShadowError) as over:
            run.add(complete())
        assert over.value.reason == "comparison_over"
    assert run.counts() == failed
