"""An encoder and the runs of a text's word pieces, in one graph: what each sees, the other misses.

The encoder (LoRA, `trainer.specialise.lora`) reads the first tokens and generalises; the runs
(`trainer.specialise.ngrams`) read all of them and know names. Their log-odds are added with two
weights and a constant that are fitted, by logistic regression, on cases that neither has seen.

    score = sigmoid(a * encoder's log-odds + b * runs' log-odds + c)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from trainer.encoder import IDS, MASK, OPSET
from trainer.encoder import to_onnx as encoder_graph
from trainer.examples import Floats
from trainer.export import OUTPUT
from trainer.specialise import lora, ngrams
from trainer.specialise.bases import tokenizer_of
from trainer.specialise.methods import Method, Task
from trainer.specialise.model import Fitted, Model
from trainer.tokens import bare, encode


def fit(task: Task) -> Fitted:
    """Both parts and what joins them.

    Only the cases that joined the parts have a score of their own: the others were fitted on.

    Raises:
        InputError: no base model.
        TrainError: the encoder's fit diverged.
    """
    p, y = task.parameters, task.train.y.astype(np.int8)
    tokenizer = tokenizer_of(task.base)
    tokens = int(p["max_tokens"])
    limits = tokens, 8 * tokens
    ids = encode(tokenizer, task.train.texts, *limits)
    order = np.random.default_rng(task.seed).permutation(len(ids))
    joining, rest = np.sort(order[: int(p["joining"])]), np.sort(order[int(p["joining"]) :])
    runs = ngrams.Runs(2**15, (1, 2), 2 ** int(p["buckets_log2"]))
    counts = ngrams.rows_of(ids, runs)
    idf = ngrams.idf_of(counts)
    x = ngrams.weighed(counts, idf)
    with threadpool_limits(1, user_api="blas"):
        part = ngrams.fit_logistic(x[rest], y[rest], task.weights[rest], p["strength"])
        whole = ngrams.fit_logistic(x, y, task.weights, p["strength"])
    short = [one[: int(p["encoder_tokens"])] for one in ids]
    chosen = np.sort(order[int(p["joining"]) :][: int(p["encoder_cases"])])
    steps = lora.plan(np.array([len(one) for one in short]), chosen, p, task.seed)
    network = lora.learn(task, short, steps, "encoder")
    seen = lora.scores(network, short, joining, task.device)
    joined = np.column_stack([log_odds(seen), part.decision_function(x[joining])])
    joiner = LogisticRegression(C=100.0).fit(joined, y[joining])
    found = np.full(len(ids), np.nan)
    found[joining] = joiner.predict_proba(joined)[:, 1]
    heads = int(network.encoder.config.num_attention_heads)
    encoder, head = lora.merged(network, tokenizer, heads)
    graph = join(
        encoder_graph(encoder, head),
        ngrams.to_onnx(whole.coef_[0], float(whole.intercept_[0]), idf, runs, "runs", OPSET),
        [float(v) for v in joiner.coef_[0]],
        float(joiner.intercept_[0]),
        int(p["encoder_tokens"]),
    )
    model = Model(graph, bare(tokenizer), *limits)
    some = joining[:128]
    both = np.column_stack([log_odds(seen[:128]), whole.decision_function(x[some])])
    expected = joiner.predict_proba(both)[:, 1]
    difference = float(np.max(np.abs(expected - model.scores(task.train.take(some)))))
    weights = f"{joiner.coef_[0][0]:.2f} and {joiner.coef_[0][1]:.2f}"
    return Fitted(model, found, difference, f"LoRA encoder and runs of word pieces ({weights})")


def log_odds(scores: Floats) -> Floats:
    """Log-odds of probabilities, within what float32 tells from 0 and 1."""
    inside = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(inside / (1 - inside)))


def join(encoder: bytes, runs: bytes, weights: list[float], constant: float, tokens: int) -> bytes:
    """One graph of two: the encoder gets the first `tokens` tokens, the runs all of them.

    Args:
        encoder, runs: graphs whose last node is the sigmoid of their log-odds.
        weights: of the encoder's and of the runs' log-odds.
        constant: added.
        tokens: the encoder's.
    """
    first, second = onnx.load_from_string(encoder), onnx.load_from_string(runs)
    held: dict[str, Any] = {
        "first_from": np.array([0], np.int64),
        "first_to": np.array([tokens], np.int64),
        "first_axis": np.array([1], np.int64),
        "first_weight": np.array([weights[0]], np.float32),
        "second_weight": np.array([weights[1]], np.float32),
        "constant": np.array([constant], np.float32),
    }
    nodes = [
        helper.make_node("Slice", [name, "first_from", "first_to", "first_axis"], [f"short_{name}"])
        for name in (IDS, MASK)
    ]
    one = _within(first, "encoder/", {name: f"short_{name}" for name in (IDS, MASK)})
    other = _within(second, "runs/", {})
    nodes += [*one[0], *other[0]]
    nodes += [
        helper.make_node("Mul", [one[1], "first_weight"], ["first_weighed"]),
        helper.make_node("Mul", [other[1], "second_weight"], ["second_weighed"]),
        helper.make_node("Sum", ["first_weighed", "second_weighed", "constant"], ["log_odds"]),
        helper.make_node("Sigmoid", ["log_odds"], [OUTPUT]),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(
        nodes,
        "encoder and runs",
        list(first.graph.input),
        list(second.graph.output),
        [*one[2], *other[2], *constants],
    )
    model = helper.make_model(graph, opset_imports=first.opset_import, producer_name="sluicegate")
    model.ir_version = first.ir_version
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _within(model: Any, prefix: str, inputs: dict[str, str]) -> tuple[list[Any], str, list[Any]]:
    """A graph's nodes without the last sigmoid, the name of its log-odds, and its constants."""
    given = {value.name for value in model.graph.input}

    def named(value: str) -> str:
        return inputs.get(value, value) if value in given or not value else prefix + value

    kept, log_odds_name = [], ""
    for node in model.graph.node:
        if OUTPUT in node.output:
            log_odds_name = named(node.input[0])
            continue
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name = prefix + node.output[0]
        del copied.input[:], copied.output[:]
        copied.input.extend(named(value) for value in node.input)
        copied.output.extend(prefix + value for value in node.output)
        kept.append(copied)
    constants = []
    for value in model.graph.initializer:
        copied = onnx.TensorProto()
        copied.CopyFrom(value)
        copied.name = prefix + value.name
        constants.append(copied)
    return kept, log_odds_name, constants


TEXT_FUSED = Method(
    fit=fit,
    first={
        **lora.TEXT_LORA.first,
        "epochs": 1,
        "encoder_cases": 1500,
        "encoder_tokens": 64,
        "joining": 1000,
        "max_tokens": 512,
        "strength": 30.0,
        "buckets_log2": 20,
    },
    ranges={"rate": (2e-4, 1e-3, "log"), "strength": (5.0, 200.0, "log")},
    texts=True,
    torch=True,
)
