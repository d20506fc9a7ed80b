"""Scenario kind `train`: what a recipe's specialist reaches on its public data, with intervals.

Each figure's samples are the low end, the value and the high end of a 95% bootstrap interval over
cases, so that its median is the value and its spread the interval. Fits run as in the loop: each in
a process of its own that the kernel confines. `model` names the recipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.setting import Say
from bench.train_notes import notes
from trainer.errors import InputError, TrainError
from trainer.evaluation.bounds import Bound, bound, difference
from trainer.evaluation.metrics import Scored, precision_at, scored
from trainer.evaluation.plain import baselines
from trainer.evaluation.split import split
from trainer.examples import Examples, joined
from trainer.recipes import card_fraud, sources
from trainer.recipes.shipped import recipe
from trainer.spec.spec import Spec
from trainer.specialise.bases import resolve
from trainer.specialise.methods import method
from trainer.specialise.model import Fitted
from trainer.specialise.trial import Trial, run

LEVEL, RESAMPLES, SEED = 0.95, 1000, 7
FOLDS = 5
# The recipes' data, from the repository's root; elsewhere by this variable.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VARIABLE = "SLUICEGATE_DATA"


def training(s: Scenario, say: Say) -> Result:
    """What the recipe `model` reaches; `targets` are its figures', in order.

    Raises:
        DataError: the data is not there, or a fit failed.
    """
    from trainer.datasets import DataError  # noqa: PLC0415

    try:
        spec = recipe(s.model, data_folder())
        return MEASURED[s.model](s, spec, say)
    except (InputError, TrainError) as error:
        raise DataError(str(error)) from error


def data_folder() -> Path:
    """Where the recipes' data is."""
    return Path(os.environ.get(VARIABLE, DATA))


def fitted(spec: Spec, name: str, train: Examples, folds: int, say: Say, **more: float) -> Fitted:
    """A method with its first parameters on these cases."""
    say(f"{spec.name}: {name} on {len(train):,} cases")
    trial = Trial(
        method=name,
        parameters=dict(method(name).first) | more,
        weights=np.ones(len(train)),
        folds=folds,
        seed=spec.seed,
        cores=len(os.sched_getaffinity(0)),
        memory_gib=spec.specialise.memory_gib,
        nice=0,
        seconds=spec.specialise.trial_seconds,
        base=resolve(spec.specialise.base, Path(spec.folder)),
    )
    outcome = run(trial, train)
    if outcome.fitted is None:
        raise TrainError(f"{spec.name}: {outcome.failed}")
    return outcome.fitted


def credit(s: Scenario, spec: Spec, say: Say) -> Result:
    """Five folds over all rows; protected columns are in no feature."""
    loaded = sources.load(spec)
    made = fitted(spec, "blend", loaded.examples, FOLDS, say)
    of = scored(made.fold_scores, loaded.examples, 0.5, spec)
    say(f"{s.name}: intervals")
    figures = [
        _figure("AUC, 5 folds", _bound("auc", of), s.targets[0]),
        _figure("ECE, 5 folds, 15 bins of equal count", _bound("ece", of), s.targets[1], less=True),
        _figure("average precision", _bound("ap", of)),
    ]
    fairness = [
        _group(of, loaded.examples, name, value)
        for name in loaded.protected
        for value in sorted(set(loaded.examples.slices[name]))
    ]
    return _result(s, spec, figures, method=made.method, fairness=[g for g in fairness if g])


def fraud(s: Scenario, spec: Spec, say: Say) -> Result:
    """Five folds; set beside untuned gradient boosting on the same folds, paired."""
    examples = sources.load(spec).examples
    made = fitted(spec, "blend", examples, FOLDS, say, bags=3)
    of = scored(made.fold_scores, examples, 0.5, spec)
    plain = np.empty(len(examples))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=spec.seed)
    for train, test in folds.split(examples.x, examples.y):
        boosted = HistGradientBoostingClassifier(random_state=spec.seed)
        boosted.fit(examples.x[train], examples.y[train])
        plain[test] = boosted.predict_proba(examples.x[test])[:, 1]
    beside = scored(plain, examples, 0.5, spec)
    more = difference("ap", of, beside, level=LEVEL, resamples=RESAMPLES, seed=SEED)
    rates = {
        f"{recall:.0%} caught": precision_at(of, recall, card_fraud.PREVALENCE)
        for recall in (0.5, 0.8)
    }
    figures = [
        # Not below beyond noise: the interval's high end has to reach it.
        Figure("AP, 5 folds, high end of its interval", "", (_bound("ap", of).high,), s.targets[0]),
        _figure("AP, 5 folds", _bound("ap", of)),
        _figure("AP of gradient boosting, untuned, same folds", _bound("ap", beside)),
        _figure("AP less gradient boosting's, paired", more),
        *(
            Figure(f"precision at prevalence 0.173%, {name}", "", (known,))
            for name, (_, known) in rates.items()
        ),
    ]
    told = {name: {"in_the_sample": a, "at_prevalence": b} for name, (a, b) in rates.items()}
    return _result(s, spec, figures, method=made.method, precision=told)


def shading(s: Scenario, spec: Spec, say: Say) -> Result:
    """Fitted on all training days, judged on the test days."""
    whole = replace(spec, data=replace(spec.data, core_share=0.0))
    loaded = sources.load(whole)
    if loaded.given is None:
        raise InputError("The shading set brings no split.")
    train = loaded.examples.take(np.flatnonzero(loaded.given == 0))
    test = loaded.examples.take(np.flatnonzero(loaded.given == 2))
    made = fitted(spec, "prices", train, 3, say)
    of = scored(made.model.scores(test), test, -1.0, spec)
    others = {**baselines(train, test, spec), "oracle": test.y}
    figures = [
        _figure("surplus a request, test days", _bound("surplus", of), s.targets[0]),
        _figure("win rate", _bound("win_rate", of)),
    ]
    figures += [
        _figure(f"surplus, {name}", _bound("surplus", scored(bids, test, -1.0, spec)))
        for name, bids in others.items()
    ]
    bars = tuple(Bar(f.what, f.value) for f in figures if "surplus" in f.what)
    result = _result(s, spec, figures, method=made.method, test_rows=len(test))
    return replace(result, bars=bars, bars_unit="fen per 1,000 a request")


def names(s: Scenario, spec: Spec, say: Say) -> Result:
    """Fitted without the held-out names, judged on them; no registered domain is on both sides."""
    parts = split(sources.load(spec), spec)
    rest = joined(parts.train, parts.core)
    made = fitted(spec, "ngrams", rest, 2, say)
    say(f"{s.name}: baseline and intervals")
    of = scored(made.model.scores(parts.held_out), parts.held_out, 0.5, spec)
    target = s.targets[0] if s.targets else None
    figures = [_figure("AUC, held-out names", _bound("auc", of), target)]
    for name, scores in baselines(rest, parts.held_out, spec).items():
        beside = scored(scores, parts.held_out, 0.5, spec)
        figures.append(_figure(f"AUC, {name}", _bound("auc", beside)))
    counts = {"training": len(rest), "held_out": len(parts.held_out)}
    return _result(s, spec, figures, method=made.method, cases=counts)


def text(s: Scenario, spec: Spec, say: Say) -> Result:
    """Fitted on all earlier posts, judged on the later ones, beside TF-IDF on the same."""
    loaded = sources.load(replace(spec, data=replace(spec.data, core_share=0.0)))
    if loaded.given is None:
        raise InputError("The posts bring no split.")
    train = loaded.examples.take(np.flatnonzero(loaded.given != 2))
    test = loaded.examples.take(np.flatnonzero(loaded.given == 2))
    name = spec.specialise.methods[0]
    made = fitted(spec, name, train, spec.specialise.folds, say, **spec.specialise.parameters)
    of = scored(made.model.scores(test, 2), test, 0.5, spec)
    others = {
        name: scored(of, test, 0.5, spec) for name, of in baselines(train, test, spec).items()
    }
    other = others.pop("TF-IDF and logistic regression")
    figures = [
        _figure("AUC, later posts", _bound("auc", of), s.targets[0]),
        _figure("AUC, TF-IDF and logistic regression", _bound("auc", other)),
        _figure(
            "AUC less TF-IDF's, paired",
            difference("auc", of, other, level=LEVEL, resamples=RESAMPLES, seed=SEED),
            0.0,
        ),
        *(_figure(f"AUC, {name}", _bound("auc", of)) for name, of in others.items()),
        Figure("graph's scores off torch's, at most", "", (made.difference,), 1e-3, at_least=False),
    ]
    return _result(s, spec, figures, method=made.method, test_posts=len(test))


def _bound(metric: str, of: Scored) -> Bound:
    return bound(metric, of, level=LEVEL, resamples=RESAMPLES, seed=SEED)


def _figure(what: str, b: Bound, target: float | None = None, *, less: bool = False) -> Figure:
    return Figure(what, "", (b.low, b.value, b.high), target, at_least=not less)


def _group(of: Scored, examples: Examples, name: str, value: str) -> dict[str, Any] | None:
    rows = np.flatnonzero(np.array(examples.slices[name]) == value)
    part = of.take(rows)
    if len(rows) < 200:
        return None
    b = _bound("auc", part)
    return {
        "group": f"{name} = {value}",
        "rows": len(rows),
        "bad_rate": float(part.y.mean()),
        "mean_score": float(part.scores.mean()),
        "refused_at_0.5": float(np.mean(part.scores >= 0.5)),
        "auc": [b.low, b.value, b.high],
    }


def _result(s: Scenario, spec: Spec, figures: list[Figure], **more: Any) -> Result:
    conditions = {
        "recipe": s.model,
        "data": spec.data.source,
        "seed": spec.seed,
        "interval": f"{LEVEL:.0%}, percentile bootstrap over cases, {RESAMPLES} resamples",
        "spread": "low end, value, high end",
        **more,
    }
    bars = tuple(Bar(f.what, f.value) for f in figures if f.what.startswith(("AUC", "AP")))
    return Result(s.name, s.title, conditions, tuple(figures), bars, "")


MEASURED: dict[str, Callable[[Scenario, Spec, Say], Result]] = {
    "credit_default": credit,
    "card_fraud": fraud,
    "bid_shading": shading,
    "domains": names,
    "content_farms": names,
    "sensitive_text": text,
    "clinical_notes": notes,
}
