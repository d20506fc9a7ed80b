"""Sections of notes through the whole loop, with a tiny decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from governance.bundle import folder as bundles
from governance.bundle.groups import Evaluated, Identity
from governance.bundle.requirements import missing
from governance.service.repository import RepositoryError, refuse_offline, verify
from tests.trainer.tables import signer
from tests.trainer.tiny_decoder import write_base, write_spec
from trainer.cli.progress import folder_of, follow
from trainer.errors import InputError
from trainer.loop import prepare
from trainer.loop.engine import Ended
from trainer.loop.ledger import Ledger
from trainer.loop.store import Store
from trainer.notes.adapter import Adapter
from trainer.notes.offline import LIMIT
from trainer.spec.read import read_spec
from trainer.specialise import sandbox

pytestmark = pytest.mark.trainer


def run(folder: Path, **told: Any) -> Ended:
    spec, key = read_spec(write_spec(folder, **told)), signer()
    prepare.lock(spec, folder_of(spec, None, folder / "seals"), key)
    return follow(spec, key, None, folder / "seals", ray=False)


def test_a_decoder_that_meets_its_target_is_proposed_with_evidence_and_is_not_to_be_served(
    tmp_path: Path,
) -> None:
    ended = run(tmp_path)
    assert ended.outcome == "proposed", ended.reason
    assert ended.proposed is not None
    bundle = bundles.open_bundle(Path(ended.proposed.evidence))
    assert bundle.candidate == ended.proposed.digest
    assert missing(bundle, "export") == ()
    identity, tested = bundle.groups["identity"], bundle.groups["evaluation"]
    assert isinstance(identity, Identity)
    assert isinstance(tested, Evaluated)
    assert identity.loader == "offline"
    assert [one.name for one in identity.weights][-1] == "base model tiny"
    assert tested.known_limits is not None
    assert LIMIT in tested.known_limits
    names = {one.name for one in tested.baselines or ()}
    assert names >= {"the base model, untrained", "the most frequent header", "reference"}
    assert {s.name for s in tested.segments or ()} >= {
        "core: header = MED",
        "held_out: header = ROS",
    }
    path = Path(ended.proposed.path)
    assert verify(path) == ended.proposed.digest
    with pytest.raises(RepositoryError, match="judged offline, and no gateway serves one yet"):
        refuse_offline(path)
    # The same file, data and seed again, elsewhere.
    (tmp_path / "again").mkdir()
    again = run(tmp_path / "again")
    assert again.proposed is not None
    assert again.proposed.digest == ended.proposed.digest
    assert again.assessed is not None
    assert ended.assessed is not None
    assert again.assessed.report == ended.assessed.report


def test_a_decoder_behind_the_plain_model_is_not_proposed_and_the_run_says_so(
    tmp_path: Path,
) -> None:
    # Nothing is learnt, and what a word says of a header is plain.
    spec = write_spec(tmp_path, limit=0.0, allowed=500, more="")
    text = spec.read_text().replace("rate = 0.02", "rate = 0.000001")
    text = text.replace(
        'metric = "critical_recall"\nlimit = 0.5', 'metric = "critical_recall"\nlimit = 0.0'
    )
    text = text.replace("limit = 2.0", "limit = 50.0").replace(
        "reruns = 1", "reruns = 1\nleast_lead = 0.0"
    )
    spec.write_text(text)
    given, key = read_spec(spec), signer()
    prepare.lock(given, folder_of(given, None, tmp_path / "seals"), key)
    ended = follow(given, key, None, tmp_path / "seals", ray=False)
    assert ended.proposed is None
    assert "core does not hold: lead; -0." in ended.reason
    assert "beside the plain model, +0 asked" in ended.reason
    assert not (tmp_path / "adapters").exists()


def test_a_4_billion_class_recipe_s_keys_go_through_the_loop(tmp_path: Path) -> None:
    ended = run(tmp_path, more="bf16 = 1\ncheckpointing = 1")
    assert ended.outcome == "proposed", ended.reason
    assert ended.proposed is not None
    about = json.loads((Path(ended.proposed.path) / "adapter.json").read_text())
    assert about["dtype"] == "bfloat16"
    folder = tmp_path / "runs" / "sections"
    ledger = Ledger(folder / "ledger.db")
    (trial,) = (s for s in ledger.steps(ended.run) if s.phase == "trial")
    ledger.close()
    told = json.loads(trial.output)
    assert (told["parameters"]["bf16"], told["parameters"]["checkpointing"]) == (1, 1)
    assert told["confined"] == (sandbox.version() > 0)
    model = Store(folder / "objects", str(tmp_path / "tiny")).model(told["model"])
    assert isinstance(model, Adapter)
    # Another base model under the same name.
    (tmp_path / "other").mkdir()
    other = Path(write_base(tmp_path / "other"))
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    moved = Adapter(model.about, model.files, str(other))
    cases = prepare.draw(read_spec(tmp_path / "specialist.toml"), 1).core.examples
    with pytest.raises(InputError, match="The adapter goes on the base model sha256:"):
        moved.scores(cases.take([0, 1]))
