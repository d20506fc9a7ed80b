"""Fits a specialist on texts: a published encoder as it is, and a head fitted to its embeddings.

The head is fitted to the embeddings of the graph that will be served, in its precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from trainer.choose import choose
from trainer.encoder import Head, to_onnx
from trainer.export import Classifier
from trainer.fitted import Fitted, agreement
from trainer.inference import Advance, run_once
from trainer.minilm import Encoder
from trainer.precision import INT8_PER_TOKEN, Precision
from trainer.texts import TextDataset, unseen
from trainer.tokens import MAX_BYTES, MAX_TOKENS, Ids, bare, encode

# Inverse strengths of the head's regularisation. Embeddings have length 1, so the best is large
# for a logistic regression.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class FittedText(Fitted[TextDataset]):
    """A specialist whose graph takes int64 `input_ids` and `attention_mask` [batch, tokens].

    Attributes:
        tokenizer: its tokenizer.json, without padding and truncation of its own.
        max_tokens, max_bytes: of a text at most; see `trainer.tokens.encode`.
        held_out_ids: m held-out texts' tokens, in the order of the scores.
        head: as in the graph.
    """

    tokenizer: bytes
    max_tokens: int
    max_bytes: int
    held_out_ids: tuple[Ids, ...]
    head: Head

    @property
    def held_out_texts(self) -> tuple[str, ...]:
        """The m held-out texts, in the order of the scores."""
        return tuple(self.dataset.texts[row] for row in self.parts.held_out)


def candidates() -> dict[str, LogisticRegression]:
    """Unfitted heads to choose from, the simplest first: it wins a tie."""
    return {
        f"logistic regression (C = {strength:g})": LogisticRegression(C=strength, max_iter=2000)
        for strength in STRENGTHS
    }


def fit(
    dataset: TextDataset,
    encoder: Encoder,
    precision: Precision = INT8_PER_TOKEN,
    *,
    cache: Path | None = None,
    advance: Advance | None = None,
) -> FittedText:
    """The head with the best cross-validated AUC, behind the encoder, exported and measured.

    The choice and the threshold see training texts only. Embeddings and scores are kept in
    `cache`, so the same fit takes no time again.

    Args:
        dataset: the texts, split.
        encoder: stays as it is.
        precision: of the encoder; the head is float32.
        cache: `trainer.fetch.default_cache()` if None.
        advance: is told how many rows the encoder has computed since the last time; it computes
            `rows_to_compute(dataset)` at most.

    Raises:
        AgreementError: the exported graph's scores are more than 0.001 off.
    """
    ids = encode(encoder.tokenizer, dataset.texts)
    parts, y = dataset.parts, dataset.y[dataset.parts.train]
    x = run_once(to_onnx(encoder, precision=precision), ids, cache, advance)
    heads: dict[str, Classifier] = {**candidates()}
    chosen = choose(heads, x[parts.train], y, dataset.costs)
    model = candidates()[chosen.name].fit(x[parts.train], y)
    head = Head(model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32))
    graph = to_onnx(encoder, head, precision)
    held_out = tuple(ids[row] for row in parts.held_out)
    scores = run_once(graph, held_out, cache, advance)[:, 0]
    expected = model.predict_proba(x[parts.held_out])[:, 1]
    return FittedText(
        dataset=dataset,
        parts=parts,
        model=f"{encoder.name} ({precision.name}), {chosen.name}",
        cv_auc=chosen.cv_auc,
        onnx=graph,
        threshold=chosen.threshold,
        held_out_scores=scores,
        held_out_new=unseen(ids, parts),
        agreement=agreement(expected, scores, chosen.threshold),
        tokenizer=bare(encoder.tokenizer),
        max_tokens=MAX_TOKENS,
        max_bytes=MAX_BYTES,
        held_out_ids=held_out,
        head=head,
    )


def rows_to_compute(dataset: TextDataset) -> int:
    """How many rows the encoder computes for a fit: every embedding, and the held-out scores."""
    return len(dataset.texts) + len(dataset.parts.held_out)
