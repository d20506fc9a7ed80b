"""The plain model of sections: a weighed bag of words names the header, frequencies the text.

    header: TF-IDF over words and pairs, logistic regression
    nats of a token: -log((count + 1/2) / (all + known/2)), by the base model's tokeniser

The texts' half is what a decoder has to beat to have learnt more than which words are common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from trainer import archive, codec
from trainer.evaluation.metrics import Answer
from trainer.examples import Examples, Floats, Index
from trainer.notes import sections as notes
from trainer.notes.decoder import Words
from trainer.notes.judge import named
from trainer.notes.settings import Fit
from trainer.specialise.methods import Task
from trainer.specialise.model import Fitted


@dataclass(frozen=True)
class Namer:
    """Names headers by words.

    Attributes:
        words: f words and pairs, each with its column's number.
        idf: float64 [f].
        weights, bias: float64 [h, f], float64 [h].
        headers: h, in the order of the rows.
        critical: those that must not be missed.
        nats: float64 [t], of every token that the tokeniser knows.
        base: the folder of the tokeniser.
        limits: tokens of a dialogue and of a text.
    """

    words: Mapping[str, int]
    idf: Floats
    weights: Floats
    bias: Floats
    headers: tuple[str, ...]
    critical: tuple[str, ...]
    nats: Floats
    base: str
    limits: tuple[int, int]

    @property
    def digest(self) -> str:
        """Of all that was learnt."""
        return codec.digest(archive.pack(self.held()))

    def held(self) -> Mapping[str, npt.NDArray[Any]]:
        """All that was learnt."""
        told = {
            "words": dict(self.words),
            "headers": self.headers,
            "critical": self.critical,
            "limits": self.limits,
        }
        return {
            "namer": np.frombuffer(codec.to_json(told).encode(), np.uint8),
            "idf": self.idf,
            "weights": self.weights,
            "bias": self.bias,
            "nats": self.nats,
        }

    @classmethod
    def of(cls, held: Mapping[str, npt.NDArray[Any]], base: str) -> Namer:
        """What `held` told, with the folder of the base model."""
        told = codec.from_json(dict[str, Any], held["namer"].tobytes().decode())
        return cls(
            words=told["words"],
            idf=held["idf"],
            weights=held["weights"],
            bias=held["bias"],
            headers=tuple(told["headers"]),
            critical=tuple(told["critical"]),
            nats=held["nats"],
            base=base,
            limits=(told["limits"][0], told["limits"][1]),
        )

    @cached_property
    def _tokens(self) -> Words:
        return Words(self.base, *self.limits)

    def chances(self, dialogues: Sequence[str]) -> Floats:
        """float64 [n, h]: the logarithm of each header's chance, but for a constant a row."""
        made = TfidfVectorizer(**WEIGHED, vocabulary=dict(self.words))
        made.idf_ = self.idf
        return np.asarray(made.transform(dialogues) @ self.weights.T + self.bias)

    def scores(self, examples: Examples, threads: int = 1) -> Floats:
        """float64 [n, 5], see `Answer`; one thread is all it takes."""
        del threads
        sections = notes.sections_of(examples)
        found = []
        for one, chances in zip(sections, self.chances(examples.texts), strict=True):
            text = self._tokens.text(one)
            nats = float(self.nats[list(text)].sum())
            found.append(
                (*named(chances, self.headers, self.critical, one.header), nats, len(text))
            )
        return np.array(found, np.float64)


WEIGHED: Mapping[str, Any] = {"sublinear_tf": True, "ngram_range": (1, 2)}


def learnt(train: Examples, base: str, fit: Fit) -> Namer:
    """A namer from training cases, which have at least two headers."""
    sections = notes.sections_of(train)
    made = TfidfVectorizer(**WEIGHED, min_df=2)
    x = made.fit_transform(train.texts)
    fitted = LogisticRegression(C=10.0, max_iter=500).fit(x, [one.header for one in sections])
    weights, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:
        # Of two classes only the second's weights are told.
        weights, bias = np.stack([-weights[0], weights[0]]) / 2, np.array([-bias[0], bias[0]]) / 2
    tokens = Words(base, fit.max_tokens, fit.text_tokens)
    counts = np.zeros(tokens.known)
    for one in sections:
        np.add.at(counts, list(tokens.text(one)), 1)
    return Namer(
        words={str(word): int(at) for word, at in made.vocabulary_.items()},
        idf=np.asarray(made.idf_),
        weights=weights,
        bias=bias,
        headers=tuple(str(name) for name in fitted.classes_),
        critical=notes.critical(train),
        nats=-np.log((counts + 0.5) / (counts.sum() + 0.5 * tokens.known)),
        base=base,
        limits=(fit.max_tokens, fit.text_tokens),
    )


def most_frequent(train: Examples, suite: Examples) -> Floats:
    """float64 [n, 5], see `Answer`, of whoever names the most frequent header always."""
    first = notes.headers(notes.sections_of(train))[0]
    found = np.zeros((len(suite), len(Answer)))
    found[:, Answer.RIGHT] = [one.header == first for one in notes.sections_of(suite)]
    return found


def fit(task: Task, how: Fit) -> Fitted:
    """A namer of all training cases, and the scores of each fold by one that did not see it."""
    train = task.train
    order = np.random.default_rng(task.seed).permutation(len(train))
    found: list[tuple[Index, Floats]] = []
    for out in np.array_split(order, task.folds):
        rows = np.setdiff1d(np.arange(len(train)), out)
        found.append((out, learnt(train.take(rows), task.base, how).scores(train.take(out))))
    scores = np.empty((len(train), found[0][1].shape[1]))
    for out, part in found:
        scores[out] = part
    return Fitted(learnt(train, task.base, how), scores, 0.0, "TF-IDF and logistic regression")
