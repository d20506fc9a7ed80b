"""Models from what they hold: a graph, a decoder's adapter, or a plain namer of headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from trainer.specialise.model import Model, Scorer


def model(held: Mapping[str, npt.NDArray[Any]], base: str) -> Scorer:
    """The model that a `Scorer` held.

    Args:
        held: its parts.
        base: the folder of the base model that an adapter goes on; "" for none.

    Raises:
        KeyError: parts are missing.
    """
    if "graph" in held:
        return Model.of(held)
    if "adapter" in held:
        from trainer.notes.adapter import Adapter  # noqa: PLC0415

        return Adapter.of(held, base)
    from trainer.notes.plain import Namer  # noqa: PLC0415

    return Namer.of(held, base)
