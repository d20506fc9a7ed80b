"""Sections of notes through the whole loop, with a tiny decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from governance.bundle import folder as bundles
from governance.bundle.groups import Evaluated, Identity
from governance.bundle.requirements import missing
from governance.service.repository import RepositoryError, refuse_offline, verify
from tests.trainer.tables import signer
from tests.trainer.tiny_decoder import sections, write_base, write_spec
from trainer.cli.progress import folder_of, follow
from trainer.errors import InputError
from trainer.evaluation.metrics import Answer, scored_rows
from trainer.examples import Examples
from trainer.loop import prepare
from trainer.loop.engine import Ended
from trainer.loop.fit import on_ray
from trainer.loop.ledger import Ledger
from trainer.loop.store import Store
from trainer.notes.adapter import Adapter
from trainer.notes.method import DECODER_LORA
from trainer.notes.offline import LIMIT
from trainer.notes.sections import cases
from trainer.spec.read import read_spec
from trainer.specialise import sandbox
from trainer.specialise.trial import Outcome, Trial
from trainer.specialise.trial import run as fit_alone

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
    assert [one.name for one in identity.weights or ()][-1] == "base model tiny"
    assert tested.known_limits is not None
    assert LIMIT in tested.known_limits
    names = {one.name for one in tested.baselines or ()}
    assert names >= {"the base model, untrained", "the most frequent header", "reference"}
    assert {s.segment for s in tested.segments or ()} >= {
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


def trial_of(folder: Path, workers: int = 1) -> tuple[Trial, Examples]:
    """A fit of few and short steps: later ones carry what float32 rounds further."""
    few = {"rank": 4, "rate": 0.002, "batch": 21, "max_tokens": 12, "text_tokens": 6}
    base = folder / "tiny"
    return Trial(
        "decoder_lora",
        dict(DECODER_LORA.first) | few | {"checkpoint_steps": 3},
        np.linspace(0.5, 1.5, 200),
        2,
        7,
        nice=0,
        base=str(base) if base.exists() else write_base(base),
        checkpoints=str(folder / "checkpoints"),
        workers=workers,
    ), cases(sections(200), "MED")


def test_a_confined_fit_goes_on_from_its_checkpoint_to_the_same_adapter(tmp_path: Path) -> None:
    trial, train = trial_of(tmp_path)
    whole = fit_alone(trial, train)
    assert whole.confined == (sandbox.version() > 0)
    again = fit_alone(trial, train)
    (starts,) = (tmp_path / "checkpoints").rglob("*.starts")
    assert starts.read_text().split("\n")[:2] == ["0 of 8", "6 of 8"]
    assert whole.fitted is not None, whole.failed
    assert again.fitted is not None, again.failed
    assert again.fitted.model.digest == whole.fitted.model.digest
    assert len(scored_rows(whole.fitted.fold_scores)) == 40


def test_two_workers_fit_the_adapter_that_one_fits(tmp_path: Path) -> None:
    trial, train = trial_of(tmp_path)
    alone = fit_alone(trial, train).fitted
    found: dict[int, Outcome] = {}
    with on_ray() as fit:
        fit([trial_of(tmp_path, 2)[0]], train, found.__setitem__)
    assert alone is not None
    assert found[0].fitted is not None, found[0].failed
    off = found[0].fitted.model.scores(train) - alone.model.scores(train)
    assert np.abs(off[:, [Answer.MARGIN, Answer.NATS]]).max() < 1e-3
