"""When the loop goes on, proposes or stops: pure, on what a round found and what is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from trainer.loop.types import Best, Spent, Tried
from trainer.spec.spec import METRICS, Spec

Kind = Literal[
    "target met",
    "patience",
    "rounds",
    "trials",
    "seconds",
    "held-out exposure",
    "divergence",
    "nothing fitted",
    "leak",
]


@dataclass(frozen=True)
class Verdict:
    """What follows from a round, before the held-out set is asked.

    Attributes:
        best: the best so far, this round's included if it is better.
        spent: with this round's outcome counted.
        improved: whether the round made the best better.
        taken_back: whether the round fell so far that the last good one was taken instead.
        reason: in words.
    """

    best: Best
    spent: Spent
    improved: bool
    taken_back: bool
    reason: str


def compare(
    spec: Spec, round_: int, best: Best, tried: Tried | None, core: float, spent: Spent
) -> Verdict:
    """Set a round's best trial beside the best so far.

    Args:
        spec: with `stop.improvement` and `stop.divergence`.
        round_: its number.
        best: so far.
        tried: this round's best trial, None if all failed.
        core: its first metric on the core suite; not looked at if there is none.
        spent: so far.
    """
    if tried is None:
        told = replace(spent, stale=spent.stale + 1, diverged=spent.diverged + 1)
        return Verdict(best, told, False, best.score is not None, "every trial failed")
    sign = 1.0 if METRICS[spec.first_metric] else -1.0
    now = Best(
        tried.model,
        tried.fold_scores,
        tried.threshold,
        tried.method,
        tried.parameters,
        tried.difference,
        tried.confined,
        core,
        round_,
    )
    what = f"{tried.method} reaches {spec.first_metric} {core:.4f} on core"
    if best.score is None:
        return Verdict(now, replace(spent, stale=0, diverged=0), True, False, f"{what}, the first")
    gain = sign * (core - best.score)
    beside = f"{what}, {gain:+.4f} beside the best so far"
    if gain >= spec.stop.improvement:
        return Verdict(now, replace(spent, stale=0, diverged=0), True, False, beside)
    if gain < -spec.stop.divergence:
        told = replace(spent, stale=spent.stale + 1, diverged=spent.diverged + 1)
        return Verdict(best, told, False, True, f"{beside}: back to the last good one")
    kept = now if gain > 0 else best
    told = replace(spent, stale=spent.stale + 1, diverged=0)
    return Verdict(kept, told, False, False, beside)


def must_stop(spec: Spec, round_: int, spent: Spent) -> tuple[Kind, str] | None:
    """A stop condition that is reached, with what it says; None to go on."""
    stop = spec.stop
    if spent.diverged >= 2:
        return "divergence", "two rounds in a row fell far below the best, or fitted nothing"
    if spent.stale >= stop.patience:
        return "patience", f"{spent.stale} rounds brought less than {stop.improvement:g}"
    if spent.trials >= stop.trials:
        return "trials", f"{spent.trials} trials were made, {stop.trials} are the budget"
    if spent.seconds >= stop.seconds:
        return "seconds", f"{spent.seconds:,.0f} s of work, {stop.seconds:,.0f} are the budget"
    if round_ + 1 >= stop.rounds:
        return "rounds", f"{round_ + 1} rounds were made"
    return None
