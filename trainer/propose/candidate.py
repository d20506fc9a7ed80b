"""Packs the candidate and makes its evidence bundle: a proposal that people can judge.

The trainer proposes and can approve nothing: its key has no other role. What is signed is where
the model is from and how it tested; both name data, code and thresholds by digest.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.packing import Decision, Packed, PackError, Text, Wishes, pack_graph
from governance import canonical
from governance.bundle import folder as bundles
from governance.bundle.groups import Group
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.signer import Signer
from trainer import codec
from trainer.errors import InputError, TrainError
from trainer.evaluation.lock import Lock
from trainer.export import OUTPUT
from trainer.loop.phases import Desk
from trainer.loop.types import Proposed, ProposeIn
from trainer.propose import documents, origin, reasons
from trainer.propose.statements import evaluation, provenance
from trainer.spec.spec import Spec
from trainer.specialise.model import Model, Scorer


@dataclass(frozen=True)
class Signing:
    """The trainer's key, open."""

    signer: Signer


def propose(desk: Desk, given: ProposeIn, signing: Signing, locked: Lock) -> tuple[Proposed, str]:
    """The proposal's folder under the run's, complete or not at all; again it is the same.

    Raises:
        InputError: the repository cannot be written or does not take the model.
        TrainError: the evidence does not hold together.
    """
    spec = desk.spec
    model = desk.store.model(given.best.model)
    packed = placed(spec, model, given.best.threshold)
    proposal = desk.folder.root / "proposals" / packed.digest.removeprefix("sha256:")[:16]
    made = origin.gather()
    train = desk.examples(given.prepared.train)
    explained = reasons.explain(model, train, spec) if spec.propose.reasons else None
    parts = documents.Parts(spec, given, packed, train, made, explained, locked)
    first = documents.evaluation(parts)
    try:
        signed = provenance(parts), evaluation(parts, first)
        envelopes = [one.envelope(signing.signer) for one in signed]
        groups: dict[str, Group] = {
            **documents.all_groups(parts, envelopes[0].digest),
            "evaluation": first,
        }
        bundle = _bundle(proposal / "evidence", packed, groups, envelopes, attachments(parts))
    except GovernanceError as error:
        raise TrainError(f"The evidence does not hold together: {error}") from error
    for name, envelope in zip(("provenance", "evaluation"), envelopes, strict=True):
        (proposal / f"{name}.json").write_bytes(envelope.to_json())
    told = Proposed(
        version=packed.version,
        path=str(packed.path),
        digest=packed.digest,
        bundle=bundle,
        evidence=str(proposal / "evidence"),
        provenance=str(proposal / "provenance.json"),
        evaluation=str(proposal / "evaluation.json"),
    )
    return told, f"version {packed.version} of {spec.name}, {packed.digest}, with its evidence"


def placed(spec: Spec, model: Scorer, threshold: float) -> Packed:
    """The candidate's directory: a model that is served, or an adapter that is judged offline.

    Raises:
        InputError: it cannot be written, or is not to be served.
    """
    if isinstance(model, Model):
        return pack(spec, model, threshold)
    from trainer.notes import offline  # noqa: PLC0415
    from trainer.notes.adapter import Adapter  # noqa: PLC0415

    if not isinstance(model, Adapter):
        raise InputError("The plain model is no candidate.")
    return offline.pack(model, spec.name, spec.path(spec.propose.repository))


def pack(spec: Spec, model: Model, threshold: float) -> Packed:
    """The model's directory in the repository; the same model keeps its number.

    Raises:
        InputError: it cannot be written, or is not to be served.
    """
    repository = spec.path(spec.propose.repository)
    with tempfile.TemporaryDirectory(prefix="sluicegate-pack-") as name:
        graph = Path(name, "model.onnx")
        graph.write_bytes(model.graph)
        decision = (
            Decision(OUTPUT, threshold, spec.decide.labels) if spec.task == "binary" else None
        )
        text = (
            Text(model.tokenizer, max_tokens=model.max_tokens, max_bytes=model.max_bytes)
            if model.tokenizer
            else None
        )
        wishes = Wishes(decision=decision, non_finite="refuse" if not text else "allow", text=text)
        try:
            repository.mkdir(parents=True, exist_ok=True)
            return pack_graph(graph, spec.name, repository, wishes=wishes)
        except (PackError, OSError) as error:
            raise InputError(f"The candidate cannot be packed: {error}.") from error


def attachments(parts: documents.Parts) -> Mapping[str, bytes]:
    """What the evidence holds beside its documents."""
    found = {
        "attachments/environment.txt": parts.origin.environment.encode(),
        "attachments/specialist.json": documents.told_spec(parts).encode(),
    }
    if parts.given.report.fairness:
        told = [codec.to_plain(rate) for rate in parts.given.report.fairness]
        found["attachments/fairness.json"] = (json.dumps(told, indent=1) + "\n").encode()
    if parts.explained is not None:
        found["attachments/reasons.json"] = canonical.encode(parts.explained.to_plain())
    return found


def _bundle(
    root: Path,
    packed: Packed,
    groups: Mapping[str, Group],
    envelopes: list[Envelope],
    files: Mapping[str, bytes],
) -> str:
    # A bundle that was begun and not finished is begun anew: nothing has named it yet.
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".evidence-", dir=root.parent))
    try:
        bundles.create(aside, packed.name, packed.digest)
        digest = bundles.add(aside, groups, envelopes, files).digest
        aside.rename(root)
        return digest
    finally:
        shutil.rmtree(aside, ignore_errors=True)
