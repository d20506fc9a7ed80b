"""A bundle's folder: what it takes, how it grows, what its history tells."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance import canonical, shape
from governance.bundle import folder
from governance.bundle.groups import GROUPS, Identity, Post, Purpose
from governance.bundle.manifest import listed as listed_file
from governance.errors import GovernanceError
from governance.schemas.__main__ import FOLDER
from tests.governance.bundle import evidence
from tests.governance.json_schema import accepts
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL, signer


def refused(reason: str) -> Any:
    return pytest.raises(GovernanceError, check=lambda e: e.reason == reason)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def test_a_new_bundle_is_empty_and_names_its_candidate(root: Path) -> None:
    made = folder.create(root, MODEL, CANDIDATE)
    assert (made.model, made.candidate, made.manifest.previous) == (MODEL, CANDIDATE, None)
    assert made.digest == canonical.digest((root / "bundle.json").read_bytes())
    with refused("folder_not_empty"):
        folder.create(root, MODEL, CANDIDATE)


def test_each_addition_makes_a_new_digest_and_keeps_the_ones_before(root: Path) -> None:
    first = folder.create(root, MODEL, CANDIDATE)
    second = folder.add(root, {"identity": Identity(MODEL, CANDIDATE)})
    third = folder.add(root, {"purpose": Purpose(owner="payments")})
    assert [m.digest for m in third.history] == [third.digest, second.digest, first.digest]
    assert third.since(second.digest) == []
    fourth = folder.add(root, {"purpose": Purpose(owner="cards")})
    assert fourth.since(third.digest) == ["purpose.json"]
    with refused("other_evidence"):
        fourth.since(INCUMBENT)


def test_the_same_addition_twice_changes_nothing(root: Path) -> None:
    folder.create(root, MODEL, CANDIDATE)
    one = folder.add(root, {"purpose": Purpose(owner="cards")})
    assert folder.add(root, {"purpose": Purpose(owner="cards")}).digest == one.digest


def test_a_later_signature_joins_those_that_are_there(root: Path) -> None:
    evidence.before_approval(root)
    alone = evidence.approve(root, "dora")
    asked = next(s for s in alone.statements.values() if "approval" in s.statement.predicate.TYPE)
    second = replace(asked.envelope, signatures=()).signed_by(signer("greta"))
    both = folder.add(root, statements=[second]).statements[asked.digest]
    assert len(both.envelope.signatures) == 2


@pytest.mark.parametrize(
    "begun", [("purpose.json",), ("purpose.json", "history"), ("history",)], ids=str
)
def test_an_addition_that_was_interrupted_is_finished_by_making_it_again(
    root: Path, begun: tuple[str, ...]
) -> None:
    before = folder.create(root, MODEL, CANDIDATE)
    wanted = Purpose(owner="cards")
    if "purpose.json" in begun:
        (root / "purpose.json").write_bytes(canonical.encode(shape.write(wanted)))
    if "history" in begun:
        (root / "history").mkdir()
        (root / f"history/{before.digest[7:]}.json").write_bytes(before.manifest.payload)
    after = folder.add(root, {"purpose": wanted})
    assert after.group(Purpose) == wanted
    assert after.manifest.previous == before.digest


def test_what_was_changed_outside_never_becomes_part_of_a_bundle(root: Path) -> None:
    evidence.before_approval(root)
    (root / "purpose.json").write_bytes(canonical.encode({"owner": "mallory"}))
    with refused("file_changed"):
        folder.add(root, {"post": Post(incidents=())})
    (root / "purpose.json").unlink()
    with refused("missing_file"):
        folder.add(root, {"post": Post(incidents=())})


def test_what_lies_in_the_folder_unlisted_is_refused(root: Path) -> None:
    folder.create(root, MODEL, CANDIDATE)
    (root / "history").mkdir()
    for name in ("notes.txt", f"history/{'a' * 64}.json", ".hidden"):
        (root / name).write_text("{}")
        with refused("unlisted_file"):
            folder.open_bundle(root)
        with refused("unlisted_file"):
            folder.add(root, {"post": Post(incidents=())})
        (root / name).unlink()


def test_links_are_not_followed(root: Path) -> None:
    folder.create(root, MODEL, CANDIDATE)
    folder.add(root, {"post": Post(incidents=())})
    aside = root.with_name("aside.json")
    (root / "post.json").rename(aside)
    (root / "post.json").symlink_to(aside)
    with refused("link"):
        folder.open_bundle(root)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside.json", "bad_path"),
        ("attachments/../x", "bad_path"),
        ("attachments/a/b", "bad_path"),
        ("purpose.json", "bad_path"),
        ("measurements/X.json", "bad_path"),
    ],
)
def test_files_have_no_other_place_than_theirs(root: Path, path: str, reason: str) -> None:
    folder.create(root, MODEL, CANDIDATE)
    with refused(reason):
        folder.add(root, files={path: b"{}"})


def test_a_statement_about_another_candidate_is_refused(root: Path) -> None:
    folder.create(root, "fraud-2", CANDIDATE)
    with refused("other_candidate"):
        folder.add(root, statements=[evidence.about(evidence.report(), "gateway-1")])


def test_a_document_with_an_unknown_field_is_refused(root: Path) -> None:
    folder.create(root, MODEL, CANDIDATE)
    with refused("unknown_field"):
        folder.read_group("purpose.json", canonical.encode({"ownr": "cards"}))
    with refused("unknown_group"):
        folder.read_group("notes.json", b"{}")


def test_the_history_has_to_be_there_and_to_be_the_candidates(root: Path) -> None:
    made = folder.create(root, MODEL, CANDIDATE)
    other = replace(made.manifest, candidate=INCUMBENT)
    listed = listed_file(f"history/{other.digest[7:]}.json", other.payload)
    (root / "history").mkdir()
    (root / listed.path).write_bytes(other.payload)
    for files, reason in (((), "history_missing"), ((listed,), "history_differs")):
        grown = replace(made.manifest, previous=other.digest, files=files)
        if not files:
            (root / listed.path).rename(root.with_name("kept"))
        else:
            root.with_name("kept").rename(root / listed.path)
        (root / "bundle.json").write_bytes(grown.payload)
        with refused(reason):
            folder.open_bundle(root)


def test_every_document_is_valid_by_its_published_schema(root: Path) -> None:
    made = evidence.complete(root)
    assert set(made.groups) == set(GROUPS)
    for name in made.groups:
        schema = json.loads((FOLDER / f"bundle-{name}.json").read_text())
        document = json.loads((root / f"{name}.json").read_text())
        assert accepts(schema, document)
        assert not accepts(schema, {**document, "more": 1})
    manifest = json.loads((root / "bundle.json").read_text())
    assert accepts(json.loads((FOLDER / "bundle.json").read_text()), manifest)
