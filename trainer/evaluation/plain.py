"""Plain models: what a candidate is set beside, and what tells which cases are hard.

Rows of numbers: logistic regression. Texts: the runs of their tokens, hashed, one and two at a
time. Bids: the best constant factor of the value. Sections: `trainer.notes.plain`. They learn from
training cases alone. Where there is a base model, what it knows untrained stands beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from trainer.evaluation.zero_shot import zero_shot
from trainer.examples import Examples, Floats
from trainer.recipes.shading import surplus
from trainer.spec.spec import Spec
from trainer.specialise import ngrams, shading
from trainer.specialise.bases import resolve
from trainer.specialise.methods import Task, method, propose
from trainer.specialise.model import Fitted
from trainer.specialise.tabular import fit

if TYPE_CHECKING:
    from trainer.notes.settings import Fit

FACTORS = np.round(np.arange(0.2, 1.0001, 0.02), 2)


def plain(train: Examples, spec: Spec) -> Fitted:
    """The plain model of a task, with its fold scores."""
    task = Task(train, np.ones(len(train)), {}, spec.specialise.folds, spec.seed)
    if spec.task == "shading":
        return shading.constant(task, best_factor(train))
    if spec.task == "sections":
        from trainer.notes import plain as notes  # noqa: PLC0415

        base, how = _decoder(spec)
        with threadpool_limits(1):
            return notes.fit(replace(task, base=base), how)
    if train.texts:
        runs = ngrams.Runs(64, (1, 2, 3), 2**16)
        with_strength = Task(
            train, task.weights, {"idf": 1, "strength": 5.0}, task.folds, task.seed
        )
        tokenizer = ngrams.character_tokenizer()
        return ngrams.fit(with_strength, tokenizer, runs, (512, 2048), "runs of three characters")
    return fit(task, lambda _p, seed: _logistic(seed), "logistic regression")


def _logistic(seed: int) -> object:
    regression = LogisticRegression(C=0.1, max_iter=1000, random_state=seed)
    return make_pipeline(StandardScaler(), regression)


def best_factor(train: Examples) -> float:
    """The constant factor of the value that earns most on the training cases."""
    earned = [surplus(train.value * factor, train).mean() for factor in FACTORS]
    return float(FACTORS[int(np.argmax(earned))])


def baselines(train: Examples, suite: Examples, spec: Spec) -> Mapping[str, Floats]:
    """Scores of a suite by models that anybody would try first, by name.

    Raises:
        InputError: the base model cannot be read.
    """
    # These problems are small: threads would mostly wait for each other.
    with threadpool_limits(1):
        if spec.task == "shading":
            return {
                "no shading": suite.value,
                "best constant factor": suite.value * best_factor(train),
                "0.8 quantile of the price, boosted": _quantile(train, suite, spec.seed),
            }
        if spec.task == "sections":
            return _sections(train, suite, spec)
        if suite.texts:
            return {"TF-IDF and logistic regression": tf_idf(train, suite), **_base(suite, spec)}
        boosted = HistGradientBoostingClassifier(random_state=spec.seed).fit(train.x, train.y)
        return {"gradient boosting, untuned": boosted.predict_proba(suite.x)[:, 1]}


def _decoder(spec: Spec) -> tuple[str, Fit]:
    """The folder of a decoder, and how the spec's first method reads texts with it."""
    from trainer.notes.settings import fit_of  # noqa: PLC0415

    s = spec.specialise
    first = propose(method(s.methods[0]), 0, spec.seed, s.parameters)
    return resolve(s.base, Path(spec.folder)), fit_of(first, s.device)


def _sections(train: Examples, suite: Examples, spec: Spec) -> Mapping[str, Floats]:
    from trainer.notes import plain as notes  # noqa: PLC0415
    from trainer.notes.adapter import untrained  # noqa: PLC0415

    base, how = _decoder(spec)
    namer = notes.learnt(train, base, how)
    most = notes.most_frequent(train, suite)
    return {
        "TF-IDF and logistic regression": namer.scores(suite),
        "the most frequent header": most,
        "the base model, untrained": untrained(train, base, how).scores(suite),
    }


def _base(suite: Examples, spec: Spec) -> Mapping[str, Floats]:
    """The base model before it is trained; nothing where there is none, or none that is known."""
    if not spec.specialise.base:
        return {}
    words = spec.decide.descriptions if any(spec.decide.descriptions) else spec.decide.labels
    base = resolve(spec.specialise.base, Path(spec.folder))
    found = zero_shot(base, words, suite.texts)
    return {} if found is None else {"the base model, untrained": found}


def tf_idf(train: Examples, suite: Examples) -> Floats:
    """Words and pairs of words for prose, runs of characters for names; logistic regression."""
    prose = float(np.mean([" " in text for text in train.texts[:1000]])) > 0.5
    made = (
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=300_000)
        if prose
        else TfidfVectorizer(analyzer="char", ngram_range=(2, 5), min_df=3, max_features=300_000)
    )
    x = made.fit_transform(train.texts)
    fitted = LogisticRegression(C=10.0, max_iter=200).fit(x, train.y)
    found: Floats = fitted.predict_proba(made.transform(suite.texts))[:, 1]
    return found


def _quantile(train: Examples, suite: Examples, seed: int) -> Floats:
    made = HistGradientBoostingRegressor(loss="quantile", quantile=0.8, random_state=seed)
    found: Floats = np.minimum(made.fit(train.x, train.y).predict(suite.x), suite.value)
    return found
