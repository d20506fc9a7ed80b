"""Cases into training, core and held out; no input on two sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainer.errors import InputError
from trainer.evaluation.leaks import clear_of
from trainer.examples import Examples, Index, joined, of_texts
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import read_columns
from trainer.spec.spec import Spec

TRAIN, CORE, HELD_OUT = 0, 1, 2
# Fewer training cases of a class than this teach nothing.
LEAST_OF_A_CLASS = 20
# What the ids of cases from `data.more` begin with.
MORE = "more-"


@dataclass(frozen=True)
class Parts:
    """Training, core and held-out cases; `dropped` equal ones were taken out of training."""

    train: Examples
    core: Examples
    held_out: Examples
    dropped: int


def split(loaded: Loaded, spec: Spec) -> Parts:
    """The same parts for the same cases, spec and seed.

    Raises:
        InputError: an input is on two sides and `duplicates` says to refuse, or a part has too few
            cases of a class.
    """
    examples = loaded.examples
    side = sides(loaded, spec)
    keys = examples.input_keys()
    kept = np.ones(len(examples), np.bool_)
    seen: dict[bytes, int] = {}
    # What is held out wins over core, and core over training.
    for row in np.argsort(-side, kind="stable"):
        before = seen.setdefault(keys[row], int(side[row]))
        kept[row] = before == side[row]
    crossing = int(np.sum(~kept))
    if crossing and spec.data.duplicates == "refuse":
        raise InputError(
            f"{crossing:,} cases have the same input as a case on another side of the split; take "
            'them out of the data, or say data.duplicates = "drop", for texts "drop_near".'
        )
    rows = [np.flatnonzero(kept & (side == part)) for part in (TRAIN, CORE, HELD_OUT)]
    train, core, held_out = (examples.take(one) for one in rows)
    parts = Parts(train, core, held_out, crossing)
    _check(parts, spec)
    return parts


def with_more(parts: Parts, spec: Spec) -> Parts:
    """The same parts with the texts of `data.more` among the training cases.

    What a suite has is left out, and so is what is a training case already: people's labels win.

    Raises:
        InputError: the file cannot be used.
    """
    if not spec.data.more:
        return parts
    if not parts.train.texts:
        raise InputError("data.more has texts, but the cases are rows of numbers.")
    path = spec.path(spec.data.more)
    columns = read_columns(path)
    for column in (spec.data.text, spec.data.label):
        if column not in columns:
            raise InputError(f"{path} has no column {column!r}.")
    texts = columns[spec.data.text]
    y = [float(value == spec.data.positive) for value in columns[spec.data.label]]
    more = of_texts(
        texts,
        y,
        ids=[f"{MORE}{i}" for i in range(len(texts))],
        slices={name: ["more"] * len(texts) for name in parts.train.slices},
    )
    taken = {key for part in (parts.train, parts.core, parts.held_out) for key in part.input_keys()}
    fresh = [row for row, key in enumerate(more.input_keys()) if key not in taken]
    train = joined(parts.train, more.take(fresh))
    return replace(parts, train=train, dropped=parts.dropped + len(texts) - len(fresh))


def without_near(parts: Parts, spec: Spec) -> Parts:
    """The same parts without the training texts in which a case of another side lies by its runs.

    The rule is the leak scan's, so what is left holds no leak. Core and held out stay as they are.

    Raises:
        InputError: too few training cases of a class are left.
    """
    words, share = spec.evaluate.leak_words, spec.evaluate.leak_share
    rows = clear_of(parts.train, (parts.core, parts.held_out), words=words, share=share)
    gone = len(parts.train) - len(rows)
    left = replace(parts, train=parts.train.take(rows), dropped=parts.dropped + gone)
    _check(left, spec)
    return left


def sides(loaded: Loaded, spec: Spec) -> Index:
    """int64 [n]: each case's side."""
    n = len(loaded.examples)
    data, random = spec.data, np.random.default_rng(spec.seed)
    if loaded.given is not None:
        return loaded.given
    if loaded.order is not None:
        rank = np.argsort(np.argsort(loaded.order, kind="stable"), kind="stable") / n
        return _cut(1 - rank, data.held_out_share, data.core_share)
    if loaded.groups is not None:
        names, of = np.unique(np.array(loaded.groups), return_inverse=True)
        return _cut(random.random(len(names))[of], data.held_out_share, data.core_share)
    if spec.task == "binary":
        place = np.empty(n)
        for label in (0.0, 1.0):
            rows = np.flatnonzero(loaded.examples.y == label)
            place[random.permutation(rows)] = np.arange(len(rows)) / max(len(rows), 1)
        return _cut(place, data.held_out_share, data.core_share)
    return _cut(random.permutation(n) / n, data.held_out_share, data.core_share)


def _cut(place: np.ndarray[tuple[int], np.dtype[np.float64]], held: float, core: float) -> Index:
    return np.where(place < held, HELD_OUT, np.where(place < held + core, CORE, TRAIN)).astype(
        np.int64
    )


def _check(parts: Parts, spec: Spec) -> None:
    named = (("training", parts.train), ("core", parts.core), ("held-out", parts.held_out))
    for name, part in named:
        if spec.task != "binary":
            fewest = len(part)
        else:
            fewest = int(min(np.sum(part.y == 1), np.sum(part.y == 0)))
        if fewest < LEAST_OF_A_CLASS:
            raise InputError(
                f"The {name} part has {fewest} cases of its rarer class, but "
                f"{LEAST_OF_A_CLASS} are the fewest that tell anything."
            )
