"""A fitted candidate: its graph, how texts become its tokens, and its scores of cases.

Scores are, by definition, those of ONNX Runtime on the exported graph: the bytes that are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainer import codec
from trainer.examples import Examples, Floats
from trainer.export import INPUT
from trainer.inference import feed, same_length, session
from trainer.tokens import encode

BATCH = 256
TOKENS_AT_ONCE = 8192


class Scorer(Protocol):
    """What the loop needs of a candidate, or of a plain model beside it.

    `trainer.specialise.stored` makes one again from what it holds.
    """

    @property
    def digest(self) -> str:
        """Of all of it."""

    def scores(self, examples: Examples, threads: int = 1) -> Floats:
        """float64 [n], or [n, k] where a task asks for more than one number a case."""

    def held(self) -> Mapping[str, npt.NDArray[Any]]:
        """Its parts as arrays, by name."""


@dataclass(frozen=True)
class Model:
    """A candidate's bytes.

    Attributes:
        graph: ONNX; takes float32 `features` [batch, f], or int64 `input_ids` and
            `attention_mask` [batch, tokens]; gives float32 `score` [batch, 1].
        tokenizer: a tokenizer.json; empty for rows of numbers.
        max_tokens, max_bytes: of a text; see `trainer.tokens.encode`.
    """

    graph: bytes
    tokenizer: bytes = b""
    max_tokens: int = 0
    max_bytes: int = 0

    @property
    def digest(self) -> str:
        """Of all of it."""
        return codec.digest(self)

    def held(self) -> Mapping[str, npt.NDArray[Any]]:
        """Graph, tokeniser and limits."""
        return {
            "graph": np.frombuffer(self.graph, np.uint8),
            "tokenizer": np.frombuffer(self.tokenizer, np.uint8),
            "limits": np.array([self.max_tokens, self.max_bytes], np.int64),
        }

    @classmethod
    def of(cls, held: Mapping[str, npt.NDArray[Any]]) -> Model:
        """What `held` told."""
        tokens, size = (int(v) for v in held["limits"])
        return cls(held["graph"].tobytes(), held["tokenizer"].tobytes(), tokens, size)

    def scores(self, examples: Examples, threads: int = 1) -> Floats:
        """float64 [n]: the graph's score of each case."""
        opened = session(self.graph, threads)
        found = np.empty(len(examples))
        if not self.tokenizer:
            for at in range(0, len(examples), BATCH):
                rows = np.ascontiguousarray(examples.x[at : at + BATCH])
                found[at : at + BATCH] = opened.run(None, {INPUT: rows})[0][:, 0]
            return found
        ids = encode(self.tokenizer, examples.texts, self.max_tokens, self.max_bytes)
        longest = max((len(row) for row in ids), default=1)
        for batch in same_length(ids, max(1, min(BATCH, TOKENS_AT_ONCE // max(longest, 1)))):
            found[batch] = opened.run(None, feed([ids[row] for row in batch]))[0][:, 0]
        return found


@dataclass(frozen=True)
class Fitted:
    """What fitting gives.

    Attributes:
        model: fitted on all training cases.
        fold_scores: as `Scorer.scores`, each training case's score by a model fitted without it;
            NaN for cases that no such model has scored.
        difference: the greatest between the source's scores and the graph's.
        method: in words.
    """

    model: Scorer
    fold_scores: Floats
    difference: float
    method: str
