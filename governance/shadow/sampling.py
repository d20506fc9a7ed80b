"""Which requests become pairs: one uniformly random request of each time block.

Why one a block: errors come in bursts. If every request counted, a burst of thirty would be taken
for thirty independent observations, and the e-value's condition (each observation is bad with at
least its chance, *given the past*) would not hold. One random request a block, with blocks longer
than bursts, restores it nearly.

How one of a block is drawn without knowing how many will come: each eligible request gets a number
from a keyed hash; the request with the least number of its block is the pair. A request whose
number is the least so far is chosen on arrival, before admission, and the shadow runs on it; if a
later one beats it, its result is set aside unseen by the statistics. So the draw is exactly uniform
over the block whatever the arrivals look like, and it depends on nothing but the key, the block and
the arrival's place: not on load, outcome or latency. The price is H(m) = 1 + 1/2 + … + 1/m shadow
runs in a block of m requests (5.9 for 200), and that the pair is known when the block ends.

The cheaper scheme, "the first request after a random instant", needs one run a block but takes a
request with a chance that grows with the gap before it: the first of a burst is taken far too
often, those inside it hardly ever. Under bursts that begin with a good request and end in bad ones
this hides nearly all bad ones, so it is not used.

What is left to know: each block counts once, so that the rate which is tested is one per unit of
time, not per request. If bad requests sit in few crowded blocks, fewer disagreements are seen than
a count over requests would show; the data plane tells that count too, under `rows`. And bursts
longer than a block still make neighbouring blocks alike: choose blocks longer than what is known of
bursts.

A caller may have so many pairs an hour; beyond that its requests are not eligible, so that nobody
buys a verdict by replaying easy traffic. The draw of a past block decides who is eligible later,
hence an auditor replays arrivals in order.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

from governance.shadow.errors import ShadowError
from governance.shadow.gates import ShadowPolicy
from governance.shadow.siphash import KEY_BYTES, siphash24

SHORTEST_SEED = 32
_COMMIT, _DRAW = b"sluicegate shadow seed 1\n", b"sluicegate shadow draw 1\n"
HOUR_MS = 3_600_000


def commitment(seed: bytes) -> str:
    """Digest of the seed, published in the signed policy before the run, the seed after it.

    Raises:
        ShadowError: the seed is shorter than 32 bytes and could be guessed.

    """
    if len(seed) < SHORTEST_SEED:
        raise ShadowError("short_seed", f"a seed has at least {SHORTEST_SEED} random bytes")
    return "sha256:" + hashlib.sha256(_COMMIT + seed).hexdigest()


def draw_key(seed: bytes) -> bytes:
    """Key of the draw, which the data plane is given: the first 16 bytes of SHA-256(tag, seed).

    The seed itself stays with governance until the report is signed.
    """
    return hashlib.sha256(_DRAW + seed).digest()[:KEY_BYTES]


def priority(seed: bytes, block: int, sequence: int) -> int:
    """Number of a block's request, as the data plane draws it; the least of a block is the pair.

    SipHash-2-4 under `draw_key` of block and sequence, 8 bytes each, little-endian.
    """
    message = block.to_bytes(8, "little") + sequence.to_bytes(8, "little")
    return siphash24(draw_key(seed), message)


def drawn(seed: bytes, block: int, requests: int) -> int:
    """Which of a block's requests is its pair, given how many there were (at least 1)."""
    return min(range(requests), key=lambda sequence: priority(seed, block, sequence))


@dataclass(frozen=True)
class Choice:
    """A request to shadow: the least number of its block so far. It replaces the one before."""

    block: int
    sequence: int
    caller: str


class Sampler:
    """Draws the pairs of one run as the data plane does, for simulations and for auditors.

    One for a gateway; the arrivals of one run in their order.

    `drain` gives the pairs of blocks that have ended, for whoever joins outcomes to them.
    """

    def __init__(self, policy: ShadowPolicy, seed: bytes, start_ms: int = 0) -> None:
        """Begin at `start_ms`, milliseconds on the clock that `offer` is given.

        Raises:
            ShadowError: the seed is short, or not the one that the policy is committed to.

        """
        told = commitment(seed)
        if policy.seed_commitment not in (None, told):
            raise ShadowError("other_seed", "the seed is not the one that the policy commits to")
        self._policy, self._seed, self._start = policy, seed, start_ms
        self._block, self._sequence, self._least = -1, 0, 1 << 64
        self._drawn: Choice | None = None
        self._hour, self._pairs = -1, Counter[str]()
        self._closed: list[Choice] = []
        self.over_cap = 0

    def offer(self, now_ms: int, caller: str) -> Choice | None:
        """Tell of an eligible request before its admission; a Choice says: shadow it.

        A clock that goes back counts as the current block: no block is drawn from twice.
        """
        block = max((now_ms - self._start) // self._policy.block_ms, self._block, 0)
        if block != self._block:
            self.close()
            self._block, self._sequence, self._least = block, 0, 1 << 64
            hour = block * self._policy.block_ms // HOUR_MS
            if hour != self._hour:
                self._hour, self._pairs = hour, Counter()
        if self._pairs[caller] >= self._policy.caller_pairs_per_hour:
            self.over_cap += 1
            return None
        sequence, self._sequence = self._sequence, self._sequence + 1
        number = priority(self._seed, block, sequence)
        if number >= self._least:
            return None
        self._least = number
        self._drawn = Choice(block, sequence, caller)
        return self._drawn

    def close(self) -> None:
        """End the current block, as at the end of a run."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            self._pairs[drawn.caller] += 1
            self._closed.append(drawn)

    def drain(self) -> list[Choice]:
        """Pairs of the blocks that ended since the last call, one a block."""
        closed, self._closed = self._closed, []
        return closed
