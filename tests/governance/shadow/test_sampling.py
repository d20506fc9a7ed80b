"""One pair a block: uniform whatever the arrivals, recomputable, capped by caller."""

import random
from collections import Counter

import pytest

from governance.shadow.errors import ShadowError
from governance.shadow.gates import parse_policy
from governance.shadow.sampling import Choice, Sampler, commitment, priority
from governance.shadow.sampling import drawn as drawn_pair

SEED = bytes(range(32))


def sampler(seed: bytes = SEED, **changed: object) -> Sampler:
    return Sampler(parse_policy({"block_ms": 200, **changed}), seed)


def drawn(arrivals: list[tuple[int, str]], seed: bytes = SEED, **changed: object) -> list[Choice]:
    found = sampler(seed, **changed)
    for now, caller in arrivals:
        found.offer(now, caller)
    found.close()
    return found.drain()


def test_each_block_with_requests_has_one_pair() -> None:
    chance = random.Random(1)  # noqa: S311
    arrivals = sorted((chance.randrange(20_000), "c") for _ in range(500))
    blocks = [choice.block for choice in drawn(arrivals)]
    assert blocks == sorted({now // 200 for now, _ in arrivals})


def test_a_pair_was_chosen_on_arrival_before_its_outcome_could_be_known() -> None:
    found = sampler()
    chosen = [found.offer(now, "c") for now in range(200)]
    found.close()
    assert found.drain()[0] in chosen
    assert sum(choice is not None for choice in chosen) < 15


def test_an_auditor_draws_the_same_pairs_from_seed_block_and_sequence() -> None:
    for choice in drawn([(now, "c") for now in range(0, 2000, 7)]):
        count = len([now for now in range(0, 2000, 7) if now // 200 == choice.block])
        numbers = [priority(SEED, choice.block, sequence) for sequence in range(count)]
        assert choice.sequence == numbers.index(min(numbers))
    assert priority(SEED, 1, 2) == 10452115159117042111


def test_an_auditor_finds_a_blocks_pair_from_the_number_of_its_requests() -> None:
    assert drawn_pair(SEED, 7, 1) == 0
    numbers = [priority(SEED, 7, sequence) for sequence in range(50)]
    assert drawn_pair(SEED, 7, 50) == numbers.index(min(numbers))


def _positions(arrivals: list[int], rounds: int) -> Counter[int]:
    """How often each request of one block is drawn, over blocks with the same arrivals."""
    found = sampler(caller_pairs_per_hour=1_000_000)
    for block in range(rounds):
        for at in arrivals:
            found.offer(block * 200 + at, "c")
    found.close()
    return Counter(choice.sequence for choice in found.drain())


@pytest.mark.parametrize(
    "arrivals",
    [
        list(range(0, 200, 10)),
        [0, *[150] * 19],
        [*[20] * 10, *[180] * 10],
    ],
    ids=["steady", "burst after a gap", "two bursts"],
)
def test_every_request_of_a_block_is_as_likely_whatever_the_bursts(arrivals: list[int]) -> None:
    seen = _positions(arrivals, 4000)
    expected = 4000 / len(arrivals)
    statistic = sum((seen[place] - expected) ** 2 / expected for place in range(len(arrivals)))
    # The 99.9th percentile of chi-square with 19 degrees of freedom.
    assert statistic < 43.8


def test_the_first_after_a_random_instant_would_hide_what_is_inside_bursts() -> None:
    """Why the cheaper scheme is not used: it draws by the gap before a request."""
    chance = random.Random(3)  # noqa: S311
    arrivals = [0, *range(150, 169)]
    taken = Counter[int]()
    for _ in range(2000):
        instant = chance.uniform(0, 200)
        after = [place for place, at in enumerate(arrivals) if at >= instant]
        if after:
            taken[after[0]] += 1
    assert taken[1] > 0.8 * taken.total()


def test_a_caller_has_so_many_pairs_an_hour() -> None:
    arrivals = [(now, "loud") for now in range(0, 7_200_000, 200)]
    pairs = drawn(arrivals, caller_pairs_per_hour=100)
    assert Counter(choice.block * 200 // 3_600_000 for choice in pairs) == {0: 100, 1: 100}


def test_who_is_over_the_cap_takes_no_block_from_others() -> None:
    arrivals = [(now + add, who) for now in range(0, 40_000, 200) for add, who in _BOTH]
    pairs = Counter(choice.caller for choice in drawn(arrivals, caller_pairs_per_hour=20))
    assert pairs["loud"] == 20
    assert pairs["quiet"] == 20
    found = sampler(caller_pairs_per_hour=1)
    for now in range(0, 2000, 200):
        found.offer(now, "loud")
    assert found.over_cap == 9


_BOTH = [*[(add, "loud") for add in range(9)], (100, "quiet")]


def test_a_clock_that_goes_back_draws_from_no_block_twice() -> None:
    found = sampler()
    for now in (0, 450, 100, 300, 650):
        found.offer(now, "c")
    found.close()
    blocks = [choice.block for choice in found.drain()]
    assert blocks == [0, 2, 3]


def test_the_seed_is_the_one_that_was_committed_to() -> None:
    told = commitment(SEED)
    assert drawn([(0, "c")], seed_commitment=told)
    with pytest.raises(ShadowError) as refused:
        sampler(bytes(32), seed_commitment=told)
    assert refused.value.reason == "other_seed"
    with pytest.raises(ShadowError) as short:
        commitment(b"short")
    assert short.value.reason == "short_seed"


def test_another_seed_draws_other_pairs() -> None:
    arrivals = [(now, "c") for now in range(0, 4000, 5)]
    assert drawn(arrivals) != drawn(arrivals, bytes(32))
