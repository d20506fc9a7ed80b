"""The documents of a demo candidate's evidence bundle, in as far as a demo has something to say."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from bench.specialists import SITE_RISK
from bench.story_candidates import Candidate
from governance import shape
from governance.bundle.groups import (
    Artefact,
    Change,
    FailureCluster,
    Group,
    Identity,
    Purpose,
    RemainingRisk,
    Risk,
    Rollback,
    Trigger,
)
from trainer.quality import measure
from trainer.tabular import FittedTable


def write_documents(
    folder: Path, candidate: Candidate, packed: Path, fitted: FittedTable, live: str | None
) -> Sequence[Path]:
    """Write NAME.json for each document that there is; `live` is the model to be replaced."""
    folder.mkdir()
    found: dict[str, Group] = {
        "identity": _identity(candidate, packed),
        "purpose": _purpose(),
        "change": _change(candidate, fitted, live),
        "risk": _risk(candidate, fitted),
        "rollback": _rollback(live),
    }
    for name, group in found.items():
        (folder / f"{name}.json").write_text(json.dumps(shape.write(group)))
    return [folder / f"{name}.json" for name in found]


def _identity(candidate: Candidate, packed: Path) -> Identity:
    def digest(name: str) -> str:
        return "sha256:" + hashlib.sha256((packed / name).read_bytes()).hexdigest()

    return Identity(
        model=SITE_RISK.name,
        candidate=candidate.digest,
        version=candidate.version,
        loader="onnxruntime",
        weights=(Artefact("model.onnx", digest("model.onnx")),),
        contract=digest("contract.toml"),
    )


def _purpose() -> Purpose:
    return Purpose(
        intended_use=SITE_RISK.task,
        prohibited_use="Anything but this demo.",
        materiality="low",
        owner="olga",
        validator="dora",
        vendor=False,
    )


def _change(candidate: Candidate, fitted: FittedTable, live: str | None) -> Change:
    moved = f"threshold {fitted.threshold:.6f} becomes {candidate.threshold:.6f}"
    return Change(
        summary=f"{candidate.differs} of {candidate.rows} held-out decisions differ from version 1."
        if live
        else "The first model of its name.",
        reason="To show how a model is replaced.",
        changes=(moved,) if live else (),
        expected_incumbent=live,
        first=live is None,
        predetermined=False,
    )


def _risk(candidate: Candidate, fitted: FittedTable) -> Risk:
    y = fitted.held_out_y
    found = measure(fitted.held_out_scores, y, candidate.threshold, fitted.dataset.costs)
    bad = int((y == 1).sum())
    missed, alarms = "sites to be caught that are not", "sites that are caught and should not be"
    clusters = (
        FailureCluster("missed", missed, found.misses, bad, "low"),
        FailureCluster("false alarms", alarms, found.false_alarms, len(y) - bad, "low"),
    )
    remaining = RemainingRisk(
        "Sites of another kind than those of the data set.", "low", "It is a demo.", "dora"
    )
    return Risk(clusters, (remaining,))


def _rollback(live: str | None) -> Rollback:
    return Rollback(
        previous=live,
        resident=live is not None,
        triggers=(Trigger("calls that fail", "0.1%", 60),),
        owner="olga",
        recovery="The model before stays resident; `sluicegate rollback` swaps back.",
    )
