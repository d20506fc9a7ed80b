"""`sluicegate bundle` and `sluicegate audit` as somebody types them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from governance import shape
from governance.bundle import folder
from governance.bundle.measured import Serving
from governance.cli import audit, bundle
from governance.home import Home
from tests.governance.bundle import evidence
from tests.governance.governed import Governed, history
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL

app = typer.Typer()
app.add_typer(bundle.app, name="bundle")
app.command()(audit.audit)
RUN = CliRunner()


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    done = RUN.invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(*arguments: object, code: int = 0) -> str:
    done = RUN.invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    path = tmp_path_factory.mktemp("policies")
    (path / "1.json").write_bytes(evidence.CHAIN[0].to_json())
    return ("--policy", path, "--pin", evidence.PIN)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, indent=2))
    return path


def test_a_bundle_is_made_from_files_that_people_write(
    root: Path, tmp_path: Path, trust: tuple[object, ...]
) -> None:
    first = run("bundle", "create", root, "--model", MODEL, "--candidate", CANDIDATE)
    purpose = tmp_path / "purpose.toml"
    purpose.write_text('intendedUse = "scores payments"\nvendor = false\njurisdictions = ["EU"]\n')
    risk = write(tmp_path / "risk.json", shape.write(evidence.groups()["risk"]))
    statement = tmp_path / "provenance.json"
    statement.write_bytes(evidence.about(evidence.provenance(), "tom").to_json())
    card = tmp_path / "card.md"
    card.write_text("# fraud")
    files = (purpose, risk, statement)
    second = run("bundle", "add", root, *files, "--attach", card)
    assert second["digest"] != first["digest"]
    shown = run("bundle", "show", root)
    assert shown["history"] == [second["digest"], first["digest"]]
    assert shown["groups"]["purpose"]["intendedUse"] == "scores payments"
    assert (root / "attachments" / "card.md").is_file()
    assert run("bundle", "verify", root, *trust)["sound"]


def test_what_a_gate_still_needs_is_shown_and_is_exit_code_1(root: Path) -> None:
    evidence.before_approval(root)
    assert run("bundle", "show", root, "--gate", "promote")["missing"] == {"promote": []}
    lacking = run("bundle", "show", root, "--gate", "validate", code=1)["missing"]["validate"]
    assert "execution.deployment" in lacking
    assert "execution.deployment" in told("bundle", "show", root)
    assert "there is no gate" in told("bundle", "show", root, "--gate", "golden", code=2)


def test_measurements_are_read_from_the_load_generators_reports(root: Path, tmp_path: Path) -> None:
    folder.create(root, MODEL, CANDIDATE)
    files = {}
    for name, data in evidence.MEASUREMENTS.items():
        files[Path(name).stem] = tmp_path / Path(name).name
        files[Path(name).stem].write_bytes(data)
    arguments = ("--candidate", files["candidate"], "--machine", "two cores")
    before = ("--incumbent", files["incumbent"], "--incumbent-digest", INCUMBENT)
    price = ("--capacity", files["capacity"], "--price", "0.042")
    run("bundle", "measure", root, *arguments, *before, *price)
    found = folder.open_bundle(root).group(Serving)
    assert found.cost == evidence.serving().cost
    assert found.incumbent == evidence.serving().incumbent
    told("bundle", "measure", root, *arguments, "--price", "1", code=2)
    told("bundle", "measure", root, *arguments, *before[:2], code=2)


def test_what_a_shadow_costs_is_measured_in_turns(
    root: Path, tmp_path: Path, trust: tuple[object, ...]
) -> None:
    evidence.before_approval(root)
    words: tuple[object, ...] = ("--incumbent-digest", INCUMBENT)
    for name, p50 in (("without", 80.0), ("with", 82.0)):
        for number in (1, 2, 3):
            file = tmp_path / f"{name}-{number}.json"
            file.write_bytes(evidence.load_report(p50, 500.0, rate=500.0))
            words += (f"--{name}-shadow", file)
    report = tmp_path / "candidate.json"
    report.write_bytes(evidence.MEASUREMENTS["measurements/candidate.json"])
    words = ("bundle", "measure", root, "--candidate", report, "--machine", "two cores", *words)
    assert "p99 with the shadow is 1.025 times that without" in told(*words)
    assert "1.025 times that without" in told("bundle", "verify", root, *trust, "--all")
    page = tmp_path / "page.html"
    run("bundle", "render", root, *trust, "--out", page)
    assert "p99 was 1.025 times that without" in page.read_text()


def test_verify_tells_findings_with_their_reasons(root: Path, trust: tuple[object, ...]) -> None:
    evidence.complete(root)
    assert "holds: " in told("bundle", "verify", root, *trust)
    assert "domain_expert" in told("bundle", "verify", root, *trust, "--all")
    (root / "purpose.json").write_text("{}")
    found = run("bundle", "verify", root, *trust, code=1)
    assert {c["reason"] for c in found["checks"] if c["state"] == "fails"} == {"file_changed"}
    assert "findings: file_changed" in told("bundle", "verify", root, *trust, code=1)
    assert "--pin" in told("bundle", "verify", root, code=2)


def test_a_page_is_rendered(root: Path, tmp_path: Path, trust: tuple[object, ...]) -> None:
    evidence.before_approval(root)
    out = tmp_path / "page.html"
    assert run("bundle", "render", root, *trust, "--out", out)["sound"]
    assert out.read_text().startswith("<!DOCTYPE html>")
    (root / "purpose.json").write_text("{}")
    run("bundle", "render", root, *trust, "--out", tmp_path / "other.html", code=1)
    assert not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("purpose.json", '{"ownr": "a"}', 1, "unknown_field"),
        ("purpose.toml", "share = 0.5", 1, "float"),
        ("purpose.toml", "owner = ", 1, "not_toml"),
        ("purpose.json", "{", 1, "not_json"),
        ("notes.json", "{}", 2, "no document has that name"),
    ],
)
def test_a_file_that_does_not_belong_is_refused(
    root: Path, tmp_path: Path, name: str, content: str, code: int, said: str
) -> None:
    folder.create(root, MODEL, CANDIDATE)
    file = tmp_path / name
    file.write_text(content)
    assert said in told("bundle", "add", root, file, code=code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("bundle", "add", "nowhere", "missing.json"),
        ("bundle", "show", "nowhere"),
        ("bundle", "verify", "nowhere", "--policy", "none.json", "--pin", CANDIDATE),
        ("audit", "nowhere", "--pin", CANDIDATE),
    ],
)
def test_what_is_not_there_is_usage(arguments: tuple[str, ...]) -> None:
    told(*arguments, code=2)


def test_help_is_a_manual() -> None:
    manual = told("bundle", "--help")
    for wanted in ("create", "measure", "render", "bundle add EVIDENCE", "purpose"):
        assert wanted in manual


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Governed:
    return history(Governed(tmp_path_factory.mktemp("governed")))


def test_an_audit_agrees_or_tells_its_findings(made: Governed, tmp_path: Path) -> None:
    home = made.home.root
    arguments = ("--pin", made.pin, "--witness", made.witness, "--models", made.models)
    found = run("audit", home, *arguments)
    assert (found["agrees"], found["findings"], found["unchecked"]) == (True, [], [])
    assert found["ledger"]["size"] == found["ledger"]["witnessed"] == 28
    assert "agrees: " in told("audit", home, *arguments)
    assert "PASS recomputed" in told("audit", home, *arguments, "--all")
    copy = shutil.copytree(home, tmp_path / "home")
    Home(copy).set_live(MODEL, None)
    found = run("audit", copy, *arguments, code=1)
    assert [finding["reason"] for finding in found["findings"]] == ["live_missing"]
    assert "findings: live_missing" in told("audit", copy, *arguments, code=1)
