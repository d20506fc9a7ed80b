"""Joins outcomes that come later with the pairs of a comparison.

An outcome names a request and a row. Neither is kept: a place is their keyed hash, under the run's
seed, so whoever has the decision log can join them again once the seed is told.
"""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

from governance.canonical import MAX_INTEGER
from governance.service.waiting import Waiting, Word
from governance.shadow.labels import YES, Labels, labelled

PLACE_DIGITS: Final = 32


def place(seed: bytes, request: str, row: int) -> str:
    """Name a row of a request without telling which: 32 hexadecimal digits."""
    return hmac.digest(seed, f"{row}\n{request}".encode(), "sha256").hex()[:PLACE_DIGITS]


class Joined:
    """The pairs of a run by their places, and the last word on each.

    `waiting` are outcomes whose pair has not ended.
    """

    def __init__(self, seed: bytes, waiting: Waiting) -> None:
        self._seed, self._waiting = seed, waiting
        # What incumbent and candidate decided.
        self._pairs: dict[str, tuple[bool, bool]] = {}
        self._words: dict[str, Word] = {}
        self._counted: dict[str, bool] = {}

    def late(self) -> list[dict[str, Any]]:
        """Lines for outcomes that wait though their pair is known: a kill came between."""
        found: list[dict[str, Any]] = []
        for where in self._waiting.places():
            if where in self._pairs and (word := self._waiting.take(where)) is not None:
                found += self._news(where, word)
        return found

    def lines(
        self,
        samples: Iterable[Mapping[str, Any]],
        outcomes: Iterable[Mapping[str, Any]],
        now: int,
    ) -> list[dict[str, Any]]:
        """Lines for the log of samples: outcomes that are news of a pair.

        `samples` are new ones, `outcomes` those that were reported since the last question; `now`
        in seconds since 1970.
        """
        found: list[dict[str, Any]] = []
        for sample in samples:
            where = self.know(sample)
            if where is not None and (word := self._waiting.take(where)) is not None:
                found += self._news(where, word)
        for outcome in outcomes:
            where = place(self._seed, str(outcome["request"]), int(outcome["row"]))
            at = min(int(outcome["time_ns"]) // 1000, MAX_INTEGER)
            word = (at, float(outcome["label"]) >= YES)
            if where in self._pairs:
                found += self._news(where, word)
            else:
                self._waiting.add(where, word, now)
        return found

    def know(self, sample: Mapping[str, Any]) -> str | None:
        """Remember a pair; its place, if an outcome can be joined with it.

        Ids have to be unique. Of two pairs under one id the first counts.
        """
        where: str | None = sample.get("place")
        if where is not None:
            decided = (bool(sample["incumbent"]), bool(sample["candidate"]))
            self._pairs.setdefault(where, decided)
        return where

    def change(self, line: Mapping[str, Any]) -> Labels:
        """What a line of the log changes of the counts."""
        where, truth = line["place"], bool(line["label"])
        self._words[where] = max((line["time_us"], truth), self._words.get(where, (-1, False)))
        pair = self._pairs[where]
        now = labelled(*pair, truth)
        if where in self._counted:
            now = now - labelled(*pair, self._counted[where])
        self._counted[where] = truth
        return now

    def _news(self, where: str, word: Word) -> list[dict[str, Any]]:
        if word <= self._words.get(where, (-1, False)):
            return []
        self._words[where] = word
        return [{"label": word[1], "place": where, "time_us": word[0]}]
