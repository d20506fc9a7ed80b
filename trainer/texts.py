"""A labelled set of texts for a two-class decision, and which of them occur twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.datasets import Rows, Split
from trainer.quality import Costs, Decisions, Labels


@dataclass(frozen=True)
class TextDataset:
    """Labelled texts, already split.

    Attributes:
        name: the specialist's name, also as a model's name on the wire.
        texts: n texts.
        y: int8 [n], 1 for the class that should be caught.
        label_names: the classes' names, [y = 0, y = 1].
        costs: what wrong decisions cost.
        parts: which rows are for training and which are held out.
    """

    name: str
    texts: tuple[str, ...]
    y: Labels
    label_names: tuple[str, str]
    costs: Costs
    parts: Split


def draw(y: Labels, count: int, seed: int) -> Rows:
    """int64 [count], ascending: rows drawn without replacement, each class in proportion.

    Raises:
        ValueError: there are fewer than `count` rows.
    """
    if count > len(y):
        raise ValueError(f"{count} rows cannot be drawn from {len(y)}.")
    random = np.random.default_rng(seed)
    positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y != 1)
    wanted = round(count * len(positives) / len(y))
    drawn = [
        random.permutation(positives)[:wanted],
        random.permutation(negatives)[: count - wanted],
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def unseen(ids: Sequence[npt.NDArray[np.int64]], parts: Split) -> Decisions:
    """bool [m]: whether a held-out text's tokens are those of no training text.

    Args:
        ids: each text's tokens as the model reads them: what was cut off does not count.
        parts: which texts are for training and which are held out.
    """
    seen = {ids[row].tobytes() for row in parts.train}
    return np.array([ids[row].tobytes() not in seen for row in parts.held_out], np.bool_)
