"""Labels that came later against what two models decided: which one was right where they differ."""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.decisions import DecisionLogError, rows
from governance.shadow.evalue import log_e_mcnemar
from governance.shadow.labels import YES, Labels, labelled


@dataclass(frozen=True)
class Decider:
    """A contract's decision: a row's value of an output that reaches a threshold."""

    output: str
    column: int
    threshold: float

    def decide(self, row: dict[str, Any]) -> bool:
        """What the model decided; `row` is one of the log's, with that output."""
        return bool(row[f"output:{self.output}"][self.column] >= self.threshold)


@dataclass(frozen=True)
class Labelled:
    """A candidate against the model that answered, on rows whose label is known.

    Attributes:
        incumbent, candidate: digests.
        pairs: rows that both decided and that have a label.
        b, c: rows where only the candidate, only the incumbent was wrong.
    """

    incumbent: str
    candidate: str
    pairs: int
    b: int
    c: int

    @property
    def e_value(self) -> float:
        """Evidence that they are wrong unequally often; holds whenever one looks."""
        return math.exp(log_e_mcnemar(self.b, self.c))


def compare(folder: Path, model: str, repository: Path) -> list[Labelled]:
    """Joins a log's decisions, what candidates said beside, and outcomes.

    Args:
        folder: the log's.
        model: the model's name.
        repository: where the contracts of both are, for their decisions.

    Raises:
        DecisionLogError: the log cannot be read, or a contract is missing or decides nothing.
    """
    labels: dict[tuple[str, int], tuple[int, float]] = {}
    for row in rows(folder, "feedback"):
        told = (row["time_ns"], row["label"])
        place = (row["request_id"], row["row"])
        labels[place] = max(labels.get(place, told), told)
    decided = {
        (row["request_id"], row["row"]): row
        for row in rows(folder, "decisions", model)
        if (row["request_id"], row["row"]) in labels
    }
    counts: dict[tuple[str, str], Labels] = {}
    known: dict[str, Decider] = {}
    for row in rows(folder, "shadow", model):
        place = (row["request_id"], row["row"])
        answered = decided.get(place)
        if answered is None:
            continue
        truth = labels[place][1] >= YES
        digests = (answered["digest"], row["digest"])
        for digest in digests:
            if digest not in known:
                known[digest] = _decider(repository / model, digest)
        incumbent, candidate = (known[r["digest"]].decide(r) for r in (answered, row))
        found = counts.setdefault(digests, Labels())
        counts[digests] = found + labelled(incumbent, candidate, truth)
    return [
        Labelled(*digests, c.labelled, c.only_candidate_wrong, c.only_incumbent_wrong)
        for digests, c in sorted(counts.items())
    ]


def _decider(versions: Path, digest: str) -> Decider:
    for manifest in versions.glob("*/manifest.json"):
        if f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}" != digest:
            continue
        try:
            told = tomllib.loads((manifest.parent / "contract.toml").read_text())
            decision = told["decision"]
            threshold = float(decision["threshold"])
            return Decider(decision["output"], decision.get("column", 0), threshold)
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise DecisionLogError(f"{manifest.parent} has no decision: {error}") from error
    raise DecisionLogError(f"{versions} does not hold {digest}.")
