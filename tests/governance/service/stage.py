"""A gateway's governance with a double of the data plane, and people who sign for it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from governance.canonical import digest
from governance.dsse import Envelope
from governance.home import Home, write
from governance.ledger.note import NoteKey
from governance.ledger.store import Ledger
from governance.ledger.witness import FileWitness, Witness
from governance.policy import Policy
from governance.predicates import Approval, BreakGlass, LedgerHead, Revocation
from governance.service import candidates
from governance.service.authority import Authority
from governance.service.plane import DataPlane
from governance.service.promotion import Promotion
from governance.service.revoking import Revoking
from governance.service.rollback import Rollback
from governance.service.shadowing import Shadowing
from governance.statements import Statement
from tests.governance.service.double import FileDataPlane
from tests.governance.signing import (
    AUDIENCE,
    DAY,
    GATEWAY,
    MODEL,
    NOW,
    policy,
    policy_document,
    signed_policy,
    signer,
)

ORIGIN = "bidders-eu/ledger"
BUNDLE = digest(b"bundle")
# As short as the statistics allow: one attempt is alpha / 2.
SHADOW: dict[str, Any] = {
    "alpha": "0.2",
    "disagreement_limit": "0.2",
    "error_limit": "0.2",
    "latency_ratio": "10",
    "window_pairs": 100,
    "block_ms": 1,
    "caller_share": "1",
    "caller_pairs_per_hour": 1_000_000,
    "min_hours": 0,
    "n_min": 100,
    "n_max": 5000,
    "shed_limit": "0.2",
}


def short_policy(now: int = NOW, shadow: dict[str, Any] = SHADOW, **changes: Any) -> Policy:
    """The fleet's policy with a short comparison, valid around a time."""
    document = policy_document()
    document["risk_classes"]["high"]["shadow"] = shadow
    document["valid_from"], document["expires"] = now - DAY, now + 90 * DAY
    document |= changes
    document["keys"] = [
        key | {"not_before": now - 2 * DAY, "not_after": now + 300 * DAY}
        for key in document["keys"]
    ]
    return policy(**document)


def pack(repository: Path, version: int, name: str = MODEL) -> str:
    """A model directory of one file; its digest."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    data = f"model {version}".encode()
    (folder / "model.bin").write_bytes(data)
    listed = {
        "files": [
            {"path": "model.bin", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        ],
        "format": "sluicegate.model/1",
    }
    manifest = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return digest(manifest)


def provenance(model: str, candidate: str, *names: str, used: bytes = b"data") -> Envelope:
    """Where a candidate is from, signed."""
    data = Resource("transactions", DigestSet(digest(used)[7:]))
    made = Provenance(
        BuildDefinition("https://sluicegate.example/trainer/v1", {}, (data,)),
        RunDetails(Builder("https://sluicegate.example/trainer"), BuildMetadata("run-1")),
    )
    return Statement(model, candidate, made).envelope(*map(signer, names))


def evaluation(model: str, candidate: str, *names: str, result: Any = "PASSED") -> Envelope:
    """How a candidate tested, signed."""
    made = Evaluation(result, (Resource("held-out", DigestSet(digest(b"test")[7:])),))
    return Statement(model, candidate, made).envelope(*map(signer, names))


@dataclass
class Stage:
    """Everything in one folder. `clock` is what the service is told the time is."""

    folder: Path
    plane: DataPlane
    models: Path
    by: Policy
    model: str = MODEL
    clock: int = NOW
    witnesses: Callable[["Stage"], Sequence[Witness]] | None = None
    step: Callable[[str], None] = lambda _: None
    _nonce: int = 0
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        self.home.root.mkdir(exist_ok=True)
        if not (self.home.root / "pin").exists():
            write(self.home.root / "pin", self.by.digest.encode())
            self.home.add_policy(signed_policy(self.by, "rita", "rolf"), 1)
        self.open()

    def open(self) -> None:
        """As a process that starts."""
        self.authority = Authority(
            self.home,
            self.plane,
            self.models,
            GATEWAY,
            signer(GATEWAY),
            self._ledger,
            lambda: self.clock,
        )
        self.shadowing = Shadowing(self.authority)
        self.promotion = Promotion(self.authority, self.step, self.shadowing)
        self.rollback = Rollback(self.authority, self.step)
        self.revoking = Revoking(self.authority, self.rollback)

    def close(self) -> None:
        self.authority.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    @property
    def log_key(self) -> NoteKey:
        return NoteKey(ORIGIN, signer("ledger-1").public_key)

    def _ledger(self) -> Ledger:
        seen = (
            self.witnesses(self)
            if self.witnesses
            else [FileWitness(self.folder / "witness.jsonl", self.log_key)]
        )
        return Ledger(self.home.ledger, ORIGIN, signer("ledger-1"), lambda: self.clock, seen)

    @property
    def double(self) -> FileDataPlane:
        assert isinstance(self.plane, FileDataPlane)
        return self.plane

    def nonce(self) -> str:
        self._nonce += 1
        return digest(f"{self.clock} {self._nonce}".encode())[7:39]

    def approval(self, action: str, candidate: str, *names: str, **changes: Any) -> Envelope:
        """An approval that holds now, signed by some people."""
        state = self.authority.state(self.model)
        known = state.candidates.get(candidate)
        reader = self.authority.ledger.reader
        head = LedgerHead(reader.size, "sha256:" + reader.root(reader.size).hex())
        needs_bundle = action in ("shadow", "promote", "validate")
        said: dict[str, Any] = {
            "action": action,
            "decision": "approve",
            "candidate": candidate,
            "incumbent": state.incumbent,
            "shadow_report": known.report if known and action == "promote" else None,
            "evidence": known.bundle if known and needs_bundle else None,
            "policy": self.by.digest,
            "policy_version": self.by.version,
            "audience": self.by.audience,
            "not_before": self.clock,
            "expires": self.clock + 3600,
            "nonce": self.nonce(),
            "ledger": head,
            "comment": "",
        }
        approval = Approval(**said | changes)
        return Statement(self.model, candidate, approval).envelope(*map(signer, names))

    def glass(self, candidate: str, *names: str, **changes: Any) -> Envelope:
        said: dict[str, Any] = {
            "action": "promote",
            "candidate": candidate,
            "incumbent": self.authority.state(self.model).incumbent,
            "justification": "the live model lets everything through",
            "policy": self.by.digest,
            "audience": AUDIENCE,
            "not_before": self.clock,
            "expires": self.clock + 600,
            "nonce": self.nonce(),
        }
        made = BreakGlass(**said | changes)
        return Statement(self.model, candidate, made).envelope(*map(signer, names))

    def revocation(self, what: Any, target: str, *names: str, since: int | None = None) -> Envelope:
        begins = self.clock if since is None else since
        made = Revocation(what, target, "lost", begins, AUDIENCE, self.clock)
        name = self.model if what == "model" else what
        return Statement(name, target, made).envelope(*map(signer, names))

    def provenance(self, candidate: str, *names: str) -> Envelope:
        return provenance(self.model, candidate, *names)

    def evaluation(self, candidate: str, *names: str, result: Any = "PASSED") -> Envelope:
        return evaluation(self.model, candidate, *names, result=result)

    def submit(self, version: int, candidate: str, used: bytes = b"data") -> str:
        candidates.submit(
            self.authority,
            self.model,
            version,
            provenance(self.model, candidate, "tom", used=used),
            self.evaluation(candidate, "tom"),
            BUNDLE,
        )
        return candidate

    def first(self, version: int, candidate: str) -> None:
        """Bring the first model live."""
        self.submit(version, candidate)
        approval = self.approval("promote", candidate, "dora", "greta")
        self.promotion.promote(self.model, candidate, [approval])

    def promote(self, candidate: str) -> None:
        approval = self.approval("promote", candidate, "dora", "greta")
        self.promotion.promote(self.model, candidate, [approval])

    def live(self) -> tuple[str | None, str | None, str | None]:
        """What is live by the registry, by the folder, and by the data plane."""
        recorded = self.home.live(self.model)
        answers = [s.digest for s in self.plane.status() if s.model == self.model and s.current]
        return (
            self.authority.state(self.model).incumbent,
            recorded.model_digest if recorded else None,
            answers[0] if answers else None,
        )
