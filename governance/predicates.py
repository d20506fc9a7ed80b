"""What people and gateways say about models, in predicates of our own.

Approvals, deployments, break-glass and revocations. Times are seconds since 1970 UTC.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from governance.errors import MalformedError
from governance.shape import Between
from governance.vocabulary import (
    APPROVALS,
    Action,
    Count,
    Digest,
    Label,
    Nonce,
    Positive,
    PublicHex,
    Sentence,
    Time,
)


@dataclass(frozen=True)
class Predicate:
    """Something that can be said about a subject."""

    TYPE: ClassVar[str]

    @property
    def about(self) -> str | None:
        """The subject's digest if the predicate repeats it."""
        return None


@dataclass(frozen=True)
class LedgerHead:
    """The ledger as the signer saw it: how many entries, and the Merkle root over them.

    Who signs it has witnessed it: a ledger that later shows another history is found out.
    """

    size: Count
    root: Digest


@dataclass(frozen=True)
class Approval(Predicate):
    """A person agrees to one action, or refuses it, once, for a while.

    A refusal never counts towards a threshold; one that is valid blocks the action until it
    expires.

    Attributes:
        action: what is to be done; break-glass and revocation have statements of their own.
        decision: "approve" or "refuse"; a refusal has a comment.
        candidate: the digest of the model to act on.
        incumbent: the digest of the model that is expected to be live, or None.
        shadow_report: the payload digest of the report that was read; None where none is needed,
            as for the first model of a name.
        evidence: the digest of the evidence bundle; None where none is needed.
        policy: the digest of the policy; `policy_version` is its version.
        audience: the fleet's name.
        not_before: when the approval was given.
        expires: the first second in which it no longer counts.
        nonce: 32 random hex digits; one act uses it up.
        ledger: the head that the signer saw, or None.
        comment: the signer's words, perhaps none.

    """

    TYPE: ClassVar[str] = "urn:sluicegate:approval:v1"
    action: Literal["shadow", "promote", "validate", "deprecate", "rollback"]
    decision: Literal["approve", "refuse"]
    candidate: Digest
    incumbent: Digest | None
    shadow_report: Digest | None
    evidence: Digest | None
    policy: Digest
    policy_version: Positive
    audience: Label
    not_before: Time
    expires: Time
    nonce: Nonce
    ledger: LedgerHead | None
    comment: Annotated[str, Between(0, 2000)]

    def __post_init__(self) -> None:
        _check_interval(self.not_before, self.expires)
        needs = APPROVALS[self.action]
        # The first model of a name has nothing to be compared with.
        compared = needs.shadow_report and self.incumbent is not None
        if compared and self.shadow_report is None:
            raise MalformedError(
                "no_shadow_report", f"an approval to {self.action} names no report"
            )
        if needs.evidence and self.evidence is None:
            raise MalformedError("no_evidence", f"an approval to {self.action} names no evidence")
        if self.decision == "refuse" and not self.comment.strip():
            raise MalformedError("no_comment", "a refusal gives no reason", remedy="say why")

    @property
    def about(self) -> str:
        """The candidate."""
        return self.candidate


@dataclass(frozen=True)
class Deployment(Predicate):
    """A gateway has made a model live. It signs this itself, and serves by it after a restart.

    Attributes:
        candidate: the digest of the model that is live now.
        previous: the digest of the one before, or None.
        audience: the fleet's name.
        gateway: which gateway of the fleet.
        effective: when the model became live.
        policy: the digest of the policy under which it was decided.
        action: by which action.
        approvals: the payload digests of the statements that justified it, at least one.
        approvers: the public keys whose signatures were counted, in hex.
        ledger_index: the index of the promotion's entry in the ledger.

    """

    TYPE: ClassVar[str] = "urn:sluicegate:deployment:v1"
    candidate: Digest
    previous: Digest | None
    audience: Label
    gateway: Label
    effective: Time
    policy: Digest
    action: Literal["promote", "rollback", "break_glass"]
    approvals: Annotated[tuple[Digest, ...], Between(1, 64)]
    approvers: Annotated[tuple[PublicHex, ...], Between(1, 64)]
    ledger_index: Count

    @property
    def about(self) -> str:
        """The model that is live now."""
        return self.candidate


@dataclass(frozen=True)
class BreakGlass(Predicate):
    """An emergency: something is done for a short time without what it usually takes.

    Attributes:
        action: what is to be done.
        candidate: the digest of the model to act on.
        incumbent: the digest of the model that is expected to be live, or None.
        justification: why it cannot wait.
        policy: the digest of the policy.
        audience: the fleet's name.
        not_before: when it was signed.
        expires: the first second in which it no longer counts.
        nonce: 32 random hex digits; one act uses it up.

    """

    TYPE: ClassVar[str] = "urn:sluicegate:break-glass:v1"
    action: Action
    candidate: Digest
    incumbent: Digest | None
    justification: Sentence
    policy: Digest
    audience: Label
    not_before: Time
    expires: Time
    nonce: Nonce

    def __post_init__(self) -> None:
        _check_interval(self.not_before, self.expires)
        if not self.justification.strip():
            raise MalformedError("no_justification", "break-glass without a justification")

    @property
    def about(self) -> str:
        """The model to act on."""
        return self.candidate


@dataclass(frozen=True)
class Revocation(Predicate):
    """From some time on, something does not count any more.

    The subject's digest says what: of a key its id, of an approval its payload's digest, of a
    data set or a model its digest. The subject's name is a model's name where `what` is "model",
    and else the word in `what`.

    Attributes:
        what: what kind of thing is revoked.
        target: the digest of it.
        reason: why.
        since: from when on it does not count; not later than `issued`.
        audience: the fleet's name.
        issued: when this was signed.

    """

    TYPE: ClassVar[str] = "urn:sluicegate:revocation:v1"
    what: Literal["key", "approval", "dataset", "model"]
    target: Digest
    reason: Sentence
    since: Time
    audience: Label
    issued: Time

    def __post_init__(self) -> None:
        # A revocation that is known counts, at once and without a look at the clock.
        if self.since > self.issued:
            raise MalformedError("bad_validity", "the revocation begins after it was issued")

    @property
    def about(self) -> str:
        """What is revoked."""
        return self.target


def _check_interval(not_before: int, expires: int) -> None:
    if not not_before < expires:
        raise MalformedError("bad_validity", "the statement expires before it begins")
