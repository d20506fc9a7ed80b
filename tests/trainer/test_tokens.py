"""Texts to tokens: where a text is cut, and that the file's own settings do not count."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import tiny
from trainer.tokens import bare, cut, encode

CLS, SEP = tiny.WORDS.index("[CLS]"), tiny.WORDS.index("[SEP]")
TEA, PLURAL = tiny.WORDS.index("tea"), tiny.WORDS.index("##s")


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(0, 80))
def test_a_cut_text_is_the_longest_prefix_of_whole_characters(text: str, most: int) -> None:
    kept = cut(text, most)
    assert text.startswith(kept)
    assert len(kept.encode()) <= most
    if kept != text:
        assert len(text[: len(kept) + 1].encode()) > most


@pytest.mark.parametrize(
    ("most", "kept"), [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (6, "aé"), (7, "aé😀"), (99, "aé😀")]
)
def test_a_text_is_not_cut_within_a_character(most: int, kept: str) -> None:
    assert cut("aé😀", most) == kept


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        cut("\ud83d", 10)


def test_a_packed_tokeniser_has_no_padding_and_no_truncation_of_its_own() -> None:
    before, after = json.loads(tiny.tokenizer()), json.loads(bare(tiny.tokenizer()))
    assert (after.pop("padding"), after.pop("truncation")) == (None, None)
    assert after == {k: v for k, v in before.items() if k not in ("padding", "truncation")}
    assert bare(bare(tiny.tokenizer())) == bare(tiny.tokenizer())


def test_what_is_no_tokeniser_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON object"):
        bare(b"[]")


def test_texts_become_tokens_between_the_special_ones_without_padding() -> None:
    long, short, none = encode(tiny.tokenizer(), ["Tea teas " * 4, "tea", ""])
    assert long.tolist() == [CLS, *[TEA, TEA, PLURAL] * 4, SEP]
    assert short.tolist() == [CLS, TEA, SEP]
    assert none.tolist() == [CLS, SEP]


def test_the_special_tokens_count_and_stay_when_tokens_are_cut() -> None:
    (ids,) = encode(tiny.tokenizer(), ["tea " * 20], max_tokens=5)
    assert ids.tolist() == [CLS, TEA, TEA, TEA, SEP]


def test_bytes_are_cut_before_tokens_are_made() -> None:
    # Seven bytes: "tea te", which is known up to there, and the "a" that would complete it.
    cut_within, whole = (
        encode(tiny.tokenizer(), ["tea tea"], max_bytes=most)[0].tolist() for most in (6, 7)
    )
    assert cut_within == [CLS, TEA, tiny.WORDS.index("[UNK]"), SEP]
    assert whole == [CLS, TEA, TEA, SEP]
