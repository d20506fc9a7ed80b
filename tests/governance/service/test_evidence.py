"""Evidence at the gates: what the policy asks to be complete, the service looks into."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance import shape
from governance.bundle import folder
from governance.bundle.groups import Change, Group, Shadowed
from governance.errors import GovernanceError
from governance.service import candidates
from tests.governance.bundle import evidence as whole
from tests.governance.service.conftest import start
from tests.governance.service.double import FileDataPlane, complete
from tests.governance.service.stage import Stage, pack, short_policy
from tests.governance.signing import MODEL, policy_document

Stages = Callable[..., Stage]


def without(documents: dict[str, Group], path: str) -> dict[str, Group]:
    """The documents as if a field had never been given."""
    group, _, name = path.partition(".")
    told = shape.write(documents[group])
    del told[name]
    return {**documents, group: shape.read(type(documents[group]), told, group)}


class Strict:
    """A gateway whose policy asks for evidence at both gates, with one model live."""

    def __init__(self, tmp_path: Path) -> None:
        models = tmp_path / "models"
        self.digests = [pack(models, version) for version in (1, 2)]
        plane = FileDataPlane(tmp_path / "plane.json", models)
        self.stage = Stage(tmp_path, plane, models, short_policy(risk_classes=self.classes()))
        self.hand_in(1, self.digests[0], None)
        self.stage.promote(self.digests[0])

    def classes(self) -> dict[str, Any]:
        """Classes of risk that ask for evidence."""
        classes: dict[str, Any] = policy_document()["risk_classes"]
        for told in classes.values():
            told["shadow"] = short_policy().risk_classes["high"].shadow
            told["evidence"] = ["export", "shadow", "promote"]
        return classes

    def documents(self, incumbent: str | None) -> dict[str, Group]:
        found = whole.groups()
        change = found["change"]
        assert isinstance(change, Change)
        first = incumbent is None
        found["change"] = replace(change, expected_incumbent=incumbent, first=first)
        return found

    def hand_in(self, version: int, digest: str, incumbent: str | None, lacking: str = "") -> Path:
        """Hand a candidate in with its bundle; the bundle's folder."""
        stage, root = self.stage, self.stage.home.bundle(MODEL, digest)
        root.parent.mkdir(parents=True, exist_ok=True)
        folder.create(root, MODEL, digest)
        made, tested = stage.provenance(digest, "tom"), stage.evaluation(digest, "tom")
        documents = self.documents(incumbent)
        documents |= {"lineage": whole.lineage(made.digest), "evaluation": whole.evaluated()}
        if lacking:
            documents = without(documents, lacking)
        held = folder.add(root, documents, [made, tested], whole.MEASUREMENTS)
        candidates.submit(stage.authority, MODEL, version, made, tested, held.digest)
        return root

    def passed(self) -> Path:
        """The second candidate, compared; its bundle's folder."""
        root = self.hand_in(2, self.digests[1], self.digests[0])
        start(self.stage, self.digests[1])
        self.stage.double.tell(MODEL, [(n, complete()) for n in range(1000)])
        self.stage.shadowing.tick()
        return root

    def bundle_of(self) -> str:
        """What an approval of the second candidate has to name now."""
        known = self.stage.authority.candidate(MODEL, self.digests[1])
        from governance.service import evidence  # noqa: PLC0415

        return str(evidence.digest(self.stage.home, MODEL, self.digests[1], known))

    def promote(self, **changes: Any) -> None:
        named = {"evidence": self.bundle_of()} | changes
        approval = self.stage.approval("promote", self.digests[1], "dora", "greta", **named)
        self.stage.promotion.promote(MODEL, self.digests[1], [approval])


@pytest.fixture
def strict(tmp_path: Path) -> Strict:
    return Strict(tmp_path)


def add_report(strict: Strict, root: Path) -> None:
    """The bundle grows by the comparison's report."""
    digest = strict.stage.authority.candidate(MODEL, strict.digests[1]).report
    envelope = strict.stage.home.statement(str(digest))
    folder.add(root, {"shadow": Shadowed(envelope.digest, "one pair a block")}, [envelope])


def reason(act: Callable[[], object]) -> str:
    with pytest.raises(GovernanceError) as refused:
        act()
    return refused.value.reason


@pytest.mark.parametrize("path", ["identity.weights", "purpose.owner", "lineage.seeds"])
def test_a_candidate_without_what_export_asks_for_is_not_exported(
    strict: Strict, path: str
) -> None:
    assert (
        reason(lambda: strict.hand_in(2, strict.digests[1], strict.digests[0], path))
        == f"missing:{path}"
    )
    state = strict.stage.authority.candidate(MODEL, strict.digests[1]).state
    assert state == "eval_accepted"


@pytest.mark.parametrize("path", ["risk.failureClusters", "change.summary"])
def test_no_comparison_begins_without_what_it_asks_for(strict: Strict, path: str) -> None:
    strict.hand_in(2, strict.digests[1], strict.digests[0], path)
    assert reason(lambda: start(strict.stage, strict.digests[1])) == f"missing:{path}"
    assert strict.stage.double.state()["shadows"] == {}
    assert strict.stage.authority.candidate(MODEL, strict.digests[1]).attempt == 0


def test_a_promotion_needs_the_report_in_the_bundle_and_names_the_bundle_that_has_it(
    strict: Strict,
) -> None:
    root = strict.passed()
    exported = strict.bundle_of()
    assert reason(strict.promote) == "missing:shadow.report"
    add_report(strict, root)
    grown = strict.bundle_of()
    assert grown != exported
    assert reason(lambda: strict.promote(evidence=exported)) == "wrong_evidence"
    strict.promote()
    assert strict.stage.live() == (strict.digests[1],) * 3
    intent = [r for r in strict.stage.authority.ledger.reader.rows() if r.kind == "promote_intent"]
    assert grown.encode() in intent[-1].body


def test_a_bundle_that_is_not_the_one_that_was_handed_in_counts_for_nothing(
    strict: Strict,
) -> None:
    root = strict.passed()
    add_report(strict, root)
    aside = root.with_name("aside")
    root.rename(aside)
    folder.create(root, MODEL, strict.digests[1])
    folder.add(root, strict.documents(strict.digests[0]))
    assert reason(strict.promote) == "other_evidence"
    assert strict.stage.live() == (strict.digests[0],) * 3


def test_a_changed_file_of_the_bundle_stops_the_promotion(strict: Strict) -> None:
    root = strict.passed()
    add_report(strict, root)
    path = root / "risk.json"
    path.write_bytes(path.read_bytes().replace(b"medium", b"low   "))
    assert reason(strict.promote) == "file_changed"


def test_a_grown_bundle_is_handed_in_again_and_another_is_not(strict: Strict) -> None:
    root = strict.passed()
    add_report(strict, root)
    stage, digest = strict.stage, strict.digests[1]
    done = candidates.evidence(stage.authority, MODEL, digest, strict.bundle_of())
    assert done.state == "shadowing"
    other = "sha256:" + "7" * 64
    assert reason(lambda: candidates.evidence(stage.authority, MODEL, digest, other)) == (
        "other_evidence"
    )
