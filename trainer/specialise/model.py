"""A fitted candidate: its graph, how texts become its tokens, and its scores of cases.

Scores are, by definition, those of ONNX Runtime on the exported graph: the bytes that are served.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer import codec
from trainer.examples import Examples, Floats
from trainer.export import INPUT
from trainer.inference import feed, same_length, session
from trainer.tokens import encode

BATCH = 256
TOKENS_AT_ONCE = 8192


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
        fold_scores: float64 [n], each training case's score by a model fitted without it; NaN for
            cases that no such model has scored.
        difference: the greatest between the source's scores and the graph's.
        method: in words.
    """

    model: Model
    fold_scores: Floats
    difference: float
    method: str
