"""Fits: graphs that compute what the models do, and a fence around who fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
)

from trainer.evaluation.metrics import measure, scored
from trainer.examples import Examples, of_rows, of_texts
from trainer.inference import feed, session
from trainer.recipes.shading import surplus
from trainer.spec.spec import Data, Evaluate, Spec
from trainer.specialise import ngrams, sandbox, shading, trees
from trainer.specialise.methods import Task, method, methods, propose
from trainer.specialise.model import Model
from trainer.specialise.trial import Trial, run
from trainer.tokens import encode

ROOT = Path(__file__).resolve().parents[2]


def rows(n: int = 400, seed: int = 2) -> Examples:
    random = np.random.default_rng(seed)
    # Few distinct values, so that thresholds fall on them.
    x = random.choice(np.array([0.1, 0.2, 0.3, 0.7], np.float32), (n, 5))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + random.normal(0, 0.1, n)) > 0.45
    return of_rows(x, y, [f"f{i}" for i in range(5)])


@pytest.mark.parametrize("kind", ["boosted", "forest", "both"])
def test_the_graph_of_trees_takes_the_branches_that_the_model_takes(kind: str) -> None:
    train = rows()
    boosted = HistGradientBoostingClassifier(max_iter=30, random_state=1).fit(train.x, train.y)
    forest = ExtraTreesClassifier(20, random_state=1).fit(train.x, train.y)
    chosen = {"boosted": ([boosted], []), "forest": ([], [forest]), "both": ([boosted], [forest])}
    one, other = chosen[kind]
    weights = [2.0, 1.0][: len(one) + len(other)]
    graph = trees.mean_of(one, other, weights, 5)
    parts = [model.predict_proba(train.x)[:, 1] for model in (*one, *other)]
    expected = np.average(parts, axis=0, weights=weights)
    assert np.max(np.abs(expected - Model(graph).scores(train))) < 1e-6


def test_a_threshold_becomes_the_greatest_float32_that_is_not_above_it() -> None:
    given = np.array([0.1, 1 / 3, -0.1, 1e-30, 5.0])
    found = trees.floor32(given)
    assert (found.astype(np.float64) <= given).all()
    assert (np.nextafter(found, np.float32(np.inf)).astype(np.float64) > given).all()


def prices(n: int = 600) -> Examples:
    random = np.random.default_rng(4)
    group = random.integers(0, 2, n)
    price = np.where(group == 1, random.uniform(10, 40, n), random.uniform(120, 180, n)).round()
    x = np.stack([np.full(n, 200.0), group, random.normal(size=n)], axis=1)
    return of_rows(x, price, ["VALUE", "group", "noise"], value=np.full(n, 200.0))


def test_bids_follow_the_distribution_of_the_price() -> None:
    train = prices()
    made = shading.fit(
        Task(train, np.ones(600), dict(method("prices").first) | {"trees": 20}, 3, 1)
    )
    bids = made.model.scores(train)
    assert made.difference < 0.01
    assert set(bids) <= set(shading.grid_of(train.y))
    best = max(surplus(train.value * f, train).mean() for f in np.linspace(0.1, 1, 91))
    assert surplus(bids, train).mean() > 1.1 * best


def test_the_graph_of_bids_chooses_what_the_forest_chooses() -> None:
    train = prices(200)
    grid = shading.grid_of(train.y)
    forest = ExtraTreesRegressor(5, min_samples_leaf=10, random_state=0)
    forest.fit(train.x, train.y[:, None] <= grid)
    graph = Model(shading.to_onnx(forest, grid, 0, 3))
    expected = shading.bids(forest.predict(train.x), train.value, grid)
    assert np.mean(expected == graph.scores(train)) > 0.99


NAMES = ["a.com", "casino-777.example.org", "", "news.example", "ünïcode.test", "x" * 100]


def test_the_graph_of_runs_adds_what_the_rows_hold() -> None:
    runs = ngrams.Runs(64, (1, 2, 3, 4, 5, 6), 2**10)
    random = np.random.default_rng(1)
    weights = random.normal(size=runs.buckets)
    idf = random.uniform(1, 5, runs.buckets)
    graph = ngrams.to_onnx(weights, 0.3, idf, runs, "runs")
    tokenizer = ngrams.character_tokenizer()
    ids = encode(tokenizer, NAMES, 66, 256)
    x = ngrams.weighed(ngrams.rows_of(ids, runs), idf)
    expected = 1 / (1 + np.exp(-(x @ weights + 0.3)))
    model = Model(graph, tokenizer, 66, 256)
    found = model.scores(of_texts(NAMES, np.zeros(len(NAMES)), ids=[str(i) for i in range(6)]))
    assert np.max(np.abs(expected - found)) < 1e-5


def test_a_name_scores_the_same_alone_and_padded_beside_a_longer_one() -> None:
    runs = ngrams.Runs(64, (1, 2, 3), 2**10)
    weights = np.random.default_rng(1).normal(size=runs.buckets)
    opened = session(ngrams.to_onnx(weights, 0.0, np.ones(runs.buckets), runs, "runs"))
    ids = encode(ngrams.character_tokenizer(), ["ab", "abcdefghijklmnop"], 66, 256)
    together = opened.run(None, feed(ids))[0][:, 0]
    alone = [opened.run(None, feed([row]))[0][0, 0] for row in ids]
    assert np.max(np.abs(together - np.array(alone))) < 1e-6


def test_characters_have_tokens_of_their_own_with_a_mark_at_both_ends() -> None:
    (ids,) = encode(ngrams.character_tokenizer(), ["A.b"], 66, 256)
    known = ngrams.CHARACTERS_KNOWN
    assert ids.tolist() == [2, known.index("a") + 4, known.index(".") + 4, known.index("b") + 4, 3]


def test_runs_of_characters_learn_names() -> None:
    random = np.random.default_rng(3)
    bad, good = ["casino", "poker", "bet"], ["news", "bank", "blog"]
    texts = [
        f"{''.join(random.choice(list('abcdefgh'), 4))}{random.choice(bad if i % 2 else good)}.com"
        for i in range(300)
    ]
    train = of_texts(texts, np.arange(300) % 2, ids=[str(i) for i in range(300)])
    first = dict(method("ngrams").first) | {"buckets_log2": 12, "longest": 4}
    made = ngrams.fit_characters(Task(train, np.ones(300), first, 3, 1))
    of = scored(made.fold_scores, train, 0.5, _spec())
    assert measure("auc", of) > 0.99
    assert made.difference < 1e-4


def _spec() -> Spec:
    return Spec("x", Data(), Evaluate())


def test_a_fit_in_a_process_of_its_own_is_the_same_twice() -> None:
    train = rows()
    first = dict(method("boosting").first) | {"iterations": 20}
    trial = Trial("boosting", first, np.ones(len(train)), 2, 7, nice=0)
    one, other = run(trial, train), run(trial, train)
    assert one.fitted is not None
    assert other.fitted is not None
    assert one.fitted.model.digest == other.fitted.model.digest
    assert np.array_equal(one.fitted.fold_scores, other.fitted.fold_scores)
    assert one.confined == (sandbox.version() > 0)


@pytest.mark.skipif(sandbox.version() == 0, reason="this kernel has no Landlock")
def test_who_fits_can_read_neither_the_held_out_set_nor_its_key(tmp_path: Path) -> None:
    (tmp_path / "sealed").write_text("held out")
    own = tmp_path / "own"
    own.mkdir()
    code = f"""
import sys
from pathlib import Path
from trainer.specialise import sandbox
assert sandbox.confine(sandbox.programs(), [Path({str(own)!r})])
Path({str(own)!r}, "out").write_text("mine")
for path in ({str(tmp_path / "sealed")!r}, {str(Path.home() / ".sluicegate")!r}):
    try:
        Path(path).read_bytes()
    except (PermissionError, IsADirectoryError, FileNotFoundError) as error:
        print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "PermissionError"
    assert (own / "out").read_text() == "mine"


def test_parameters_are_drawn_within_their_ranges_and_the_first_are_known() -> None:
    for name, one in methods().items():
        assert propose(one, 0, 7, {}) == dict(one.first), name
        for number in range(1, 20):
            drawn = propose(one, number, 7, {})
            assert drawn == propose(one, number, 7, {})
            for key, (low, high, kind) in one.ranges.items():
                assert low - 1e-9 <= drawn[key] <= high + 1e-9
                assert kind != "whole" or drawn[key] == round(drawn[key])
    assert propose(method("boosting"), 3, 7, {"leaves": 5, "unknown": 1})["leaves"] == 5
