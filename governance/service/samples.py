"""The log of samples: a line a pair of a comparison, and a line an outcome that came later.

Its counts follow from them. A restart reads the lines again, so nothing is counted twice; the root
over them stands in the signed report. A line holds no request and no caller's name.
"""

import hashlib
import hmac
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from governance import canonical
from governance.ledger.merkle import leaf_hash, node_hash
from governance.ledger.witness import sync_folder
from governance.service.labels import place
from governance.shadow.ends import Answer, End
from governance.shadow.gates import ShadowPolicy
from governance.shadow.sampling import HOUR_MS

# The data plane runs both models on the same batch, one after the other: whatever its shape, the
# two times are a pair.
SAME_BATCH: Final = "batch"
PATIENCE_SECONDS: Final = 10
SIDES: Final = ("incumbent", "candidate")


class SampleLog:
    """A file of samples that is only added to."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Open it at `size` bytes: what stands behind was never counted, and is cut off."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(self._file, size)
        os.lseek(self._file, size, os.SEEK_SET)
        self.size = size
        sync_folder(path.parent)

    def add(self, samples: list[dict[str, Any]]) -> None:
        """Write samples durably, all or none.

        Raises:
            OSError: they could not be written; the same may be added again.

        """
        os.ftruncate(self._file, self.size)
        os.lseek(self._file, self.size, os.SEEK_SET)
        data = b"".join(canonical.encode(sample) + b"\n" for sample in samples)
        left = data
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)
        self.size += len(data)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def lines(self) -> Iterator[bytes]:
        """Every line, without its end."""
        with self.path.open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")

    def root(self) -> str:
        """Merkle root (RFC 6962) over the lines."""
        return merkle_root(self.lines())


def merkle_root(lines: Iterator[bytes]) -> str:
    """Merkle root (RFC 6962, section 2.1) of lines as leaves."""
    # Roots of complete subtrees from left to right; their sizes are the bits of the count.
    peaks: list[tuple[int, bytes]] = []
    for line in lines:
        size, root = 1, leaf_hash(line)
        while peaks and peaks[-1][0] == size:
            root = node_hash(peaks.pop()[1], root)
            size *= 2
        peaks.append((size, root))
    if not peaks:
        return "sha256:" + hashlib.sha256(b"").hexdigest()
    root = peaks.pop()[1]
    while peaks:
        root = node_hash(peaks.pop()[1], root)
    return "sha256:" + root.hex()


def end_of(sample: Mapping[str, Any]) -> End:
    """The end that a sample tells.

    The data plane tells no times of a candidate that failed: its time is endless, the incumbent's
    counts as nothing, which speaks against the candidate and never for it. An incumbent that failed
    when it was run again (0 ns) has no time to compare with.
    """
    kind, caller, segment = sample["end"], sample["caller"], sample["segment"]
    if kind in ("shed", "incumbent_error"):
        return End(kind, caller, segment)
    if kind != "complete":
        return End(kind, caller, segment, Answer(0, None, 0, SAME_BATCH))
    again = sample["incumbent_ns"] > 0
    return End(
        kind,
        caller,
        segment,
        Answer(
            int(sample["incumbent"]),
            None,
            sample["incumbent_ns"],
            SAME_BATCH if again else "incumbent failed",
        ),
        Answer(int(sample["candidate"]), None, sample["candidate_ns"], SAME_BATCH),
        sample["moved"],
    )


def of_canary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a canary's shadow found, as a comparison of the candidate with the incumbent.

    There the candidate answers and the incumbent is computed beside it. That it was late or failed
    beside says nothing about the candidate; that the candidate failed a caller speaks against it.
    """
    kinds = {
        "incumbent_error": "candidate_error",
        "candidate_error": "incumbent_error",
        "candidate_timeout": "incumbent_error",
    }
    pairs = [tuple(side + of for side in SIDES) for of in ("", "_ns", "_score")]
    ends = []
    for end in found["ends"]:
        told = dict(end) | {"end": kinds.get(end["end"], end["end"])}
        for one, other in pairs:
            if one in end:
                told[one], told[other] = end[other], end[one]
        ends.append(told)
    return {**found, "ends": ends}


class Pairing:
    """Joins what the data plane tells of blocks and of requests to pairs.

    A pair counts when its block is closed and its request is the block's. Marked requests that a
    later one beat are set aside unseen. A pair whose end does not come in time was shed, and so was
    everything that the data plane lost.
    """

    def __init__(self, policy: ShadowPolicy, seed: bytes, part: int, lost: int = 0) -> None:
        """Begin with a shadow of the data plane, the run's `part`-th: blocks begin anew in each.

        `lost` of its ends were counted already.
        """
        self._policy, self._seed, self._part = policy, seed, part
        self._segments = {segment.name for segment in policy.segments}
        self._closed: dict[int, tuple[dict[str, Any], int]] = {}
        self._ends: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._hours: dict[int, Counter[str]] = defaultdict(Counter)
        self._last, self._lost = -1, lost
        self.over_cap = 0

    def counted(self, sample: Mapping[str, Any]) -> None:
        """Tell of a sample that an earlier process counted: callers' caps go on."""
        if sample["part"] == self._part:
            self._hours[self._hour(sample["block"])][sample["caller"]] += 1
            self._last = max(self._last, sample["block"])

    def take(self, found: Mapping[str, Any], now: int) -> list[dict[str, Any]]:
        """Samples that are settled by what was found; `now` in seconds."""
        for end in found["ends"]:
            if end["block"] > self._last or end["block"] in self._closed:
                self._ends[end["block"]][end["sequence"]] = end
        for closed in found["closed"]:
            if closed["block"] > self._last:
                self._closed[closed["block"]] = (closed, now)
        settled = []
        for block, (closed, since) in sorted(self._closed.items()):
            end = self._ends.get(block, {}).get(closed["pair"])
            if end is None and now < since + PATIENCE_SECONDS:
                continue
            settled.append((block, closed, end))
        samples = []
        for block, closed, end in settled:
            del self._closed[block]
            self._ends.pop(block, None)
            self._last = max(self._last, block)
            if (sample := self._sample(block, closed, end)) is not None:
                samples.append(sample)
        lost = int(found["lost"])
        # What was lost while nobody asked is missing, and missing is never good.
        samples += [self._missing() for _ in range(max(0, lost - self._lost))]
        self._lost = max(lost, self._lost)
        for block in [b for b in self._ends if b <= self._last and b not in self._closed]:
            del self._ends[block]
        return samples

    def abandon(self) -> list[dict[str, Any]]:
        """Samples of pairs that nobody will tell the end of: the data plane's shadow is gone."""
        left = [
            self._sample(block, told, None) for block, (told, _) in sorted(self._closed.items())
        ]
        self._closed.clear()
        self._ends.clear()
        return [sample for sample in left if sample is not None]

    def _hour(self, block: int) -> int:
        return block * self._policy.block_ms // HOUR_MS

    def _sample(
        self, block: int, closed: Mapping[str, Any], end: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        told: dict[str, Any] = {
            "block": block,
            "caller": "",
            "end": "shed",
            "pair": closed["pair"],
            "part": self._part,
            "requests": closed["requests"],
            "segment": None,
        }
        if end is None:
            return told
        caller = hmac.digest(self._seed, str(end["caller"]).encode(), "sha256").hex()[:16]
        pairs = self._hours[self._hour(block)]
        if pairs[caller] >= self._policy.caller_pairs_per_hour:
            self.over_cap += 1
            return None
        pairs[caller] += 1
        told |= {"caller": caller, "end": end["end"]}
        if end["segment"] in self._segments:
            told["segment"] = end["segment"]
        if end["end"] == "complete":
            for name in ("incumbent", "candidate", "moved", "incumbent_ns", "candidate_ns"):
                told[name] = end[name]
            told["scores"] = [_score(end.get(f"{who}_score")) for who in SIDES]
            if end.get("request") is not None:
                told["place"] = place(self._seed, end["request"], end["row"])
        return told

    def _missing(self) -> dict[str, Any]:
        return {
            "block": max(self._last, 0),
            "caller": "",
            "end": "shed",
            "pair": 0,
            "part": self._part,
            "requests": 0,
            "segment": None,
        }


def _score(told: float | None) -> str | None:
    """A score as a line has it: signed things hold no floating point. None: it is no number."""
    return None if told is None else format(told, ".9g")


def read_samples(log: SampleLog) -> Iterator[dict[str, Any]]:
    """Samples of a log, oldest first."""
    for line in log.lines():
        found: dict[str, Any] = json.loads(line)
        yield found
