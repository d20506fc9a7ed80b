"""DSSE envelopes."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.dsse import Envelope, Signature, pae, sign, verified_keys
from governance.errors import MalformedError
from tests.governance.signing import signer

ALICE, BOB = signer("alice"), signer("bob")
KEYS = [ALICE.public_key, BOB.public_key]


def test_the_published_vector_is_encoded_as_published() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, "Test vectors".
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_published_envelope_is_read() -> None:
    published = {
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [
            {
                "sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJ"
                "PcIAriEGAHTVeCUjW2JIZA=="
            }
        ],
    }
    envelope = Envelope.from_json(json.dumps(published).encode())
    assert envelope.payload == b"hello world"
    assert envelope.payload_type == "http://example.com/HelloWorld"
    assert [len(s.sig) for s in envelope.signatures] == [64]
    # It was made with ECDSA: to us it is a signature by nobody.
    assert verified_keys(envelope, KEYS) == frozenset()


@given(st.binary(max_size=200), st.text(st.characters(max_codepoint=127), max_size=50))
def test_an_envelope_is_read_as_it_was_written(payload: bytes, kind: str) -> None:
    envelope = sign(payload, kind, ALICE, BOB)
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert verified_keys(envelope, KEYS) == frozenset(KEYS)


@given(st.text(), st.binary(), st.text(), st.binary())
def test_two_contents_are_never_encoded_alike(a: str, x: bytes, b: str, y: bytes) -> None:
    assert (pae(a, x) == pae(b, y)) == ((a, x) == (b, y))


@pytest.mark.parametrize("hint", ["", "nonsense", "sha256:" + "0" * 64])
def test_a_key_id_is_only_a_hint(hint: str) -> None:
    envelope = sign(b"payload", "type", ALICE)
    altered = replace(envelope, signatures=(replace(envelope.signatures[0], keyid=hint),))
    assert verified_keys(altered, KEYS) == {ALICE.public_key}


def test_another_s_key_id_neither_lends_nor_takes() -> None:
    envelope = sign(b"payload", "type", ALICE)
    other = sign(b"payload", "type", BOB).signatures[0].keyid
    altered = replace(envelope, signatures=(replace(envelope.signatures[0], keyid=other),))
    assert verified_keys(altered, KEYS) == {ALICE.public_key}
    assert verified_keys(altered, [BOB.public_key]) == frozenset()


def test_one_signature_many_times_is_one_key() -> None:
    envelope = sign(b"payload", "type", ALICE)
    many = replace(envelope, signatures=envelope.signatures * 16)
    assert verified_keys(many, KEYS) == {ALICE.public_key}
    assert envelope.signed_by(ALICE) == envelope


def test_a_key_listed_twice_signs_once() -> None:
    assert len(verified_keys(sign(b"payload", "type", ALICE), [*KEYS, *KEYS])) == 1


def test_junk_beside_a_signature_changes_nothing() -> None:
    envelope = sign(b"payload", "type", ALICE)
    junk = (Signature(b""), Signature(bytes(64)), Signature(b"x" * 100, "ml-dsa"))
    assert verified_keys(replace(envelope, signatures=(*junk, *envelope.signatures)), KEYS) == {
        ALICE.public_key
    }


def document(**changes: Any) -> dict[str, Any]:
    plain = json.loads(sign(b"payload", "type", ALICE).to_json())
    return {k: v for k, v in (plain | changes).items() if v is not None}


SIG = base64.b64encode(bytes(64)).decode()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"payload": None}, "missing_field"),
        ({"signatures": None}, "missing_field"),
        ({"note": "x"}, "unknown_field"),
        ({"payload": "cGF5bG9hZA"}, "bad_base64"),
        ({"payload": "cGF5bG9hZB=="}, "bad_base64"),
        ({"payload": "cGF5 bG9hZA=="}, "bad_base64"),
        ({"payload": "_-8="}, "bad_base64"),
        ({"payload": 7}, "bad_base64"),
        ({"payloadType": 7}, "wrong_type"),
        ({"payloadType": "é"}, "wrong_type"),
        ({"signatures": {}}, "wrong_type"),
        ({"signatures": ["sig"]}, "wrong_type"),
        ({"signatures": [{"keyid": "x"}]}, "missing_field"),
        ({"signatures": [{"sig": SIG, "cert": "x"}]}, "unknown_field"),
        ({"signatures": [{"sig": SIG}] * 17}, "too_many_signatures"),
        ({"signatures": [{"sig": SIG * 200}]}, "bad_base64"),
        ({"signatures": [{"sig": "AAAA" * 4000}]}, "too_large"),
    ],
)
def test_another_form_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(MalformedError) as refused:
        Envelope.from_json(json.dumps(document(**changes)).encode())
    assert refused.value.reason == expected


def test_a_field_that_occurs_twice_is_refused() -> None:
    text = json.dumps(document())[:-1] + ',"payloadType":"other"}'
    with pytest.raises(MalformedError, match="twice"):
        Envelope.from_json(text.encode())
