"""Reasons for single decisions: the features that moved one most, and whether they stay.

Features of one thing (a column's months, a name's one-hot columns) are moved together, to what is
common among the cases; by how much the score's log-odds fall is what they had added (occlusion:
Zeiler and Fergus 2014; a group at a time, as in Covert et al. 2021, removal by a baseline). The
first `TOP` groups that push a case towards the class to be caught are its reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from governance import canonical
from trainer.errors import SpecError
from trainer.examples import Examples, Floats
from trainer.spec.spec import Spec
from trainer.specialise.model import Scorer

TOP = 4
CASES = 500
# Every number of a case is moved by up to this share of its feature's spread.
NUDGE = 0.02


@dataclass(frozen=True)
class Explained:
    """The reasons of some cases.

    Attributes:
        codes: each group's code and the features in it.
        common: how often each code is a case's first reason.
        stability: share of the first `top` reasons that stay when a case is moved a little.
        top, cases: how many.
    """

    METHOD: ClassVar[str] = "occlusion of feature groups, log-odds"
    VERSION: ClassVar[str] = "1"
    codes: Mapping[str, tuple[str, ...]]
    common: Mapping[str, int]
    stability: float
    top: int
    cases: int

    def to_plain(self) -> dict[str, Any]:
        """As canonical JSON takes it."""
        return {
            "method": self.METHOD,
            "version": self.VERSION,
            "codes": {code: list(names) for code, names in self.codes.items()},
            "first": dict(self.common),
            "stability": f"{self.stability:.6f}",
            "top": self.top,
            "cases": self.cases,
        }

    @property
    def digest(self) -> str:
        """Of the map."""
        return canonical.digest(canonical.encode(self.to_plain()))


def groups_of(names: tuple[str, ...]) -> Mapping[str, tuple[int, ...]]:
    """Features by what they are of: `PAY_2` and `PAY_3`, `purpose=car` and `purpose=other`."""
    found: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        stem = re.sub(r"_?[0-9]+$", "", name.partition("=")[0]) or name
        found.setdefault(stem, []).append(at)
    return {code: tuple(columns) for code, columns in found.items()}


def moved_by(model: Scorer, examples: Examples, common: Floats) -> tuple[tuple[str, ...], Floats]:
    """Codes, and float64 [n, g]: by how much each group raised each case's log-odds."""
    groups = groups_of(examples.names)
    whole = _log_odds(model.scores(examples))
    raised = np.empty((len(examples), len(groups)))
    for number, columns in enumerate(groups.values()):
        x = examples.x.copy()
        x[:, list(columns)] = common[list(columns)]
        without = Examples(
            examples.ids, x, (), examples.y, examples.value, examples.names, examples.slices
        )
        raised[:, number] = whole - _log_odds(model.scores(without))
    return tuple(groups), raised


def explain(model: Scorer, train: Examples, spec: Spec) -> Explained:
    """Reasons of up to `CASES` training cases.

    Raises:
        SpecError: the cases are texts: there are no features to name.
    """
    if train.texts:
        raise SpecError("propose.reasons needs rows of numbers: texts have no features to name.")
    random = np.random.default_rng(spec.seed)
    some = train.take(np.sort(random.permutation(len(train))[:CASES]))
    common = np.median(train.x, axis=0).astype(np.float64)
    codes, raised = moved_by(model, some, common)
    spread = train.x.std(axis=0)
    near = some.x + (random.uniform(-NUDGE, NUDGE, some.x.shape) * spread).astype(np.float32)
    # What is a whole number in the data stays one.
    whole = np.all(train.x == np.rint(train.x), axis=0)
    near[:, whole] = some.x[:, whole]
    other = Examples(
        some.ids, np.ascontiguousarray(near), (), some.y, some.value, some.names, some.slices
    )
    _, again = moved_by(model, other, common)
    top = min(TOP, len(codes))
    first, second = (np.argsort(-m, axis=1, kind="stable")[:, :top] for m in (raised, again))
    same = [len(set(a) & set(b)) / top for a, b in zip(first, second, strict=True)]
    names = groups_of(train.names)
    return Explained(
        codes={c: tuple(train.names[i] for i in names[c]) for c in codes},
        common={c: int(np.sum(first[:, 0] == i)) for i, c in enumerate(codes)},
        stability=float(np.mean(same)),
        top=top,
        cases=len(some),
    )


def _log_odds(scores: Floats) -> Floats:
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))
