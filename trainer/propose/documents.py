"""The documents of a candidate's evidence that a training run can tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.packing import CONTRACT, GRAPH, TOKENIZER, Packed
from governance.bundle.groups import (
    Artefact,
    Balance,
    Baseline,
    Change,
    DataSet,
    Evaluated,
    Explanation,
    FailureCluster,
    Group,
    Identity,
    Lineage,
    Metric,
    Purpose,
    Regressions,
    RemainingRisk,
    Risk,
    SegmentMetric,
)
from trainer import codec
from trainer.evaluation.bounds import Bound
from trainer.evaluation.lock import Lock
from trainer.evaluation.split import MORE
from trainer.examples import Examples
from trainer.loop.types import Gated, ProposeIn
from trainer.propose.origin import Origin
from trainer.propose.reasons import Explained
from trainer.spec.spec import METRICS, Spec

# Of a list in a document, at most so many; the object store has them all.
MOST_NAMES = 1000
MOST_SEGMENTS = 400


@dataclass(frozen=True)
class Parts:
    """What documents are made of."""

    spec: Spec
    given: ProposeIn
    packed: Packed
    train: Examples
    origin: Origin
    explained: Explained | None
    locked: Lock


def all_groups(parts: Parts, provenance: str) -> dict[str, Group]:
    """Every document but the evaluation; `provenance` is the signed statement's digest."""
    found: dict[str, Group] = {
        "identity": identity(parts),
        "purpose": purpose(parts.spec),
        "lineage": lineage(parts, provenance),
        "risk": risk(parts),
        "change": change(parts),
    }
    if parts.explained is not None:
        e = parts.explained
        found["explanation"] = Explanation(
            reason_codes=e.digest,
            method=e.METHOD,
            method_version=e.VERSION,
            stability=decimal(e.stability),
            top=e.top,
            cases=e.cases,
        )
    return found


def identity(parts: Parts) -> Identity:
    """Which bytes."""
    path = parts.packed.path
    if not parts.spec.served:
        return _offline(parts)
    weights = [GRAPH] + ([TOKENIZER] if (path / TOKENIZER).exists() else [])
    return Identity(
        model=parts.spec.name,
        candidate=parts.packed.digest,
        version=parts.packed.version,
        loader="onnxruntime",
        engine=Artefact(f"onnxruntime {parts.origin.engine}", parts.origin.engine_digest),
        weights=tuple(Artefact(name, file_digest(path / name)) for name in weights),
        contract=file_digest(path / CONTRACT),
    )


def _offline(parts: Parts) -> Identity:
    """An adapter's files, and the base model that they go on."""
    from trainer.notes import offline  # noqa: PLC0415
    from trainer.notes.adapter import CONFIG, WEIGHTS  # noqa: PLC0415

    path = parts.packed.path
    goes_on = json.loads((path / offline.ABOUT).read_text())["base"]
    base = f"base model {parts.spec.specialise.base}"
    return Identity(
        model=parts.spec.name,
        candidate=parts.packed.digest,
        version=parts.packed.version,
        loader=offline.ENGINE,
        # The packages together: torch, transformers and peft each have their part in it.
        engine=Artefact("torch, transformers and peft, no gateway", parts.origin.lock_file),
        weights=(
            *(Artefact(n, file_digest(path / n)) for n in (WEIGHTS, CONFIG, offline.ABOUT)),
            Artefact(base, goes_on),
        ),
        contract=file_digest(path / CONTRACT),
    )


def purpose(spec: Spec) -> Purpose:
    """What it is for, as the spec says."""
    p = spec.propose
    return Purpose(
        intended_use=p.intended_use or None,
        prohibited_use=p.prohibited_use or None,
        materiality=p.materiality,  # type: ignore[arg-type]
        jurisdictions=p.jurisdictions or None,
        owner=p.owner or None,
        validator=p.validator or None,
        vendor=False,
    )


def lineage(parts: Parts, provenance: str) -> Lineage:
    """From what and how."""
    best = parts.given.best
    return Lineage(
        provenance=provenance,
        data_sets=data_sets(parts),
        feature_set=f"{parts.spec.data.source}: {len(parts.train.names) or 'text'}",
        code=Artefact("trainer", parts.origin.code),
        clean=parts.origin.clean,
        lock_file=parts.origin.lock_file,
        method=f"{best.method}; trial of round {best.round}, the best by folds, judged on core",
        parameters={name: decimal(value) for name, value in best.parameters.items()}
        | {"largest_difference_of_the_graph": decimal(best.difference)},
        seeds=(parts.spec.seed,),
    )


def data_sets(parts: Parts) -> tuple[DataSet, ...]:
    """Training cases, core suite and held-out set, each by its digest."""
    data, ready = parts.spec.data, parts.given.prepared
    begins, ends = _day(data.begins), _day(data.ends)
    core = next(g for g in parts.given.report.gates if g.on == "core")
    named: tuple[tuple[str, str, int, str], ...] = (
        ("training cases", parts.train.digest, len(parts.train), "training"),
        ("core suite", parts.locked.core, core.n, "validation"),
        ("held-out suite", ready.held_out.digest, ready.held_out.cases, "held_out"),
    )
    if data.more:
        rows = sum(name.startswith(MORE) for name in parts.train.ids)
        teacher = parts.spec.teacher.model or "a teacher"
        file = file_digest(parts.spec.path(data.more))
        named += (
            (f"of the training cases, labelled or written by {teacher}", file, rows, "training"),
        )
    return tuple(
        DataSet(
            name=name,
            digest=digest,
            rows=rows,
            begins=begins,
            ends=ends,
            consent_basis=data.consent_basis or "not stated in specialist.toml",
            personal_data=data.personal_data,  # type: ignore[arg-type]
            used_for=used,  # type: ignore[arg-type]
        )
        for name, digest, rows, used in named
    )


def evaluation(parts: Parts) -> Evaluated:
    """The table of figures, all of one run."""
    report = parts.given.report
    sets = {"core": parts.locked.core, "held_out": parts.given.prepared.held_out.digest}
    told = [metric(gate, sets[gate.on]) for gate in report.gates]
    calibration = next((m for m in told if m.name == "ece on core"), told[0])
    first = parts.spec.first_metric
    cases = next(g.n for g in report.gates if g.on == "core")
    return Evaluated(
        run=parts.given.run,
        metrics=tuple(told),
        segments=segments(parts),
        calibration=calibration,
        baselines=tuple(
            Baseline(name, first, decimal(value), cases) for name, value in report.baselines.items()
        ),
        balance=Balance(**report.balance),
        regressions=Regressions(
            cases=max(report.lost.cases, 1),
            regressed=len(report.lost.names),
            allowed=report.lost.allowed,
            names=report.lost.names[:MOST_NAMES],
        ),
        known_limits=known_limits(parts.spec),
        held_out_looks=max(parts.given.looks, 1),
    )


def known_limits(spec: Spec) -> tuple[str, ...]:
    """What the spec says, and that nothing serves the candidate where nothing does."""
    from trainer.notes.offline import LIMIT  # noqa: PLC0415

    return (*spec.propose.known_limits, *(() if spec.served else (LIMIT,)))


def segments(parts: Parts) -> tuple[SegmentMetric, ...]:
    """Figures of the groups of protected columns, then of every slice."""
    report = parts.given.report
    fair = [(r.named, r.measure, r.bound, r.n) for r in report.fairness]
    told = [(s.name, s.metric, Bound(s.value, s.low, s.high), s.n) for s in report.slices]
    return tuple(
        SegmentMetric(name[:500], what, decimal(b.value), decimal(b.low), decimal(b.high), n)
        for name, what, b, n in [*fair, *told][:MOST_SEGMENTS]
    )


def metric(gate: Gated, data_set: str) -> Metric:
    """A figure with its interval and, if it is gated, its limit."""
    return Metric(
        name=f"{gate.metric} on {gate.on}",
        value=decimal(gate.bound.value),
        low=decimal(gate.bound.low),
        high=decimal(gate.bound.high),
        n=gate.n,
        better="more" if METRICS[gate.metric] else "less",
        data_set=data_set,
        threshold=None if gate.limit is None else decimal(gate.limit),
    )


def risk(parts: Parts) -> Risk:
    """What still fails alike, and what may still go wrong."""
    clusters = tuple(
        FailureCluster(c.name[:500], f"found by {c.by}", c.failing, c.cases, "medium")
        for c in parts.given.clusters
    )
    remaining = RemainingRisk(
        "Requests of another kind than those of the data.",
        "medium",
        (
            "The drift alarm watches inputs and scores; the shadow compares decisions."
            if parts.spec.served
            else "It is judged offline and answers nobody; before it does, it has to be shadowed."
        ),
        parts.spec.propose.owner or "nobody yet",
    )
    return Risk(clusters, (remaining, *unequal(parts)))


def unequal(parts: Parts) -> tuple[RemainingRisk, ...]:
    """A risk for each group that is decided for less than four fifths as often as another."""
    favoured = parts.spec.decide.labels[0]
    return tuple(
        RemainingRisk(
            f"{r.named}: {favoured} is decided {r.bound.value:.2f} times ({r.bound.low:.2f} to "
            f"{r.bound.high:.2f}) as often as for the group with the most; four fifths are asked.",
            "high",
            "The protected columns are no features; what stands for them has to be looked at.",
            parts.spec.propose.owner or "nobody yet",
        )
        for r in parts.given.report.fairness
        if r.unequal
    )


def change(parts: Parts) -> Change:
    """What changes, in place of what."""
    better = parts.given.report.better_than_reference
    first = not parts.spec.propose.incumbent
    return Change(
        summary=(
            f"{parts.spec.first_metric} {better.value:+.4f} ({better.low:+.4f} to "
            f"{better.high:+.4f}, paired) beside {parts.given.prepared.reference_name} on core."
        ),
        reason="The training loop met every locked threshold in one run.",
        changes=(f"{parts.given.best.method}",),
        first=True if first else None,
        predetermined=False,
    )


def told_spec(parts: Parts) -> str:
    """The spec as it was run."""
    return json.dumps(codec.to_plain(parts.spec) | {"folder": ""}, sort_keys=True, indent=1) + "\n"


def decimal(value: float) -> str:
    """A number as a document spells it: at most 12 places, never an exponent."""
    text = f"{value:.12f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def file_digest(path: Path) -> str:
    """A file's digest."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def resources(parts: Parts) -> Mapping[str, str]:
    """What a signed statement names, by name: digests."""
    return {one.name: one.digest for one in data_sets(parts)}


def _day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
