"""Reading posts and choosing among them, on made-up ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.datasets import DataError, Split
from trainer.fetch import default_cache
from trainer.newsgroups import HEADER, OTHER, SENSITIVE, TRAIN, chosen, load_posts, parse_posts
from trainer.quality import Labels
from trainer.texts import draw, unseen

QUIET = ("rec.autos", "my car is red")


def table(*posts: tuple[str, str]) -> str:
    return "\n".join([*HEADER, *("\t".join(post) for post in posts)]) + "\n"


def file(count: int, name: str) -> tuple[list[str], Labels]:
    y = (np.arange(count) % 4 == 0).astype(np.int8)
    return [f"{name} {number} {label}" for number, label in enumerate(y)], y


def test_posts_are_labelled_by_their_group() -> None:
    posts, y = parse_posts(table(QUIET, ("alt.atheism", "a word"), ("talk.politics.misc", "b")))
    assert posts == ["my car is red", "a word", "b"]
    assert y.dtype == np.int8
    assert y.tolist() == [0, 1, 1]


def test_every_group_is_on_one_side() -> None:
    assert (len(SENSITIVE), len(OTHER), len(SENSITIVE & OTHER)) == (6, 14, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (table(QUIET).replace("Category", "Group"), "first lines"),
        (table(), "no rows"),
        (table(QUIET, ("alt.secrets", "hush")), "Post 2 is of no group"),
        (table(QUIET, ("sci.med", " ")), "Post 2 has no group or no text"),
        (table(QUIET) + "hush\n", "Post 2 has no group or no text"),
    ],
)
def test_a_file_of_another_form_is_refused_without_a_word_of_a_post(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as refused:
        parse_posts(text)
    assert "hush" not in str(refused.value)
    assert "car" not in str(refused.value)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.data())
def test_rows_are_drawn_once_and_each_class_in_proportion(
    negatives: int, positives: int, data: st.DataObject
) -> None:
    y = np.repeat(np.array([0, 1], np.int8), [negatives, positives])
    count = data.draw(st.integers(1, len(y)))
    rows = draw(y, count, 7)
    assert len(set(rows.tolist())) == len(rows) == count
    assert rows.tolist() == sorted(rows.tolist())
    assert abs(int(y[rows].sum()) - count * positives / len(y)) <= 0.5
    assert rows.tolist() == draw(y, count, 7).tolist()


def test_more_rows_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="5 rows cannot be drawn from 4"):
        draw(np.zeros(4, np.int8), 5, 7)


def test_training_posts_are_of_the_earlier_file_and_held_out_ones_of_the_later() -> None:
    dataset = chosen(file(40, "early"), file(24, "late"), 20, 8)
    parts = dataset.parts
    assert all(dataset.texts[row].startswith("early") for row in parts.train)
    assert all(dataset.texts[row].startswith("late") for row in parts.held_out)
    assert (len(parts.train), len(parts.held_out), len(dataset.texts)) == (20, 8, 28)
    assert [int(text.split()[-1]) for text in dataset.texts] == dataset.y.tolist()
    assert (dataset.y[parts.train].sum(), dataset.y[parts.held_out].sum()) == (5, 2)


def test_a_held_out_text_with_the_tokens_of_a_training_text_is_not_unseen() -> None:
    ids = [np.array(row, np.int64) for row in ([1, 2], [1, 3], [1, 3], [1, 2, 3])]
    parts = Split(np.array([0, 1]), np.array([2, 3]))
    assert unseen(ids, parts).tolist() == [False, True]


def test_the_published_set_has_its_documented_form() -> None:
    if not (default_cache() / TRAIN.cached_as).is_file():
        pytest.skip("the data set is not in the cache")
    dataset = load_posts()
    assert len(dataset.texts) == 4000
    assert (dataset.y[:3000].sum(), dataset.y[3000:].sum()) == (805, 268)
