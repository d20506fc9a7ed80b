"""The demo's candidates: the same trees with another threshold, and what is signed about them."""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.specialists import Specialist, pack
from governance.attestations import (
    BuildDefinition,
    Builder,
    BuildMetadata,
    DigestSet,
    Evaluation,
    Provenance,
    Resource,
    RunDetails,
)
from governance.dsse import Envelope
from governance.predicates import Approval, LedgerHead
from governance.service.repository import digest_of
from governance.signer import Signer
from governance.statements import Statement
from trainer.quality import decide, measure
from trainer.tabular import FittedTable

BUILD_TYPE = "urn:sluicegate:demo:threshold"


@dataclass(frozen=True)
class Candidate:
    """A version in the repository: its digest, its threshold, and the held-out rows that it
    decides otherwise than the first version, of how many."""

    version: int
    digest: str
    threshold: float
    differs: int
    rows: int


def moved(scores: NDArray[np.floating[Any]], threshold: float, share: float) -> float:
    """A threshold by which about `share` of the scores are decided otherwise than by `threshold`.

    Halfway between two neighbouring scores, on the side where the share comes out closest.
    """
    values = np.unique(np.asarray(scores, np.float64))
    between = (values[1:] + values[:-1]) / 2
    if not len(between):
        return threshold
    before = decide(np.asarray(scores), threshold)
    shares = np.array([np.mean(decide(np.asarray(scores), float(t)) != before) for t in between])
    return float(between[np.argmin(np.abs(shares - share))])


def version(
    specialist: Specialist, fitted: FittedTable, repository: Path, number: int, threshold: float
) -> Candidate:
    """Pack the specialist with a threshold as version `number`."""
    pack(specialist, replace(fitted, threshold=threshold), repository)
    scores = fitted.held_out_scores
    differs = int(np.sum(decide(scores, threshold) != decide(scores, fitted.threshold)))
    digest = digest_of(repository / specialist.name / str(number))
    return Candidate(number, digest, threshold, differs, len(scores))


def provenance(model: str, candidate: Candidate, fitted: FittedTable, by: Signer) -> Envelope:
    """Where it is from, signed by who trained it."""
    made = Provenance(
        BuildDefinition(
            BUILD_TYPE,
            {"threshold": repr(candidate.threshold), "model": fitted.model},
            (_rows("table of rows", fitted.dataset.x), _bytes("graph", fitted.onnx)),
        ),
        RunDetails(Builder(BUILD_TYPE), BuildMetadata(f"version {candidate.version}")),
    )
    return Statement(model, candidate.digest, made).envelope(by)


def evaluation(model: str, candidate: Candidate, fitted: FittedTable, by: Signer) -> Envelope:
    """How it does on the held-out rows, signed by who measured it."""
    y, scores = fitted.held_out_y, fitted.held_out_scores
    quality = measure(scores, y, candidate.threshold, fitted.dataset.costs)
    table = json.dumps({"auc": f"{quality.auc:.4f}", "rows": quality.rows}).encode()
    used = (_rows("held-out rows", fitted.held_out_x), _bytes("table of figures", table))
    passed = (f"AUC {quality.auc:.4f} on {quality.rows:,} held-out rows",)
    return Statement(model, candidate.digest, Evaluation("PASSED", used, passed)).envelope(by)


def signed_statements(model: str, digest: str, by: Signer) -> tuple[Envelope, Envelope]:
    """Provenance and evaluation of a benchmark's model: nothing was trained, nothing measured."""
    source = _bytes("generated weights", digest.encode())
    made = Provenance(
        BuildDefinition("urn:sluicegate:bench:generated", {}, (source,)),
        RunDetails(Builder("urn:sluicegate:bench:generated"), BuildMetadata(digest)),
    )
    tested = Evaluation("PASSED", (source,), ("generated",))
    first, second = (Statement(model, digest, said).envelope(by) for said in (made, tested))
    return first, second


def approval(action: Any, model: str, shown: dict[str, Any], policy: Any, *by: Signer) -> Envelope:
    """What `sluicegate approve` refuses to sign, as who writes statements by hand would.

    `shown`: what `candidate show` says; `policy`: the policy to name.
    """
    now = int(time.time())
    size, _, root = str(shown["ledger"]).partition(":")
    made = Approval(
        action=action,
        decision="approve",
        candidate=shown["candidate"],
        incumbent=shown["incumbent"],
        shadow_report=shown["report"] if action == "promote" else None,
        evidence=shown["evidence"] if action in ("shadow", "promote", "validate") else None,
        policy=policy.digest,
        policy_version=policy.version,
        audience=policy.audience,
        not_before=now,
        expires=now + 600,
        nonce=secrets.token_hex(16),
        ledger=LedgerHead(int(size), root),
        comment="",
    )
    return Statement(model, shown["candidate"], made).envelope(*by)


def _rows(name: str, rows: NDArray[Any]) -> Resource:
    return _bytes(name, np.ascontiguousarray(rows).tobytes())


def _bytes(name: str, data: bytes) -> Resource:
    return Resource(name, DigestSet(hashlib.sha256(data).hexdigest()))
