"""What the tests' processes run: small programs on the doubles, printing JSON or nothing."""

from pathlib import Path

import numpy as np

from bench import models
from gateway.engines import Bucket, Model, Tensor
from gateway.engines.conformance import Rows
from tests import graphs

FEATURES = Tensor("features", "FP32", (-1, 32))
SCORE = Tensor("score", "FP32", (-1, 1))
LARGEST = Bucket(8)


def perceptron(**files: bytes) -> Model:
    """The 32-feature network."""
    graph = models.perceptron().SerializeToString()
    return Model((FEATURES,), (SCORE,), {"model.onnx": graph, **files}, "model.onnx")


def words(folder: Path) -> Model:
    """A text model: the sum of its tokens."""
    graph = graphs.token_sum(folder / "words.onnx").read_bytes()
    contract = b'[text]\nmask = "attention_mask"\n'
    inputs = tuple(Tensor(n, "INT64", (-1, -1)) for n in ("input_ids", "attention_mask"))
    outputs = tuple(Tensor(n, "FP32", (-1, 1)) for n in ("score", "length"))
    return Model(inputs, outputs, {"model.onnx": graph, "contract.toml": contract}, "model.onnx")


def rows_of(rows: int, length: int) -> Rows:
    """Rows for the network."""
    return [models.rows(rows)]


def tokens_of(rows: int, length: int) -> Rows:
    """Token ids and masks of rows with different lengths."""
    chance = np.random.default_rng(rows * 1000 + length)
    ids = chance.integers(1, 500, (rows, length))
    mask = np.arange(length) < chance.integers(1, length + 1, (rows, 1))
    return [np.where(mask, ids, 0), mask.astype(np.int64)]
