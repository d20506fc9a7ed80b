"""Reading the two tables, and splitting them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.datasets import (
    CREDIT,
    CREDIT_COLUMNS,
    LOADERS,
    PHISHING,
    PHISHING_FEATURES,
    DataError,
    Dataset,
    parse_credit,
    parse_phishing,
    split,
    unseen,
)
from trainer.fetch import Source, default_cache
from trainer.quality import Costs


def table(header: Sequence[str], *rows: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


CREDIT_HEADER = [*CREDIT_COLUMNS, "creditability"]


def credit_row(label: str = "good", **changes: str) -> list[str]:
    plain = {
        column: "1" if levels is None else levels[0] for column, levels in CREDIT_COLUMNS.items()
    }
    return [*(plain | changes).values(), label]


def labelled(negatives: int, positives: int) -> Dataset:
    y = np.repeat(np.array([0, 1], np.int8), [negatives, positives])
    x = np.arange(len(y), dtype=np.float32)[:, np.newaxis]
    return Dataset("made", ("x",), x, y, ("no", "yes"), Costs(1.0, 1.0))


def test_phishing_rows_are_read_as_numbers_and_labels() -> None:
    text = table(
        [*PHISHING_FEATURES, "is_phishing"],
        ["0.0", "0.5", "1.0", "0.0", "0.5", "1.0", "0.5", "1", "0", "1"],
        ["1.0", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0", "0", "1", "0"],
    )
    dataset = parse_phishing(text)
    assert dataset.x.dtype == np.float32
    assert dataset.x[0].tolist() == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 0.5, 1.0, 0.0]
    assert dataset.y.dtype == np.int8
    assert dataset.y.tolist() == [1, 0]


def test_a_level_becomes_the_one_feature_that_is_named_after_it() -> None:
    levels = CREDIT_COLUMNS["housing"]
    assert levels is not None
    text = table(CREDIT_HEADER, *(credit_row(housing=level, age_in_years="41") for level in levels))
    dataset = parse_credit(text)
    columns = [dataset.feature_names.index(f"housing={level}") for level in levels]
    assert columns == list(range(columns[0], columns[0] + len(levels)))
    assert dataset.x[:, columns].tolist() == np.eye(len(levels)).tolist()
    assert dataset.x[:, dataset.feature_names.index("age_in_years")].tolist() == [41.0] * 3


def test_a_bad_credit_is_the_class_that_should_be_caught() -> None:
    dataset = parse_credit(table(CREDIT_HEADER, credit_row("bad"), credit_row("good")))
    assert dataset.y.tolist() == [1, 0]
    assert dataset.label_names == ("good", "bad")
    assert dataset.costs == Costs(miss=5.0, false_alarm=1.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (credit_row(housing="castle"), "housing has values that are not documented.*castle"),
        (credit_row(age_in_years="old"), "age_in_years must hold numbers"),
        (credit_row(age_in_years="inf"), "age_in_years must hold finite numbers"),
        (credit_row(label="perhaps"), "creditability has values"),
    ],
)
def test_a_value_that_is_not_documented_is_refused(row: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_credit(table(CREDIT_HEADER, row))


def test_another_header_and_an_empty_table_are_refused() -> None:
    with pytest.raises(DataError, match="columns must be"):
        parse_credit(table(CREDIT_HEADER[1:], credit_row()[1:]))
    with pytest.raises(DataError, match="no rows"):
        parse_credit(table(CREDIT_HEADER))


@settings(deadline=None)
@given(st.integers(4, 300), st.integers(4, 300))
def test_a_split_shares_no_row_loses_none_and_is_stratified(negatives: int, positives: int) -> None:
    dataset = labelled(negatives, positives)
    parts = split(dataset)
    together = np.concatenate([parts.train, parts.held_out])
    assert sorted(together.tolist()) == list(range(negatives + positives))
    for label, count in ((0, negatives), (1, positives)):
        held_out = int(np.sum(dataset.y[parts.held_out] == label))
        assert abs(held_out - 0.3 * count) <= 0.5


def test_a_split_is_the_same_every_time_and_not_the_first_rows() -> None:
    first, second = split(labelled(70, 30)), split(labelled(70, 30))
    assert first.held_out.tolist() == second.held_out.tolist()
    assert first.held_out.tolist() != [*range(21), *range(70, 79)]


def test_a_held_out_row_that_occurs_in_training_is_not_unseen() -> None:
    plain = labelled(70, 30)
    parts = split(plain)
    x = plain.x.copy()
    x[parts.held_out[4]] = x[parts.train[0]]
    repeated = Dataset("made", ("x",), x, plain.y, ("no", "yes"), plain.costs)
    assert unseen(plain, parts).all()
    assert np.flatnonzero(~unseen(repeated, parts)).tolist() == [4]


@pytest.mark.parametrize(
    ("name", "source", "shape", "positives"),
    [("phishing", PHISHING, (1250, 9), 548), ("credit", CREDIT, (1000, 62), 300)],
)
def test_the_published_set_has_its_documented_form(
    name: str, source: Source, shape: tuple[int, int], positives: int
) -> None:
    if not (default_cache() / source.cached_as).is_file():
        pytest.skip("the data set is not in the cache")
    dataset = LOADERS[name](None)
    assert dataset.x.shape == shape == (len(dataset.y), len(dataset.feature_names))
    assert int(dataset.y.sum()) == positives
