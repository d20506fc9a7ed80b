"""Scenario kind `precision`: the text encoder's precisions, by speed, quality and independence.

A row's decision must not depend on its neighbours in the batch. So each held-out post is scored
alone, among others of its length, and among others padded to one length, and the decisions are
compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

from bench import machine
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.setting import Say
from bench.variants import Variant, variants
from trainer.fitted import OnnxScores
from trainer.inference import BATCH, feed, same_length, session
from trainer.minilm import load_encoder
from trainer.newsgroups import load_posts
from trainer.precision import FLOAT32, INT8_PER_TOKEN
from trainer.quality import Labels, auc, decide
from trainer.text import fit
from trainer.tokens import MAX_TOKENS, Ids, encode

CALIBRATION_TEXTS = 256
# Rows in a batch, tokens in a row.
Shape = tuple[int, int]
SHAPES = tuple((rows, tokens) for rows in (1, BATCH) for tokens in (16, 32, MAX_TOKENS))
SHOWN = ((1, MAX_TOKENS), (BATCH, MAX_TOKENS))


@dataclass(frozen=True)
class Scored:
    """The held-out posts' scores, float32 [m] each, by one variant.

    Attributes:
        alone: in a batch of their own.
        beside: among up to 15 others of their length.
        padded: among 15 others, all padded to `MAX_TOKENS`.
    """

    alone: OnnxScores
    beside: OnnxScores
    padded: OnnxScores


def precision(s: Scenario, say: Say) -> Result:
    """Every variant's ms a row on one core, its AUC, and the decisions that its batches flip.

    `targets`: the most decisions that the default may flip, and the most AUC it may lose.
    """
    encoder, posts = load_encoder(), load_posts()
    say(f"{s.name}: the head, on float32 embeddings")
    fitted = fit(posts, encoder, FLOAT32)
    ids = encode(encoder.tokenizer, posts.texts)
    full = [ids[row] for row in posts.parts.train if len(ids[row]) == MAX_TOKENS]
    calibration = full[:CALIBRATION_TEXTS]
    say(f"{s.name}: quantise")
    found = list(variants(encoder, fitted.head, calibration))
    scored = {}
    for variant in found:
        say(f"{s.name}: {variant.name}, {len(fitted.held_out_ids):,} posts three times")
        scored[variant.name] = scores(variant, fitted.held_out_ids)
    with _on_cores(s.server_cores):
        times = timed(s, say, found, full)
    reference, threshold, y = scored[FLOAT32.name].alone, fitted.threshold, fitted.held_out_y
    told = {
        variant.name: {
            "variant": variant.name,
            "megabytes": len(variant.graph) / 1e6,
            **compared(scored[variant.name], reference, threshold, y),
            "ms_a_row": {_shape(shape): times[variant.name, shape] for shape in SHAPES},
        }
        for variant in found
    }
    figures = [figure for about in told.values() for figure in _figures(about)]
    figures += _promised(s, told)
    bars = tuple(Bar(variant.name, median(times[variant.name, SHOWN[-1]])) for variant in found)
    conditions = {
        "core": s.server_cores,
        "threads": 1,
        "clock": "processor time of the thread",
        "repeats": s.repeats,
        "window_s": s.duration_s,
        "vnni": any("vnni" in flag for flag in machine.processor_flags()),
        "held_out": len(y),
        "held_out_shorter_than_64_tokens": sum(len(i) < MAX_TOKENS for i in fitted.held_out_ids),
        "calibration_texts": len(calibration),
        "threshold": threshold,
    }
    unit = f"ms a row ({_shape(SHOWN[-1])})"
    runs = tuple(told.values())
    return Result(s.name, s.title, conditions, tuple(figures), bars, unit, runs)


def scores(variant: Variant, ids: Sequence[Ids]) -> Scored:
    """The scores of texts with these tokens, alone and in company, on one thread."""
    opened = session(variant.graph)
    rows = list(range(len(ids)))
    mixed = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return Scored(
        alone=_scores(opened, ids, [[row] for row in rows]),
        beside=_scores(opened, ids, list(same_length(ids, BATCH))),
        padded=_scores(opened, ids, mixed, MAX_TOKENS),
    )


def compared(found: Scored, reference: OnnxScores, threshold: float, y: Labels) -> dict[str, Any]:
    """A variant's quality beside float32's, and what company does to its rows."""
    own = decide(found.alone, threshold)
    told: dict[str, Any] = {
        "auc": auc(found.alone, y),
        "decided_as_float32": float(np.mean(own == decide(reference, threshold))),
        "largest_change_from_float32": float(np.max(np.abs(found.alone - reference))),
    }
    for company, others in (("beside", found.beside), ("padded", found.padded)):
        told[f"flips_{company}"] = int(np.sum(own != decide(others, threshold)))
        told[f"largest_change_{company}"] = float(np.max(np.abs(found.alone - others)))
    return told


def timed(
    s: Scenario, say: Say, found: Sequence[Variant], full: Sequence[Ids]
) -> dict[tuple[str, Shape], tuple[float, ...]]:
    """ms a row by variant and shape, one median a window; windows alternate between variants.

    Args:
        s: `repeats` windows of `duration_s` each.
        say: shows what is going on.
        found: what to time.
        full: tokens of at least `BATCH` texts of `MAX_TOKENS` tokens; shorter rows are their
            beginnings.
    """
    opened = {variant.name: session(variant.graph) for variant in found}
    times: dict[tuple[str, Shape], list[float]] = {}
    for turn in range(s.repeats):
        for shape in SHAPES:
            say(f"{s.name}: {_shape(shape)}, window {turn + 1} of {s.repeats}")
            rows, tokens = shape
            given = feed([row[:tokens] for row in full[:rows]])
            for name, one in opened.items():
                ms = 1e3 * _median_call(one, given, s.duration_s) / rows
                times.setdefault((name, shape), []).append(ms)
    return {key: tuple(values) for key, values in times.items()}


def _median_call(
    opened: onnxruntime.InferenceSession, given: dict[str, Any], duration_s: float
) -> float:
    """The median call's seconds of processor time, of at least three after a first.

    A session of one thread computes on the caller's. Its processor time leaves out what other
    processes took of the core meanwhile; on a quiet machine it is the time that passed.
    """
    opened.run(None, given)
    calls: list[float] = []
    end = time.perf_counter() + duration_s
    while len(calls) < 3 or time.perf_counter() < end:
        begun = time.thread_time()
        opened.run(None, given)
        calls.append(time.thread_time() - begun)
    return median(calls)


def _scores(
    opened: onnxruntime.InferenceSession,
    ids: Sequence[Ids],
    batches: Sequence[Sequence[int]],
    tokens: int | None = None,
) -> OnnxScores:
    found = np.empty(len(ids), np.float32)
    for batch in batches:
        (answer,) = opened.run(None, feed([ids[row] for row in batch], tokens))
        found[list(batch)] = answer[:, 0]
    return found


def _promised(s: Scenario, told: Mapping[str, Any]) -> list[Figure]:
    """What the default must keep."""
    flips, loss = s.targets
    about = told[INT8_PER_TOKEN.name]
    flipped = about["flips_beside"] + about["flips_padded"]
    lost = told[FLOAT32.name]["auc"] - about["auc"]
    return [
        Figure("default: flipped by company or padding", "posts", (flipped,), flips, False),
        Figure("default: AUC lost against float32", "", (lost,), loss, False),
    ]


def _figures(about: Mapping[str, Any]) -> list[Figure]:
    name = about["variant"]
    shown = [
        Figure(f"{name}: {_shape(shape)}", "ms a row", about["ms_a_row"][_shape(shape)])
        for shape in SHOWN
    ]
    return [
        Figure(f"{name}: flipped by company", "posts", (about["flips_beside"],)),
        Figure(f"{name}: decided as float32", "of posts", (about["decided_as_float32"],)),
        Figure(f"{name}: AUC", "", (about["auc"],)),
        Figure(f"{name}: file", "MB", (about["megabytes"],)),
        *shown,
    ]


def _shape(shape: Shape) -> str:
    rows, tokens = shape
    return f"{rows} row{'s' if rows > 1 else ''} of {tokens} tokens"


@contextmanager
def _on_cores(cores: str) -> Iterator[None]:
    """Keeps this thread on these cores, such as "0" or "0,1"."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
