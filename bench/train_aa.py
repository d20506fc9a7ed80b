"""`python -m bench.train_aa`: how often a candidate that is not good enough would be proposed.

Scores are drawn so that the true AUC is known: normal, with mean 0 for negatives and d for
positives, so AUC = Phi(d / sqrt(2)). First a candidate exactly at the limit: it must not pass, and
each pass is a false promotion; both suites have to hold, by the low end of a 95% interval. A/A:
two models of equal worth with scores that are correlated as two fits of one data set are; a
difference whose interval lies above zero is a false claim.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import norm

from bench import machine
from trainer.evaluation.bounds import bound, difference
from trainer.evaluation.metrics import Scored
from trainer.quality import Costs

RESULTS = Path(__file__).with_name("results")
LIMIT = 0.8
CORE, HELD_OUT, POSITIVE = 600, 800, 0.4
RESAMPLES, LEVEL = 200, 0.95
# The one-sided error of each bound.
ALPHA = (1 - LEVEL) / 2


def drawn(random: np.random.Generator, n: int, auc: float, shared: float = 0.0) -> list[Scored]:
    """Two models' scores of the same n cases, each of this true AUC."""
    y = (np.arange(n) < POSITIVE * n).astype(np.float64)
    apart = norm.ppf(auc) * np.sqrt(2)
    common = random.normal(size=n)
    found = []
    for _ in range(2):
        own = random.normal(size=n)
        scores = apart * y + np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        found.append(Scored(scores, y, np.ones(n), 0.5, Costs(1, 1)))
    return found


def at_the_limit(runs: int) -> dict[str, Any]:
    """Candidates exactly at the limit: how often core holds, and how often both."""
    core = both = 0
    for number in range(runs):
        random = np.random.default_rng([1, number])
        holds = []
        for n in (CORE, HELD_OUT):
            one, _ = drawn(random, n, LIMIT)
            b = bound("auc", one, level=LEVEL, resamples=RESAMPLES, seed=number)
            holds.append(b.low >= LIMIT)
        core += holds[0]
        both += all(holds)
    return {"runs": runs, "core_holds": core, "promoted": both}


def a_a(runs: int) -> dict[str, Any]:
    """Two models of equal worth: how often one is found better."""
    better = 0
    for number in range(runs):
        random = np.random.default_rng([2, number])
        ours, theirs = drawn(random, CORE, LIMIT + 0.05, shared=0.9)
        d = difference("auc", ours, theirs, level=LEVEL, resamples=RESAMPLES, seed=number)
        better += d.low > 0
    return {"runs": runs, "found_better": better}


def main(
    runs: Annotated[int, typer.Option(help="Runs of each kind.")] = 400,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Simulate; exit code 1 if false promotions come more often than promised."""
    limit, equal = at_the_limit(runs), a_a(runs)
    # What chance adds to a rate of alpha once in a hundred times.
    most = ALPHA * runs + 2.33 * np.sqrt(ALPHA * (1 - ALPHA) * runs)
    ok = limit["promoted"] <= most and equal["found_better"] <= most
    told = {
        "name": "train_aa",
        "machine": machine.describe(),
        "limit": LIMIT,
        "cases": {"core": CORE, "held_out": HELD_OUT},
        "alpha_of_a_bound": ALPHA,
        "at_the_limit": limit,
        "a_a": equal,
        "allowed": round(float(most), 1),
        "reached": bool(ok),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "train_aa.json").write_text(json.dumps(told, indent=1) + "\n")
    typer.echo(
        f"exactly at the limit: core holds in {limit['core_holds']}, promoted "
        f"{limit['promoted']} of {runs}; equal models: {equal['found_better']} of {runs} found "
        f"better; {most:.1f} allowed"
    )
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
