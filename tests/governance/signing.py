"""A fleet for tests: people with keys, a policy, statements that hold, and what they hold for."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance import shape
from governance.binding import Verified
from governance.canonical import digest
from governance.dsse import Envelope, sign
from governance.policy import PAYLOAD_TYPE, Policy
from governance.predicates import Approval, BreakGlass, Deployment, LedgerHead, Revocation
from governance.revocations import Revocations
from governance.service_verifier import verify_shadow_report
from governance.shadow_report import (
    Callers,
    Ends,
    Flips,
    Gate,
    Scores,
    Segment,
    ShadowReport,
    Windows,
)
from governance.signer import FileSigner
from governance.statements import Statement
from governance.verifier import Approved, verify_approvals

NOW = 1_800_000_000
DAY = 86_400
AUDIENCE = "bidders-eu"
MODEL = "fraud"
GATEWAY = "gateway-1"


def signer(name: str) -> FileSigner:
    """A key that is the same in every run."""
    seed = hashlib.sha256(name.encode()).digest()
    return FileSigner(Ed25519PrivateKey.from_private_bytes(seed))


def digest_of(name: str) -> str:
    """The digest of some words."""
    return digest(name.encode())


CANDIDATE, INCUMBENT, EVIDENCE = (digest_of(n) for n in ("candidate", "incumbent", "evidence"))


def key(name: str, *roles: str, person: str | None = None, **changes: Any) -> dict[str, Any]:
    """A key's entry in a policy: of `person`, or of whoever the key is named after."""
    entry = {
        "public": signer(name).public_key.hex(),
        "person": person or name,
        "roles": list(roles),
        "not_before": NOW - 30 * DAY,
        "not_after": NOW + 300 * DAY,
        "revoked_at": None,
    }
    return entry | changes


KEYS = [
    key("olga", "operator"),
    key("oscar", "operator"),
    key("dora", "domain_expert"),
    key("greta", "governance_approver"),
    key("sam", "security"),
    key("audrey", "auditor"),
    key("rita", "root"),
    key("rolf", "root"),
    key("tom", "trainer"),
    key(GATEWAY, "gateway"),
    key("ledger-1", "ledger"),
]
RULES: dict[str, dict[str, Any]] = {
    "shadow": {"roles": ["operator"], "persons": 1},
    "promote": {"roles": ["domain_expert", "governance_approver"], "persons": 2},
    "validate": {"roles": ["domain_expert"], "persons": 1},
    "deprecate": {"roles": ["operator"], "persons": 1},
    "rollback": {"roles": ["operator"], "persons": 1},
    "break_glass": {"roles": ["security", "operator"], "persons": 2},
    "revoke": {"roles": ["security"], "persons": 1},
}


def policy_document(**changes: Any) -> dict[str, Any]:
    """A policy's document; `rules` changes the rules of its class of risk."""
    rules = RULES | changes.pop("rules", {})
    risk = {
        "rules": rules,
        "approval_seconds": DAY,
        "break_glass_seconds": 3600,
        "shadow": {"limit": "0.005"},
    }
    document = {
        "format": "sluicegate.policy/1",
        "version": 1,
        "previous": None,
        "audience": AUDIENCE,
        "valid_from": NOW - 10 * DAY,
        "expires": NOW + 90 * DAY,
        "root_persons": 2,
        "keys": KEYS,
        "risk_classes": {"high": risk},
        "models": [{"pattern": "fraud*", "risk_class": "high"}],
        "admins": [{"spiffe_id": "spiffe://bank/ops/olga", "roles": ["operator"]}],
        "witnesses": [{"name": "archive", "public": signer("archive").public_key.hex()}],
    }
    return document | changes


def policy(**changes: Any) -> Policy:
    """A policy that holds together."""
    return shape.read(Policy, policy_document(**changes))


def signed_policy(found: Policy, *roots: str) -> Envelope:
    """A policy in its envelope."""
    return sign(found.payload, PAYLOAD_TYPE, *(signer(name) for name in roots))


def with_key(entry: dict[str, Any], *, without: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The fleet's keys and one more, without those of some people."""
    return [*(k for k in KEYS if k["person"] not in without), entry]


def gate(**changes: Any) -> Gate:
    """A gate that passes."""
    made = Gate("disagreement", "rate", 2000, 1, "0.005", "0.01", "2.3292", "-4.1000", "PASS")
    return replace(made, **changes)


def report(by: Policy, **changes: Any) -> ShadowReport:
    """A shadow report that passes."""
    made = ShadowReport(
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        audience=AUDIENCE,
        gateway=GATEWAY,
        policy=by.digest,
        attempt=1,
        shadow_policy={"disagreement_limit": "0.005"},
        seed_commitment=digest_of("seed"),
        seed=digest_of("seed")[7:],
        started=NOW - 2 * DAY,
        ended=NOW - 3600,
        n=2000,
        d=1,
        gates=(gate(),),
        ends=Ends(2000, 0, 0, 3, 1),
        flips=Flips(1, 0),
        windows=Windows(20, 15, 100, 0),
        scores=Scores(2, 0),
        callers=Callers(7, 400),
        segments=(Segment("new customers", 500, 1),),
        sample_root=digest_of("samples"),
        sources=(),
        verdict="PASS",
        reasons=("1 of 2000 decisions differ",),
    )
    return replace(made, **changes)


def verified_report(by: Policy, **changes: Any) -> Verified[ShadowReport]:
    """A shadow report as the gateway signed it, verified."""
    made = report(by, **changes)
    return verify_shadow_report(
        Statement(MODEL, made.candidate, made).envelope(signer(made.gateway)),
        policy=by,
        model=MODEL,
        candidate=made.candidate,
        incumbent=made.incumbent,
        audience=AUDIENCE,
        now=NOW,
        revocations=Revocations(),
    )


def approval(by: Policy, **changes: Any) -> Approval:
    """An approval to promote that holds."""
    made = Approval(
        action="promote",
        decision="approve",
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        shadow_report=Statement(MODEL, CANDIDATE, report(by)).payload_digest,
        evidence=EVIDENCE,
        policy=by.digest,
        policy_version=by.version,
        audience=AUDIENCE,
        not_before=NOW - 60,
        expires=NOW + 3600,
        nonce=digest_of("nonce")[7:39],
        ledger=LedgerHead(12, digest_of("ledger")),
        comment="read the report; segments look right",
    )
    return replace(made, **changes)


def signed(
    predicate: Approval | BreakGlass | Deployment | Revocation | ShadowReport,
    *names: str,
    model: str = MODEL,
) -> Envelope:
    """A predicate in its envelope, signed by some people."""
    subject = predicate.about
    assert subject is not None
    return Statement(model, subject, predicate).envelope(*(signer(name) for name in names))


@dataclass(frozen=True)
class Promotion:
    """A promotion that holds, whose circumstances a test changes one at a time."""

    by: Policy = field(default_factory=policy)
    changes: dict[str, Any] = field(default_factory=dict)

    def verify(self, *envelopes: Envelope, **changes: Any) -> Approved:
        """Verify approvals under these circumstances, some of them changed."""
        arguments: dict[str, Any] = {
            "policy": self.by,
            "action": "promote",
            "model": MODEL,
            "candidate": CANDIDATE,
            "incumbent": INCUMBENT,
            "evidence_digest": EVIDENCE,
            "audience": AUDIENCE,
            "now": NOW,
            "proposer": "tom",
            "trainer_keys": {signer("tom").public_key},
            "used_nonces": frozenset[str](),
            "revocations": Revocations(),
        }
        arguments |= self.changes | changes
        if "shadow_report" not in arguments:
            arguments["shadow_report"] = verified_report(self.by)
        return verify_approvals(list(envelopes), **arguments)

    def approved(self, *names: str, **changes: Any) -> Envelope:
        """An approval signed by some people."""
        return signed(approval(self.by, **changes), *names)
