"""Which evidence each gate needs: every field is taken away in turn."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from governance import shape
from governance.bundle import folder
from governance.bundle.errors import BundleError
from governance.bundle.folder import Bundle
from governance.bundle.groups import GROUPS, Change
from governance.bundle.requirements import (
    ADDED,
    IN_PLACE_OF_ANOTHER,
    check,
    missing,
    required,
)
from governance.statements import KINDS
from governance.vocabulary import GATES, Gate
from tests.governance.bundle import evidence
from tests.governance.signing import CANDIDATE, MODEL

CASES = [(gate, path) for gate in GATES for path in required(gate)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return evidence.complete(tmp_path_factory.mktemp("evidence") / "bundle")


def without(bundle: Bundle, path: str) -> Bundle:
    """The bundle as it would be if a field had never been given."""
    group, _, name = path.partition(".")
    if group == "statements":
        kept = {
            digest: signed
            for digest, signed in bundle.statements.items()
            if not isinstance(signed.statement.predicate, KINDS[name])
        }
        return replace(bundle, statements=kept)
    document = shape.write(bundle.groups[group])
    del document[name]
    return replace(
        bundle, groups={**bundle.groups, group: shape.read(GROUPS[group], document, group)}
    )


@pytest.mark.parametrize("gate", GATES)
def test_a_whole_bundle_passes_every_gate(whole: Bundle, gate: Gate) -> None:
    check(whole, gate)


@pytest.mark.parametrize(("gate", "path"), CASES)
def test_a_gate_refuses_a_bundle_without_any_one_field(
    whole: Bundle, gate: Gate, path: str
) -> None:
    with pytest.raises(BundleError) as refused:
        check(without(whole, path), gate)
    assert refused.value.reason == f"missing:{path}"


@pytest.mark.parametrize("group", GROUPS)
def test_a_gate_refuses_a_bundle_without_a_whole_group(whole: Bundle, group: str) -> None:
    kept = {name: held for name, held in whole.groups.items() if name != group}
    assert any(
        path.startswith(f"{group}.") for path in missing(replace(whole, groups=kept), "validate")
    )


def test_a_later_gate_needs_what_the_earlier_ones_need() -> None:
    for before, after in pairwise(GATES):
        assert set(required(before)) < set(required(after))


def test_a_first_model_needs_nothing_that_compares_with_one_before(whole: Bundle) -> None:
    compared = [path for paths in IN_PLACE_OF_ANOTHER.values() for path in paths]
    bundle = replace(
        whole,
        groups={**whole.groups, "change": replace(whole.group(Change), first=True)},
    )
    for path in compared:
        check(without(bundle, path), "promote")
        assert path not in required("promote", first=True)
    with pytest.raises(BundleError):
        check(without(bundle, "rollback.owner"), "promote")


def test_an_empty_list_says_that_there_is_none(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    evidence.before_approval(root)
    bundle = folder.add(
        root, {"risk": shape.read(GROUPS["risk"], {"failureClusters": [], "remaining": []})}
    )
    check(bundle, "promote")


def test_a_rejected_candidate_keeps_what_it_has(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    folder.create(root, MODEL, CANDIDATE)
    table = evidence.evaluated()
    statement = evidence.about(evidence.evaluation(table, "FAILED"), "audrey")
    bundle = folder.add(root, {"evaluation": table}, [statement])
    assert folder.open_bundle(root).digest == bundle.digest
    with pytest.raises(BundleError):
        check(bundle, "accept_eval")


def test_every_path_is_a_field_of_a_document() -> None:
    for table in (ADDED, IN_PLACE_OF_ANOTHER):
        for path in (path for paths in table.values() for path in paths):
            group, _, name = path.partition(".")
            known = KINDS if group == "statements" else shape.shape_of(GROUPS[group]).fields
            assert name in known, path
