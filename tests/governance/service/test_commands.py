"""The commands: what they say, and exit codes 0 done, 1 refused, 2 usage, 3 unreachable."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from governance.bundle import folder
from governance.dsse import Envelope
from governance.service.repository import digest_of
from tests.governance.service.commands import app, run, told
from tests.governance.service.double import complete
from tests.governance.service.served import Served, serving
from tests.governance.signing import signer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as running:
        stage = running.stage
        one, two = (digest_of(stage.models / stage.model / str(n)) for n in (1, 2))
        stage.first(1, one)
        stage.submit(2, two)
        yield running


def as_role(served: Served, role: str, *words: object, **more: Any) -> Any:
    return run(*words, who=served.authority.person(role), port=served.server.port, **more)


def said(served: Served, role: str, *words: object) -> str:
    return told(*words, who=served.authority.person(role), port=served.server.port)


def kept(served: Served, name: str, envelope: Envelope) -> Path:
    path = served.stage.folder / name
    path.write_bytes(envelope.to_json())
    return path


def two_of(served: Served) -> str:
    return digest_of(served.stage.models / served.stage.model / "2")


def test_a_candidate_is_handed_in_and_shown_with_what_an_approval_has_to_name(
    served: Served,
) -> None:
    stage = served.stage
    three = digest_of(stage.models / stage.model / "3")
    root = stage.folder / "bundle"
    held = folder.create(root, stage.model, three)
    words: tuple[object, ...] = ("candidate", "submit", stage.model, 3)
    words += ("--provenance", kept(served, "p", stage.provenance(three, "tom")))
    words += ("--evaluation", kept(served, "e", stage.evaluation(three, "tom")))
    as_role(served, "trainer", *words, "--bundle", held.digest, code=2)
    words += ("--bundle", held.digest)
    empty = stage.folder / "empty"
    empty.mkdir()
    as_role(served, "trainer", *words, "--evidence", empty, code=2)
    (empty / "index.json").write_text("{}")
    refused = as_role(served, "trainer", *words, "--evidence", empty, code=1)
    assert refused["reason"] == "no_bundle"
    done = as_role(served, "trainer", *words, "--evidence", root)
    assert done == {"candidate": three, "state": "exported"}
    assert folder.open_bundle(stage.home.bundle(stage.model, three)).digest == held.digest
    grown = folder.add(root, files={"attachments/notes.txt": b"seen"})
    words = ("candidate", "evidence", stage.model, three, root)
    assert as_role(served, "trainer", *words)["state"] == "exported"
    listed = as_role(served, "auditor", "candidate", "list")
    assert {c["state"] for c in listed} == {"live", "exported"}
    shown = as_role(served, "auditor", "candidate", "show", stage.model, three)
    assert (shown["evidence"], shown["report"]) == (grown.digest, None)
    assert shown["incumbent"] == stage.authority.state(stage.model).incumbent
    assert {s["kind"] for s in shown["statements"]} == {"provenance", "evaluation"}
    assert "exported" in said(served, "auditor", "candidate", "list")
    assert "evidence" in said(served, "auditor", "candidate", "show", stage.model, three)


def test_a_comparison_is_started_shown_and_watched_to_its_end(served: Served) -> None:
    stage, two = served.stage, two_of(served)
    approval = kept(served, "a", stage.approval("shadow", two, "olga"))
    as_role(served, "operator", "shadow", "start", stage.model, two, "--approval", approval)
    stage.double.tell(stage.model, [(n, complete()) for n in range(150)])
    stage.shadowing.tick()
    table = said(served, "auditor", "shadow", "status", stage.model)
    for word in ("disagreement", "pairs still needed", "150 complete", "INCONCLUSIVE"):
        assert word in table
    stage.double.tell(stage.model, [(n, complete()) for n in range(150, 1000)])
    stage.clock += 60
    later = threading.Timer(1.5, partial(stage.shadowing.tick))
    later.start()
    last = as_role(served, "operator", "shadow", "status", stage.model, "--watch")
    later.join()
    assert (last["ended"], last["verdict"]) == (True, "PASS")
    as_role(served, "operator", "shadow", "status", stage.model, code=1)


def test_watching_a_failure_is_exit_code_1(served: Served) -> None:
    stage, two = served.stage, two_of(served)
    stage.shadowing.start(stage.model, two, [stage.approval("shadow", two, "olga")])
    stage.double.tell(stage.model, [(n, complete(candidate=False)) for n in range(100)])
    later = threading.Timer(0.5, partial(stage.shadowing.tick))
    later.start()
    last = as_role(served, "operator", "shadow", "status", stage.model, "--watch", code=1)
    later.join()
    assert last["verdict"] == "FAIL"


def test_promote_rollback_and_their_story(served: Served) -> None:
    stage, two = served.stage, two_of(served)
    stage.shadowing.start(stage.model, two, [stage.approval("shadow", two, "olga")])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.clock += 60
    stage.shadowing.tick()
    one = kept(served, "one", stage.approval("promote", two, "dora"))
    refused = as_role(served, "operator", "promote", stage.model, two, "--approval", one, code=1)
    assert refused["reason"] == "too_few_persons"
    both = kept(served, "both", stage.approval("promote", two, "dora", "greta"))
    done = as_role(served, "operator", "promote", stage.model, two, "--approval", both)
    assert (done["candidate"], done["version"]) == (two, 2)
    back = kept(served, "back", stage.approval("rollback", two, "olga"))
    done = as_role(served, "operator", "rollback", stage.model, "--approval", back)
    assert (done["version"], done["logged"]) == (1, True)
    assert as_role(served, "auditor", "events")["kind"] == "rollback"
    story = said(served, "auditor", "events", "--from", 3)
    assert "by domain_expert and governance_approver" in story


def test_statements_are_handed_in_one_by_one_and_fetched_to_be_read(served: Served) -> None:
    stage, two = served.stage, two_of(served)
    stage.shadowing.start(stage.model, two, [stage.approval("shadow", two, "olga")])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.clock += 60
    stage.shadowing.tick()
    report = as_role(served, "auditor", "candidate", "show", stage.model, two)["report"]
    out = stage.folder / "report.json"
    as_role(served, "domain_expert", "fetch", report, "--out", out)
    assert Envelope.from_json(out.read_bytes()).digest == report
    both = stage.approval("promote", two)
    for role, person in (("domain_expert", "dora"), ("governance_approver", "greta")):
        one = kept(served, person, both.signed_by(signer(person)))
        assert as_role(served, role, "submit", one)["digest"] == both.digest
    as_role(served, "operator", "promote", stage.model, two)
    validation = kept(served, "v", stage.approval("validate", two, "dora"))
    words = ("decide", "validate", stage.model, two, "--approval", validation)
    assert as_role(served, "operator", *words)["state"] == "validated"
    revocation = kept(served, "r", stage.revocation("model", two, "sam"))
    assert as_role(served, "security", "submit", revocation)["affected"][0]["pulled_back"]
    as_role(served, "security", "submit", out, code=2)
    as_role(served, "auditor", "submit", revocation, code=1)


def test_nobody_there_is_exit_code_3_and_a_file_that_is_not_there_2(served: Served) -> None:
    who = served.authority.person("operator")
    run("events", who=who, port=1, code=3)
    as_role(served, "operator", "rollback", "fraud", "--approval", "/nowhere", code=2)
    who.certificate.unlink()
    run("events", who=who, port=served.server.port, code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("candidate", "list"),
        ("shadow", "status", "fraud"),
        ("promote", "fraud", "sha256:00"),
        ("submit", "x.json"),
        ("fleet",),
        ("events",),
    ],
)
def test_every_command_asks_as_whom_it_is_told_by_options_or_by_the_environment(
    words: tuple[str, ...],
) -> None:
    manual = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert manual.exit_code == 0
    for option in ("--admin", "--cert", "--key", "--ca"):
        assert option in manual.output
        assert f"SLUICEGATE_{option[2:].upper()}" in manual.output
    nobody = CliRunner().invoke(app, [*words])
    assert nobody.exit_code == 2 and "--cert" in nobody.output
