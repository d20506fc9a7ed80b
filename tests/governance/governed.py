"""A governance folder with a history, written as the governance service writes one.

Two models went live after each other, a third failed its comparison, a fourth was withdrawn; the
second was rolled back. A test may sign one thing wrongly while the folder is written, or change the
folder afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from governance import canonical
from governance.bundle import folder as bundles
from governance.bundle.groups import Purpose
from governance.dsse import Envelope
from governance.home import Home, Live
from governance.ledger.note import NoteKey
from governance.ledger.store import Ledger
from governance.ledger.witness import FileWitness
from governance.policy import Policy
from governance.predicates import Approval, Deployment, LedgerHead, Predicate, Revocation
from governance.shadow.ends import Counts
from governance.shadow.sampling import commitment
from governance.statements import Statement
from governance.states.recorder import Recorder
from tests.governance.bundle.evidence import evaluated, evaluation, provenance
from tests.governance.reports import SEED, counts, judged_report, judging_policy
from tests.governance.signing import (
    AUDIENCE,
    DAY,
    GATEWAY,
    KEYS,
    MODEL,
    NOW,
    digest_of,
    signed_policy,
    signer,
)

ORIGIN = "bidders-eu/ledger"
START = NOW - 5 * DAY
ROLES = {
    "olga": "operator",
    "dora": "domain_expert",
    "greta": "governance_approver",
    "sam": "security",
}


def key_id(name: str) -> str:
    return canonical.digest(signer(name).public_key)


def key_of(*parts: object) -> str:
    return canonical.digest("\n".join(map(str, parts)).encode())


def model_directory(models: Path, version: int) -> str:
    """A model directory fraud/N; its digest."""
    folder = models / MODEL / str(version)
    folder.mkdir(parents=True)
    weights = f"weights {version}".encode()
    (folder / "model.onnx").write_bytes(weights)
    entry = {"path": "model.onnx", "sha256": canonical.digest(weights)[7:], "size": len(weights)}
    manifest = canonical.encode({"files": [entry], "format": "sluicegate.model/1"})
    (folder / "manifest.json").write_bytes(manifest)
    return canonical.digest(manifest)


@dataclass
class Governed:
    """A folder that is being written, as by a service whose clock goes on by an hour a step.

    `alter` may change a predicate before it is signed, `signs` who signs it.
    """

    root: Path
    alter: Callable[[Predicate], Predicate] = lambda said: said
    signs: Callable[[Predicate, tuple[str, ...]], tuple[str, ...]] = lambda _, names: names
    clock: int = START
    keys: Sequence[dict[str, Any]] = tuple(KEYS)
    live: list[Live] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home(self.root / "home")
        self.models = self.root / "models"
        self.witness = self.root / "witness.jsonl"
        self.home.root.mkdir(parents=True)
        self.policy: Policy = judging_policy(keys=list(self.keys))
        self.pin = self.policy.digest
        (self.home.root / "pin").write_text(self.pin + "\n")
        self.home.add_policy(signed_policy(self.policy, "rita", "rolf"), 1)
        self._open()
        self.log("policy", policy=self.policy.digest, version=1, at=self.clock)

    def _open(self) -> None:
        log = NoteKey(ORIGIN, signer("ledger-1").public_key)
        outside = FileWitness(self.witness, log)
        self.ledger = Ledger(
            self.home.ledger, ORIGIN, signer("ledger-1"), lambda: self.clock, [outside]
        )
        self.recorder = Recorder(self.ledger)

    def close(self) -> None:
        self.ledger.close()

    def log(self, kind: str, **body: Any) -> int:
        told = canonical.encode({"at": self.clock, **body})
        receipt = self.recorder.record(kind, told, key_of(kind, told))
        self.clock += 3600
        return receipt.index

    def keep(self, predicate: Predicate, *names: str, about: str, name: str = MODEL) -> Envelope:
        """Sign a predicate and keep it."""
        said = self.alter(predicate)
        statement = Statement(name, about, said)
        envelope = statement.envelope(*(signer(who) for who in self.signs(said, names)))
        self.home.keep(envelope)
        return envelope

    def renew_policy(self) -> None:
        """A second version of the policy, signed by the roots of both."""
        self.policy = judging_policy(
            version=2,
            previous=self.policy.digest,
            valid_from=self.clock,
            keys=list(self.keys),
        )
        self.home.add_policy(signed_policy(self.policy, "rita", "rolf"), 2)
        self.log("policy", policy=self.policy.digest, version=2)

    @property
    def head(self) -> LedgerHead:
        reader = self.ledger.reader
        return LedgerHead(reader.size, "sha256:" + reader.root(reader.size).hex())

    @property
    def incumbent(self) -> str | None:
        return self.recorder.registry.model(MODEL).incumbent

    def exported(self, version: int) -> str:
        """A candidate with its statements and its evidence bundle."""
        digest = model_directory(self.models, version)
        made = self.keep(provenance(), "tom", about=digest)
        about = {"model": MODEL, "candidate": digest}
        self.log("register", **about, trainer=key_id("tom"), provenance=made.digest)
        tested = self.keep(evaluation(evaluated()), "audrey", about=digest)
        self.log("accept_eval", **about, evaluation=tested.digest)
        root = self.home.bundle(MODEL, digest)
        bundles.create(root, MODEL, digest)
        held = bundles.add(root, {"purpose": Purpose(owner="payments")}, [made, tested])
        self.log("export", **about, bundle=held.digest)
        return digest

    def approved(
        self, action: Any, digest: str, *names: str, report: str | None = None
    ) -> tuple[Envelope, list[dict[str, Any]]]:
        """An approval that some people sign together, and how the ledger tells it."""
        evidence = self.recorder.registry.model(MODEL).candidates[digest].bundle
        said = Approval(
            action=action,
            decision="approve",
            candidate=digest,
            incumbent=self.incumbent,
            shadow_report=report,
            evidence=evidence if action in ("shadow", "promote", "validate") else None,
            policy=self.policy.digest,
            policy_version=self.policy.version,
            audience=AUDIENCE,
            not_before=self.clock,
            expires=self.clock + 2 * 3600,
            nonce=key_of(action, digest, self.clock)[7:39],
            ledger=self.head,
            comment="",
        )
        envelope = self.keep(said, *names, about=digest)
        signers = [{"key": key_id(who), "role": ROLES[who]} for who in names]
        told = {
            "statement": envelope.digest,
            "nonce": said.nonce,
            "head": self.head.size,
            "signers": sorted(signers, key=lambda signer: signer["key"]),
        }
        return envelope, [told]

    def compared(self, digest: str, found: Counts) -> str:
        """A comparison with the incumbent; the report's digest."""
        about = {"model": MODEL, "candidate": digest, "incumbent": self.incumbent}
        attempt = self.recorder.registry.model(MODEL).attempts.get(str(self.incumbent), 0) + 1
        self.log("seed", model=MODEL, commitment=commitment(SEED))
        _, told = self.approved("shadow", digest, "olga")
        started = self.clock
        self.log("shadow", **about, policy=self.policy.digest, attempt=attempt, approvals=told)
        self.clock += DAY // 4
        made = judged_report(
            self.policy,
            digest,
            str(self.incumbent),
            found=found,
            attempt=attempt,
            started=started,
            ended=self.clock - 60,
        )
        report = self.keep(made, GATEWAY, about=digest)
        self.log(
            "shadow_result", **about, attempt=attempt, report=report.digest, verdict=made.verdict
        )
        return report.digest

    def promoted(self, digest: str, report: str | None, *names: str) -> str:
        """Approved by some people, decided, deployed and live; the deployment's digest."""
        approval, told = self.approved("promote", digest, *names, report=report)
        known = self.recorder.registry.model(MODEL).candidates[digest]
        about = {"model": MODEL, "candidate": digest}
        before = self.incumbent
        index = self.log(
            "promote_intent",
            **about,
            incumbent=before,
            report=report,
            bundle=known.bundle,
            policy=self.policy.digest,
            approvals=told,
        )
        said = Deployment(
            candidate=digest,
            previous=before,
            audience=AUDIENCE,
            gateway=GATEWAY,
            effective=self.clock,
            policy=self.policy.digest,
            action="promote",
            approvals=(approval.digest,),
            approvers=tuple(sorted(signer(who).public_key.hex() for who in names)),
            ledger_index=index,
        )
        deployment = self.keep(said, GATEWAY, about=digest)
        last = self.live[-1] if self.live else None
        now = Live(
            digest,
            deployment.digest,
            last.model_digest if last else None,
            last.deployment if last else None,
        )
        self.live.append(now)
        self.home.set_live(MODEL, now)
        self.log("promote_done", **about, deployment=deployment.digest)
        return deployment.digest

    def rolled_back(self, digest: str) -> None:
        """The model before is live again, by its own deployment."""
        _, told = self.approved("rollback", digest, "olga")
        before = self.live[-2]
        self.home.set_live(MODEL, Live(before.model_digest, before.deployment))
        self.log("rollback", model=MODEL, candidate=digest, approvals=told)

    def revoked(self, what: Any, target: str, *names: str) -> None:
        """Something is revoked by statement, and the ledger says so."""
        said = Revocation(what, target, "lost", self.clock, AUDIENCE, self.clock)
        name = MODEL if what == "model" else what
        envelope = self.keep(said, *names, about=target, name=name)
        if what != "model":
            self.log(f"{what}_revoked", **{what: target}, revocation=envelope.digest)
            return
        told = {
            "statement": envelope.digest,
            "nonce": key_of(target, self.clock)[7:39],
            "head": 0,
            "signers": [{"key": key_id(who), "role": ROLES[who]} for who in names],
        }
        about = {"model": MODEL, "candidate": target}
        self.log("revoke", **about, revocation=envelope.digest, approvals=[told])


def history(made: Governed, approvers: Sequence[str] = ("dora", "greta")) -> Governed:
    """First model, a promotion, a failed comparison, a rollback, revocations."""
    first = made.exported(1)
    made.promoted(first, None, "dora", "greta")
    second = made.exported(2)
    report = made.compared(second, counts())
    made.renew_policy()
    made.promoted(second, report, *approvers)
    third = made.exported(3)
    made.compared(third, counts(d=60))
    made.rolled_back(second)
    made.revoked("model", made.exported(4), "sam")
    made.revoked("key", key_id("oscar"), "sam")
    made.revoked("dataset", digest_of("bad labels"), "sam")
    made.close()
    return made
