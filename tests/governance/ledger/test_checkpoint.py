"""Signed notes and checkpoints: the format's published example, and what is refused."""

import pytest

from governance.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from governance.ledger.errors import NoteError
from governance.ledger.note import (
    COSIGNATURE,
    MOST_BYTES,
    NoteKey,
    cosign_line,
    open_note,
    parse_key,
    sign_note,
)
from tests.governance.ledgers import LOG, LOG_KEY, NOW, ORIGIN, Key

# The example of Go's golang.org/x/mod/sumdb/note, on which the format is founded.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotp"
    "RZb6KE6RyyBwJnAM=\n"
)

HEAD = Checkpoint(ORIGIN, 7, bytes(range(32)))
NOTE = sign_checkpoint(HEAD, LOG)
OTHER = Key("other")


def test_the_published_note_is_read() -> None:
    opened = open_note(GO_NOTE, [parse_key(GO_KEY)])
    assert opened.text.startswith("If you think")
    assert str(opened.signers[0]) == GO_KEY


def test_a_checkpoint_comes_back_as_it_was_signed() -> None:
    assert open_checkpoint(NOTE, LOG_KEY)[0] == HEAD
    assert parse_key(str(LOG_KEY)) == LOG_KEY


def test_a_cosignature_tells_when_the_witness_saw_the_head() -> None:
    witness = NoteKey("witness", OTHER.public_key, COSIGNATURE)
    note = NOTE + cosign_line(HEAD.text, "witness", OTHER, NOW)
    opened = open_checkpoint(note, LOG_KEY, [witness])[1]
    assert opened.times == {"witness": NOW}
    assert opened.signers == (LOG_KEY, witness)


def test_lines_of_unknown_keys_are_passed_over() -> None:
    stranger = sign_note(HEAD.text, "stranger", OTHER).rpartition("\n\n")[2]
    assert open_checkpoint(NOTE + stranger, LOG_KEY)[1].signers == (LOG_KEY,)


def _flip(text: str, place: int) -> str:
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


@pytest.mark.parametrize("place", range(len(NOTE)))
def test_a_note_with_any_character_changed_is_refused(place: int) -> None:
    with pytest.raises(NoteError):
        open_checkpoint(_flip(NOTE, place), LOG_KEY)


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (sign_checkpoint(HEAD, OTHER), "not_signed"),
        (sign_checkpoint(Checkpoint("other/log", 7, HEAD.root), OTHER), "not_signed"),
        (sign_note(Checkpoint("other/log", 7, HEAD.root).text, ORIGIN, LOG), "other_log"),
        (NOTE.replace("\n7\n", "\n8\n"), "bad_signature"),
        (NOTE + NOTE.splitlines(keepends=True)[-1] * 16, "too_many_signatures"),
        (NOTE.removesuffix("\n"), "bad_note"),
        (NOTE.replace("—", "-"), "bad_note"),
        (NOTE.replace("\n\n", "\n"), "bad_note"),
        (NOTE.replace("\n7", "\t\n7"), "bad_note"),
        ("x" * MOST_BYTES + NOTE, "note_too_long"),
        (sign_note(HEAD.text + "extension\n", ORIGIN, LOG), "bad_checkpoint"),
    ],
)
def test_a_note_is_refused_for_its_own_reason(note: str, reason: str) -> None:
    with pytest.raises(NoteError) as refused:
        open_checkpoint(note, LOG_KEY)
    assert refused.value.reason == reason


@pytest.mark.parametrize("size", ["", "07", "-1", "+7", "7.0", "\u0667", "9" * 19])
def test_a_size_has_one_spelling(size: str) -> None:
    with pytest.raises(NoteError) as refused:
        parse_checkpoint(HEAD.text.replace("\n7\n", f"\n{size}\n"))
    assert refused.value.reason == "bad_checkpoint"


@pytest.mark.parametrize("root", ["AAEC", "!" * 44, HEAD.text.split("\n")[2][:-2] + "9="])
def test_a_root_is_32_bytes_in_canonical_base64(root: str) -> None:
    with pytest.raises(NoteError) as refused:
        parse_checkpoint(f"{ORIGIN}\n7\n{root}\n")
    assert refused.value.reason == "bad_checkpoint"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_a_key_has_a_name_that_notes_can_hold(name: str) -> None:
    with pytest.raises(NoteError) as refused:
        NoteKey(name, OTHER.public_key)
    assert refused.value.reason == "bad_key_name"


@pytest.mark.parametrize("text", ["", "a+b", GO_KEY.replace("c74f", "c74e"), GO_KEY[:-4], "a+b+"])
def test_a_verifier_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(NoteError) as refused:
        parse_key(text)
    assert refused.value.reason == "bad_key"
