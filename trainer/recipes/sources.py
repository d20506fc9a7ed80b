"""Where cases come from: a table of the user's own, or a recipe's source for a published set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.errors import SpecError
from trainer.examples import Examples, Index
from trainer.recipes.blocks import Blocks, one_by_one
from trainer.spec.spec import Spec


@dataclass(frozen=True)
class Loaded:
    """All cases, and what a split may go by.

    Attributes:
        examples: n cases.
        order: float64 [n] for a split by time; absent otherwise.
        groups: n names for a split by group.
        given: int64 [n] for a split that the data brings: 0 training, 1 core, 2 held out.
        protected: the names of slices that are protected.
    """

    examples: Examples
    order: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    groups: tuple[str, ...] | None = None
    given: Index | None = None
    protected: tuple[str, ...] = ()


Source = Callable[[Spec], Loaded]


def sources() -> Mapping[str, Source]:
    """Every source by its name; of `csv` and `decisions` files are read one by one, here."""
    from trainer.notes import sections  # noqa: PLC0415
    from trainer.recipes import (  # noqa: PLC0415
        card_fraud,
        content_farms,
        credit_default,
        decisions,
        domains,
        shading,
        tables,
        texts,
    )

    return {
        "csv": tables.load,
        "decisions": decisions.load,
        "credit_default": credit_default.load,
        "card_fraud": card_fraud.load,
        "ipinyou": shading.load,
        "domains": domains.load,
        "content_farms": content_farms.load,
        "newsgroups": texts.load_newsgroups,
        "mts_dialog": sections.load_mts_dialog,
    }


def load(spec: Spec, blocks: Blocks = one_by_one) -> Loaded:
    """The cases that the spec names.

    Args:
        spec: names them.
        blocks: reads the files of a source that has many; see `trainer.recipes.blocks`.

    Raises:
        SpecError: there is no such source.
        InputError: the data is missing or not of the form that is needed.
    """
    known = sources()
    if spec.data.source not in known:
        raise SpecError(
            f"data.source is {spec.data.source!r}, but must be one of {', '.join(known)}."
        )
    from trainer.recipes import decisions, tables  # noqa: PLC0415

    in_blocks = {"csv": tables.load, "decisions": decisions.load}
    if spec.data.source in in_blocks:
        return in_blocks[spec.data.source](spec, blocks)
    return known[spec.data.source](spec)
