"""Fitting and exporting: the graph's form, and that it decides what was measured."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

from trainer.datasets import LOADERS, PHISHING, Dataset, parse_phishing, split
from trainer.export import to_onnx
from trainer.fetch import default_cache
from trainer.fitted import AgreementError, agreement
from trainer.quality import Costs, cost_per_100, decide, measure
from trainer.tabular import FittedTable, candidates, fit, run_onnx


def made() -> Dataset:
    """A table of the phishing set's form whose label follows from its features, with noise."""
    random = np.random.default_rng(3)
    x = random.choice(np.array([0, 0.5, 1], np.float32), (240, 9))
    x += random.normal(0, 0.01, x.shape).astype(np.float32)
    y = (x[:, 0] + x[:, 1] - x[:, 2] + random.normal(0, 0.4, 240) > 0.5).astype(np.int8)
    names = tuple(f"f{column}" for column in range(9))
    return Dataset("made", names, x, y, ("no", "yes"), Costs(4.0, 1.0))


@cache
def dataset() -> Dataset:
    path = default_cache() / PHISHING.cached_as
    return LOADERS["phishing"](None) if path.is_file() else made()


@cache
def fitted() -> FittedTable:
    return fit(dataset())


def test_the_graph_takes_features_and_gives_one_score_a_row() -> None:
    graph = onnx.load_from_string(fitted().onnx).graph
    (taken,), (given,) = graph.input, graph.output

    def form(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        tensor = value.type.tensor_type
        sizes = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        return value.name, tensor.elem_type, sizes

    assert form(taken) == ("features", onnx.TensorProto.FLOAT, ["batch", 9])
    assert form(given) == ("score", onnx.TensorProto.FLOAT, ["batch", 1])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_candidate_scores_alike_in_scikit_learn_and_onnx_runtime() -> None:
    table = made()
    parts = split(table)
    for name, model in candidates().items():
        model.fit(table.x[parts.train], table.y[parts.train])
        graph = to_onnx(model, features=9, name="made")
        expected = model.predict_proba(table.x[parts.held_out])[:, 1]
        np.testing.assert_allclose(
            run_onnx(graph, table.x[parts.held_out]), expected, atol=1e-5, err_msg=name
        )


def test_the_exported_graph_decides_the_held_out_rows_as_measured() -> None:
    result = fitted()
    scores = run_onnx(result.onnx, result.held_out_x)
    np.testing.assert_array_equal(scores, result.held_out_scores)
    quality = measure(scores, result.held_out_y, result.threshold, result.dataset.costs)
    assert quality == result.quality


def test_rows_one_at_a_time_are_decided_as_in_one_batch() -> None:
    result = fitted()
    alone = np.concatenate([run_onnx(result.onnx, row[np.newaxis]) for row in result.held_out_x])
    assert decide(alone, result.threshold).tolist() == (
        decide(result.held_out_scores, result.threshold).tolist()
    )


def test_the_candidate_with_the_best_auc_is_chosen() -> None:
    result = fitted()
    assert set(result.cv_auc) == set(candidates())
    assert result.cv_auc[result.model] == max(result.cv_auc.values())


def test_the_specialist_costs_less_than_deciding_all_rows_alike() -> None:
    result = fitted()
    y, costs = result.held_out_y, result.dataset.costs
    all_positive, all_negative = np.ones(len(y), np.bool_), np.zeros(len(y), np.bool_)
    assert result.quality.cost_per_100 < cost_per_100(all_positive, y, costs)
    assert result.quality.cost_per_100 < cost_per_100(all_negative, y, costs)


def test_fitting_sees_no_held_out_label() -> None:
    result, table = fitted(), dataset()
    y = table.y.copy()
    held_out = split(table).held_out
    zeros, ones = held_out[y[held_out] == 0], held_out[y[held_out] == 1]
    swapped = min(len(zeros), len(ones))
    # Swaps keep the classes' sizes but not the split, so the split is held by its rows.
    y[zeros[:swapped]], y[ones[:swapped]] = 1, 0
    other = Dataset(table.name, table.feature_names, table.x, y, table.label_names, table.costs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.tabular.split", lambda _: result.parts)
        again = fit(other)
    assert (again.onnx, again.threshold) == (result.onnx, result.threshold)
    assert again.quality.auc < result.quality.auc


def test_fitting_twice_gives_the_same_bytes() -> None:
    assert fit(made()).onnx == fit(made()).onnx


def test_a_graph_that_scores_otherwise_is_refused() -> None:
    scores = np.array([0.2, 0.7], np.float32)
    with pytest.raises(AgreementError, match=r"up to 0\.1 from"):
        agreement(np.array([0.2, 0.8]), scores, 0.5)


def test_agreement_counts_the_rows_that_are_decided_alike() -> None:
    found = agreement(np.array([0.2, 0.50001, 0.9]), np.array([0.2, 0.49999, 0.9], np.float32), 0.5)
    assert (found.same_decisions, found.rows) == (2, 3)
    assert found.largest_difference == pytest.approx(2e-5, rel=1e-2)


def test_the_made_table_has_the_form_of_the_published_one() -> None:
    header = "empty_server_form_handler,popup_window,https,request_from_other_domain,"
    header += "anchor_from_other_domain,is_popular,long_url,age_of_domain,ip_in_url,is_phishing"
    published = parse_phishing(f"{header}\n0,0,0,0,0,0,0,0,0,1\n")
    assert published.x.shape[1] == made().x.shape[1]
    assert (published.x.dtype, published.y.dtype) == (made().x.dtype, made().y.dtype)
