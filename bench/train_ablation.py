"""`python -m bench.train_ablation`: train on what was diagnosed, or on anything?

Three fits of the same method with the same parameters on the same training cases: `even` counts
every case once; `targeted` counts cases of the clusters that were found among the even fit's
failures more, as the loop's second round does; `random` gives the very same weights to cases that
are drawn. So the second and third have the same budget, and differ in nothing but whom they weigh.
Each is judged on held-out cases, and on those of them that the clusters hold; three seeds of split
and fit. An interval is the paired bootstrap's over cases, of the mean over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from bench import machine
from bench.training import data_folder
from trainer.errors import TrainError
from trainer.evaluation.bounds import draws
from trainer.evaluation.metrics import Scored, measure, scored, threshold_of
from trainer.evaluation.split import Parts, split
from trainer.examples import of_rows
from trainer.loop.diagnose import clusters_of, diagnose
from trainer.recipes import sources
from trainer.recipes.shipped import recipe
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Data, Evaluate, Spec
from trainer.specialise.methods import method
from trainer.specialise.trial import Trial, run

RESULTS = Path(__file__).with_name("results")
SEEDS, RESAMPLES, LEVEL = (7, 8, 9), 400, 0.95
ARMS = ("even", "targeted", "random")
METRICS = ("auc", "cost_per_100")
# Rows of the planted table, and the share in which one feature means the opposite.
ROWS, TURNED = 12_000, 0.12
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arms:
    """Held-out scores of one seed's three fits; `inside` are the cases of clusters."""

    scored: dict[str, Scored]
    inside: npt.NDArray[np.int64]
    clusters: tuple[str, ...]
    weighed: int


def planted(seed: int) -> tuple[Spec, Parts]:
    """A table in which one feature means the opposite in a part that has a name."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, 8))
    turned = random.random(ROWS) < TURNED
    z = 1.2 * x[:, 0] + x[:, 1] * x[:, 2] + np.where(turned, -1.5, 0.6) * x[:, 3]
    y = z + random.normal(0, 0.6, ROWS) > 0.8
    # The fit sees the part only through a feature that is off by much noise.
    x[:, 7] = turned + random.normal(0, 0.6, ROWS)
    part = np.where(turned, "turned", "plain").tolist()
    examples = of_rows(x, y, [f"f{i}" for i in range(8)], slices={"part": part})
    spec = Spec("planted", Data(), Evaluate(), seed=seed)
    return spec, split(Loaded(examples), spec)


def of_recipe(name: str) -> Callable[[int], tuple[Spec, Parts]]:
    """A recipe's data with the split of a seed."""

    def made(seed: int) -> tuple[Spec, Parts]:
        spec = replace(recipe(name, data_folder()), seed=seed)
        return spec, split(sources.load(spec), spec)

    return made


def arms(spec: Spec, parts: Parts) -> Arms:
    """The three fits of a seed.

    Raises:
        TrainError: one of them failed.
    """
    train, held = parts.train, parts.held_out
    even = np.ones(len(train))
    found: dict[str, Scored] = {}
    found["even"], folds = _fitted(spec, parts, even)
    known = np.flatnonzero(np.isfinite(folds))
    threshold = threshold_of(folds[known], train.take(known), spec)
    wrong = np.zeros(len(train), np.bool_)
    wrong[known] = ~scored(folds[known], train.take(known), threshold, spec).right
    clusters, weights = diagnose(train, wrong, spec.seed, targeted=True)
    drawn = np.random.default_rng(spec.seed).permutation(weights)
    found["targeted"], _ = _fitted(spec, parts, weights)
    found["random"], _ = _fitted(spec, parts, drawn)
    holds = [which(held) for _, which in clusters_of(train, wrong, spec.seed)]
    inside = np.any(holds, axis=0) if holds else np.zeros(len(held), np.bool_)
    heavy = int((weights > weights.min()).sum()) if clusters else 0
    return Arms(found, np.flatnonzero(inside), tuple(c.name for c in clusters), heavy)


def _fitted(spec: Spec, parts: Parts, weights: Floats) -> tuple[Scored, Floats]:
    trial = Trial("boosting", method("boosting").first, weights, 3, spec.seed, memory_gib=8)
    outcome = run(trial, parts.train)
    if outcome.fitted is None:
        raise TrainError(f"{spec.name}: {outcome.failed}")
    made = outcome.fitted
    threshold = threshold_of(made.fold_scores, parts.train, spec)
    of = scored(made.model.scores(parts.held_out), parts.held_out, threshold, spec)
    return of, made.fold_scores


def compared(seeds: list[Arms], metric: str, ours: str, theirs: str, inside: bool) -> Any:
    """Two arms' metric and their difference with its interval, over seeds; None if undefined."""
    pairs = []
    for one in seeds:
        a, b = one.scored[ours], one.scored[theirs]
        pairs.append((a.take(one.inside), b.take(one.inside)) if inside else (a, b))
    if any(len(a.y) < 50 or len(np.unique(a.y)) < 2 for a, _ in pairs):
        return None
    differences = [measure(metric, a) - measure(metric, b) for a, b in pairs]
    drawn = np.mean(
        [
            [
                measure(metric, a.take(r)) - measure(metric, b.take(r))
                for r in draws(a.y, RESAMPLES, 1)
            ]
            for a, b in pairs
        ],
        axis=0,
    )
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        ours: float(np.mean([measure(metric, a) for a, _ in pairs])),
        theirs: float(np.mean([measure(metric, b) for _, b in pairs])),
        "difference": float(np.mean(differences)),
        "low": float(low),
        "high": float(high),
        "by_seed": differences,
    }


def told(made: Callable[[int], tuple[Spec, Parts]], say: Callable[[str], None]) -> dict[str, Any]:
    """Every figure of one data set."""
    seeds = []
    for seed in SEEDS:
        say(f"seed {seed}")
        seeds.append(arms(*made(seed)))
    figures = {
        f"{ours} less {theirs}, {metric}, {where}": compared(seeds, metric, ours, theirs, inside)
        for ours, theirs in (("targeted", "random"), ("targeted", "even"))
        for metric in METRICS
        for where, inside in (("all held-out cases", False), ("cases of clusters", True))
    }
    return {
        "figures": figures,
        "clusters": [list(one.clusters) for one in seeds],
        "training_cases_weighed_more": [one.weighed for one in seeds],
        "held_out_cases_of_clusters": [len(one.inside) for one in seeds],
    }


SETS: dict[str, Callable[[int], tuple[Spec, Parts]]] = {
    "planted": planted,
    "credit_default": of_recipe("credit_default"),
    "card_fraud": of_recipe("card_fraud"),
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; all if left out.")] = None,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Fit and compare; there is no figure to reach: what comes out is told as it is."""
    if unknown := set(names or ()) - set(SETS):
        raise typer.BadParameter(f"no data set {', '.join(unknown)}; there are {', '.join(SETS)}")
    sets: dict[str, Any] = {}
    for name in names or SETS:
        try:
            sets[name] = told(SETS[name], lambda text, name=name: typer.echo(f"{name}: {text}"))  # type: ignore[misc]
        except TrainError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
        for what, one in sets[name]["figures"].items():
            if one is not None:
                range_ = f"{one['low']:+.4f} to {one['high']:+.4f}"
                typer.echo(f"{name}: {what}: {one['difference']:+.4f} ({range_})")
    result = {
        "name": "train_ablation",
        "machine": machine.describe(),
        "method": "boosting",
        "seeds": SEEDS,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "sets": sets,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "train_ablation.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
