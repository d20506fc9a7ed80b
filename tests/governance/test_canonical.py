"""Canonical JSON."""

import enum
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import canonical
from governance.canonical import MAX_BYTES, MAX_DEPTH, MAX_INTEGER, decode, encode
from governance.errors import MalformedError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(max_codepoint=0x17E, exclude_categories=("Cn", "Cs")))
)
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(KEYS, v), max_leaves=20)


def reason(data: bytes) -> str:
    with pytest.raises(MalformedError) as refused:
        decode(data)
    return refused.value.reason


@given(VALUES)
def test_what_was_encoded_is_decoded_to_the_same(value: object) -> None:
    assert decode(encode(value)) == value


@given(VALUES)
def test_any_json_reader_reads_the_same(value: object) -> None:
    assert json.loads(encode(value)) == value


@given(VALUES, st.data())
def test_a_value_has_no_second_spelling(value: object, data: st.DataObject) -> None:
    spelt = encode(value)
    at = data.draw(st.integers(0, len(spelt)))
    other = spelt[:at] + b" " + spelt[at:]
    try:
        found = decode(other)
    except MalformedError:
        return
    # The space stands within a string: another value.
    assert found != value


def test_keys_are_sorted_and_text_is_ascii() -> None:
    assert encode({"b": [1, True, None], "a": "é\n"}) == b'{"a":"\\u00e9\\n","b":[1,true,null]}'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"b":1,"a":2}', "not_canonical"),
        (b'{"a": 1}', "not_canonical"),
        (b'"\\u0041"', "not_canonical"),
        (b'"\xc3\xa9"', "not_canonical"),
        (b'"\\u00E9"', "not_canonical"),
        (b"-0", "not_canonical"),
        (b"1\n", "not_canonical"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"a":{"b":1,"c":2,"b":3}}', "duplicate_key"),
        (b"1.0", "float"),
        (b"1e2", "float"),
        (b"NaN", "float"),
        (b"-Infinity", "float"),
        (b"9007199254740992", "number_out_of_range"),
        (b"-9007199254740992", "number_out_of_range"),
        (b"1" * 100_000, "number_out_of_range"),
        (b'"e\\u0301"', "not_normal_form"),
        (b'"\\ud800"', "not_normal_form"),
        (b'"\\uffff"', "not_normal_form"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b"[" * 40 + b"]" * 40, "too_deep"),
        (b'"' + b"a" * MAX_BYTES + b'"', "too_large"),
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b"\xef\xbb\xbf1", "not_json"),
        (b"{}{}", "not_json"),
        (b'{"\\u00e9":1}', "bad_key"),
    ],
)
def test_other_bytes_are_refused_each_for_its_own_reason(data: bytes, expected: str) -> None:
    assert reason(data) == expected


class Word(enum.StrEnum):
    YES = "yes"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "float"),
        (float("nan"), "float"),
        (b"bytes", "unsupported_type"),
        ((1, 2), "unsupported_type"),
        ({1, 2}, "unsupported_type"),
        (Word.YES, "unsupported_type"),
        ({1: "key"}, "bad_key"),
        (1 << 53, "number_out_of_range"),
        ("a" * MAX_BYTES, "too_large"),
    ],
)
def test_values_without_a_spelling_are_refused(value: object, expected: str) -> None:
    with pytest.raises(MalformedError) as refused:
        encode([value])
    assert refused.value.reason == expected


def test_the_greatest_depth_and_integer_are_allowed() -> None:
    data = b"[" * MAX_DEPTH + b"9007199254740991" + b"]" * MAX_DEPTH
    assert encode(decode(data)) == data
    assert reason(b"[" + data + b"]") == "too_deep"


def test_a_digest_says_its_algorithm() -> None:
    assert canonical.digest(b"").startswith("sha256:e3b0c44298fc1c14")
