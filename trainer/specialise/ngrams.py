"""Fits on texts by the runs of their tokens: a weight a run, looked up by a hash, and one graph.

A text's tokens t are numbers under `base`. The run of n tokens that begins at i has the number
sum of t[i+j] * base^(n-1-j), is mixed by (number mod P) * M_n mod P, and has the weight of the
bucket that this falls into, mod the number of buckets. The score is sigmoid(bias + sum of weights
* idf / norm), with norm the root of the sum of squared idf over the text's runs. The graph does
the same on int64, so a text costs a look-up a run; P is 2^31 - 1, and no product passes 2^62.

Hashing of n-grams: Weinberger et al. 2009. idf = 1 + log((1 + texts) / (1 + texts with it)).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from trainer.encoder import IDS, MASK
from trainer.examples import Floats
from trainer.export import OUTPUT
from trainer.graph import Graph, float32, int64
from trainer.specialise.bases import tokenizer_of
from trainer.specialise.methods import Method, Task
from trainer.specialise.model import Fitted, Model
from trainer.tokens import Ids, bare, encode

P = 2**31 - 1
# Odd and unlike each other, for runs of 1, 2, … tokens.
MIXERS = (1_000_003, 1_566_083_941, 899_809_343, 1_879_881_855, 1_341_315_363, 668_265_263)
OPSET = 17
CHARACTERS_KNOWN = "abcdefghijklmnopqrstuvwxyz0123456789-._"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MAX_SPARSE_ITERATIONS = 150


@dataclass(frozen=True)
class Runs:
    """How runs are made: tokens under `base`, runs of these lengths, so many buckets."""

    base: int
    lengths: tuple[int, ...]
    buckets: int


def character_tokenizer() -> bytes:
    """A tokenizer.json that makes a token of each character, with a mark at both ends.

    39 characters of host names have tokens of their own; all others share one.
    """
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *CHARACTERS_KNOWN))}
    marks = [{"SpecialToken": {"id": mark, "type_id": 0}} for mark in ("[CLS]", "[SEP]")]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": word,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for i, word in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "."},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [marks[0], {"Sequence": {"id": "A", "type_id": 0}}, marks[1]],
            "pair": [
                marks[0],
                {"Sequence": {"id": "A", "type_id": 0}},
                marks[1],
                {"Sequence": {"id": "B", "type_id": 0}},
                marks[1],
            ],
            "special_tokens": {
                word: {"id": word, "ids": [vocabulary[word]], "tokens": [word]}
                for word in ("[CLS]", "[SEP]")
            },
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    return json.dumps(tokenizer).encode()


def buckets_of(ids: Ids, runs: Runs) -> npt.NDArray[np.int64]:
    """int64 [r]: the buckets of a text's runs, lengths one after the other."""
    found = []
    for n in runs.lengths:
        size = len(ids) - n + 1
        if size <= 0:
            continue
        number = np.zeros(size, np.int64)
        for j in range(n):
            number = number * runs.base + ids[j : j + size]
        found.append((number % P) * MIXERS[n - 1] % P % runs.buckets)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def rows_of(texts: Sequence[Ids], runs: Runs) -> sparse.csr_matrix:
    """[n, buckets]: how often each bucket occurs in each text."""
    found = [buckets_of(ids, runs) for ids in texts]
    ends = np.cumsum([0, *(len(one) for one in found)])
    columns = np.concatenate(found) if found else np.zeros(0, np.int64)
    made = sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, ends), (len(texts), runs.buckets)
    )
    made.sum_duplicates()
    return made


def idf_of(counts: sparse.csr_matrix) -> Floats:
    """float64 [buckets]: how rare each is."""
    seen = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.asarray(1 + np.log((1 + counts.shape[0]) / (1 + seen)))


def weighed(counts: sparse.csr_matrix, idf: Floats) -> sparse.csr_matrix:
    """Counts times idf, each row by the root of the sum of idf² over its runs."""
    norm = np.sqrt(np.maximum(counts @ (idf**2), 1e-12))
    return sparse.csr_matrix(
        sparse.diags(1 / norm).astype(np.float32) @ counts @ sparse.diags(idf).astype(np.float32)
    )


def to_onnx(
    weights: Floats, bias: float, idf: Floats, runs: Runs, name: str, opset: int = OPSET
) -> bytes:
    """The graph; the same arguments give the same bytes."""
    graph = Graph()
    total, squares = _sums(graph, weights * idf, idf, runs)
    tiny = graph.constant("tiny", [1e-12])
    norm = graph.add("Sqrt", [graph.add("Max", [squares, tiny], "at_least")], "norm")
    scaled = graph.add("Div", [total, norm], "scaled")
    logit = graph.add("Add", [scaled, graph.constant("bias", [bias])], "logit")
    graph.add("Sigmoid", [logit], OUTPUT)
    inputs = [int64(IDS, "batch", "tokens"), int64(MASK, "batch", "tokens")]
    return graph.model(name, inputs, float32(OUTPUT, "batch", 1), opset=opset)


def _sums(graph: Graph, weights: Floats, idf: Floats, runs: Runs) -> tuple[str, str]:
    """Two values [batch, 1]: the sum of weights, and of squared idf, over all runs."""
    table = graph.constant("weights", weights, np.float32)
    rarity = graph.constant("idf_squared", idf**2, np.float32)
    kept = graph.add("Cast", [MASK], "kept", to=1)
    prime, buckets = _whole(graph, "prime", P), _whole(graph, "buckets", runs.buckets)
    base, axis = _whole(graph, "base", runs.base), graph.constant("last", [1], np.int64)
    sums: list[str] = []
    squares: list[str] = []
    for n in runs.lengths:
        number = _window(graph, IDS, n, 0)
        for j in range(1, n):
            shifted = graph.add("Mul", [number, base], f"times_{n}_{j}")
            number = graph.add("Add", [shifted, _window(graph, IDS, n, j)], f"number_{n}_{j}")
        small = graph.add("Mod", [number, prime], f"small_{n}")
        mixed = graph.add("Mul", [small, _whole(graph, f"mixer_{n}", MIXERS[n - 1])], f"mixed_{n}")
        spread = graph.add("Mod", [mixed, prime], f"spread_{n}")
        bucket = graph.add("Mod", [spread, buckets], f"bucket_{n}")
        # A run is there if its last token is: padding is on the right.
        there = _window(graph, kept, n, n - 1)
        for told, source, name in ((sums, table, "weight"), (squares, rarity, "square")):
            found = graph.add("Gather", [source, bucket], f"{name}_{n}", axis=0)
            masked = graph.add("Mul", [found, there], f"{name}_there_{n}")
            told.append(graph.add("ReduceSum", [masked, axis], f"{name}_sum_{n}", keepdims=1))
    return graph.add("Sum", sums, "total"), graph.add("Sum", squares, "squares")


def _window(graph: Graph, value: str, n: int, j: int) -> str:
    """The j-th token of every run of n: value[:, j : tokens - n + 1 + j]."""
    end = j - n + 1 if j < n - 1 else np.iinfo(np.int64).max
    name = f"{value}_{n}_{j}"
    starts = graph.constant(f"{name}_from", [j], np.int64)
    ends = graph.constant(f"{name}_to", [end], np.int64)
    return graph.add("Slice", [value, starts, ends, graph.constant("axis_1", [1], np.int64)], name)


def _whole(graph: Graph, name: str, value: int) -> str:
    return graph.constant(name, value, np.int64)


def fit_logistic(x: Any, y: npt.NDArray[np.int8], weights: Floats, strength: float) -> Any:
    """Logistic regression on sparse rows."""
    model = LogisticRegression(C=strength, max_iter=MAX_SPARSE_ITERATIONS)
    return model.fit(x, y, sample_weight=weights)


def fit(task: Task, tokenizer: bytes, runs: Runs, limits: tuple[int, int], name: str) -> Fitted:
    """Fold scores, then the weights on all training cases, and their graph."""
    y = task.train.y.astype(np.int8)
    ids = encode(tokenizer, task.train.texts, *limits)
    counts = rows_of(ids, runs)
    idf = idf_of(counts) if task.parameters["idf"] else np.ones(runs.buckets)
    x, strength = weighed(counts, idf), task.parameters["strength"]
    scores = np.empty(len(y))
    with threadpool_limits(1, user_api="blas"):
        folds = StratifiedKFold(task.folds, shuffle=True, random_state=task.seed)
        for train, test in folds.split(x, y):
            fitted = fit_logistic(x[train], y[train], task.weights[train], strength)
            scores[test] = fitted.predict_proba(x[test])[:, 1]
        whole = fit_logistic(x, y, task.weights, strength)
    graph = to_onnx(whole.coef_[0], float(whole.intercept_[0]), idf, runs, "runs of tokens")
    model = Model(graph, bare(tokenizer), *limits)
    some = np.arange(min(len(y), 1000))
    expected = whole.predict_proba(x[some])[:, 1]
    difference = float(np.max(np.abs(expected - model.scores(task.train.take(some)))))
    return Fitted(model, scores, difference, name)


def fit_characters(task: Task) -> Fitted:
    """Runs of characters, for names."""
    lengths = tuple(range(1, int(task.parameters["longest"]) + 1))
    runs = Runs(64, lengths, 2 ** int(task.parameters["buckets_log2"]))
    return fit(task, character_tokenizer(), runs, (66, 256), "runs of characters")


def fit_words(task: Task) -> Fitted:
    """Runs of word pieces, for prose."""
    lengths = tuple(range(1, int(task.parameters["longest"]) + 1))
    runs = Runs(2**15, lengths, 2 ** int(task.parameters["buckets_log2"]))
    tokens = int(task.parameters["max_tokens"])
    return fit(task, tokenizer_of(task.base), runs, (tokens, 8 * tokens), "runs of word pieces")


CHARACTERS = Method(
    fit=fit_characters,
    first={"longest": 6, "buckets_log2": 20, "strength": 10.0, "idf": 1},
    ranges={"longest": (4, 6, "whole"), "strength": (2.0, 60.0, "log")},
    texts=True,
)
WORDS = Method(
    fit=fit_words,
    first={"longest": 2, "buckets_log2": 20, "strength": 30.0, "idf": 1, "max_tokens": 512},
    ranges={"longest": (1, 3, "whole"), "strength": (5.0, 200.0, "log")},
    texts=True,
)
