"""Runs a text graph over many texts in ONNX Runtime, and keeps the answers.

Texts of the same number of tokens go together, so that nothing is padded: each row is computed
as it is alone. Answers are kept under the digest of all that they follow from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from trainer.encoder import IDS, MASK
from trainer.fetch import default_cache
from trainer.tokens import Ids

Rows = npt.NDArray[np.float32]
Advance = Callable[[int], None]

BATCH = 16


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session as the gateway's, on the CPU and by default on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def feed(ids: Sequence[Ids], tokens: int | None = None) -> dict[str, npt.NDArray[np.int64]]:
    """The graph's two inputs, int64 [rows, tokens], each row padded on the right with zeros.

    Args:
        ids: each row's tokens.
        tokens: how many a row gets; the longest row's if None.

    Raises:
        ValueError: a row has more than `tokens`.
    """
    longest = max(len(row) for row in ids)
    width = longest if tokens is None else tokens
    if longest > width:
        raise ValueError(f"A row of {longest} tokens cannot be padded to {width}.")
    padded = np.zeros((len(ids), width), np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    for row, own in enumerate(ids):
        padded[row, : len(own)], mask[row, : len(own)] = own, 1
    return {IDS: padded, MASK: mask}


def run(graph: bytes, ids: Sequence[Ids], advance: Advance | None = None) -> Rows:
    """float32 [n, d]: the graph's one output for each of n texts, on all cores.

    Args:
        graph: takes `input_ids` and `attention_mask`.
        ids: each text's tokens.
        advance: is told after each batch how many rows it had.
    """
    opened = session(graph, os.cpu_count() or 1)
    answers: list[Rows | None] = [None] * len(ids)
    for batch in same_length(ids, BATCH):
        (given,) = opened.run(None, feed([ids[row] for row in batch]))
        for row, answer in zip(batch, given, strict=True):
            answers[row] = answer
        if advance is not None:
            advance(len(batch))
    return np.array(answers, np.float32)


def run_once(
    graph: bytes, ids: Sequence[Ids], cache: Path | None = None, advance: Advance | None = None
) -> Rows:
    """Like `run`; the answers are kept in `cache`, and read from there the next time."""
    path = (cache or default_cache()) / f"answers-{key(graph, ids)[:32]}.npy"
    if path.is_file():
        kept: Rows = np.load(path, allow_pickle=False)
        return kept
    answers = run(graph, ids, advance)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is whole: a broken run leaves no half file under this name.
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, answers, allow_pickle=False)
    part.replace(path)
    return answers


def key(graph: bytes, ids: Sequence[Ids]) -> str:
    """Hex SHA-256 of what the answers follow from.

    The graph holds the weights in their precision; the tokens are what the tokeniser and both
    limits made of the texts; ONNX Runtime may round otherwise from one version to the next.
    """
    told = hashlib.sha256(onnxruntime.__version__.encode())
    told.update(hashlib.sha256(graph).digest())
    for row in ids:
        told.update(hashlib.sha256(row.astype("<i8", copy=False).tobytes()).digest())
    return told.hexdigest()


def same_length(ids: Sequence[Ids], most: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most `most` rows of one length, the longest rows first."""
    by_length: dict[int, list[int]] = {}
    for row, own in enumerate(ids):
        by_length.setdefault(len(own), []).append(row)
    for length in sorted(by_length, reverse=True):
        rows = by_length[length]
        yield from (rows[start : start + most] for start in range(0, len(rows), most))
