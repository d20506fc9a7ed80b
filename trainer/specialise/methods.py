"""Ways to fit a candidate, by name. A method proposes parameters and fits with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.errors import SpecError
from trainer.examples import Examples, Floats
from trainer.specialise.model import Fitted
from trainer.specialise.peers import ALONE, Peers

Parameters = Mapping[str, float]
Range = tuple[float, float, str]


@dataclass(frozen=True)
class Task:
    """What a method is asked for.

    Attributes:
        train: the cases to learn from.
        weights: float64 [n], how much each counts.
        parameters: the method's own.
        folds: to score training cases by models that did not see them.
        seed: of everything that is drawn.
        base: a folder with a base model; empty for none.
        device: "cpu" or "cuda".
        checkpoint: a folder in which a long fit may leave where it is; empty for none.
        peers: this worker among those that fit together.
    """

    train: Examples
    weights: Floats
    parameters: Parameters
    folds: int
    seed: int
    base: str = ""
    device: str = "cpu"
    checkpoint: str = ""
    peers: Peers = ALONE


@dataclass(frozen=True)
class Method:
    """A way to fit.

    Attributes:
        fit: fits.
        first: the parameters of the first trial.
        ranges: least and greatest of what is tried, and "whole", "log" or "even".
        texts: whether it learns from texts.
        task: what it is for, as in a spec.
        torch: whether it needs the packages of the trainer extra.
        check: refuses a base model, device and parameters that a fit could not end with.
    """

    fit: Callable[[Task], Fitted]
    first: Parameters
    ranges: Mapping[str, Range]
    texts: bool = False
    task: str = "binary"
    torch: bool = False
    check: Callable[[str, str, Parameters], None] | None = None


def methods() -> Mapping[str, Method]:
    """Every method by its name."""
    from trainer.notes import method as notes  # noqa: PLC0415
    from trainer.specialise import fused, lora, ngrams, shading, tabular  # noqa: PLC0415

    return {
        "boosting": tabular.BOOSTING,
        "network": tabular.NETWORK,
        "blend": tabular.BLEND,
        "ngrams": ngrams.CHARACTERS,
        "words": ngrams.WORDS,
        "prices": shading.PRICES,
        "text_lora": lora.TEXT_LORA,
        "text_fused": fused.TEXT_FUSED,
        "decoder_lora": notes.DECODER_LORA,
    }


def method(name: str) -> Method:
    """A method by its name.

    Raises:
        SpecError: there is none.
    """
    known = methods()
    if name not in known:
        raise SpecError(f"specialise.methods names {name!r}, but there are {', '.join(known)}.")
    return known[name]


def propose(of: Method, number: int, seed: int, fixed: Parameters) -> dict[str, float]:
    """The parameters of a method's trial: the first as known to work, later ones drawn.

    Args:
        of: the method.
        number: of the trial, over the whole run.
        seed: of the run.
        fixed: parameters that the spec gives; they win.
    """
    found = dict(of.first)
    if number:
        random = np.random.default_rng([seed, number])
        for name, (low, high, kind) in of.ranges.items():
            drawn = random.random()
            if kind == "log":
                found[name] = float(low * (high / low) ** drawn)
            else:
                found[name] = low + (high - low) * drawn
            if kind == "whole":
                found[name] = float(round(found[name]))
    return found | {name: value for name, value in fixed.items() if name in found}
