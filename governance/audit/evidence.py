"""What the audit reads: statements, policies and bundles, as of an entry of the ledger."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from governance.audit.errors import AuditError
from governance.bundle.manifest import Manifest, chain_of, read_manifest
from governance.dsse import Envelope
from governance.home import Home
from governance.policy import Key, Policy
from governance.policy_history import PolicyHistory
from governance.predicates import LedgerHead, Predicate, Revocation
from governance.revocations import Revocations
from governance.shadow_report import ShadowReport
from governance.statements import Statement, check_payload_type, parse
from governance.states.model import Event, Registry
from governance.verifier import Approved

P = TypeVar("P", bound=Predicate)


@dataclass
class Evidence:
    """The state of an audit between two entries.

    Attributes:
        home: the folder.
        history: every version of the policy.
        root_at: the ledger's root over its first so many entries.
        registry: folded from the entries so far.
        revoked: revocations that were logged so far.
        followed: the version of the policy that was last logged, or 0.
        seeds: commitments that were logged so far.
        untold: by commitment, reports that a result rests on and whose seed was not told yet.
        shadow_policies: the policy of each candidate's newest comparison.
        intents: the statements that an open promotion rests on, by model.
        deployments: every deployment that the ledger names, by model and digest of what is live.
        named: statements that the ledger names.

    """

    home: Home
    history: PolicyHistory
    root_at: Callable[[int], bytes]
    registry: Registry = field(default_factory=Registry)
    revoked: list[Revocation] = field(default_factory=list)
    followed: int = 0
    seeds: set[str] = field(default_factory=set)
    untold: dict[str, ShadowReport] = field(default_factory=dict)
    shadow_policies: dict[tuple[str, str], str] = field(default_factory=dict)
    intents: dict[str, frozenset[str]] = field(default_factory=dict)
    deployments: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    _chains: dict[tuple[str, str], list[Manifest]] = field(default_factory=dict)

    @property
    def revocations(self) -> Revocations:
        """What is revoked so far."""
        return Revocations.of(self.revoked)

    def statement(self, digest: str, kind: type[P]) -> tuple[Envelope, Statement[P]]:
        """A statement that the ledger names; no signature is checked.

        Raises:
            HomeError: it is not there (`no_statement`) or another (`statement_changed`).
            MalformedError, StatementError: it is not of that kind.

        """
        self.named.add(digest)
        envelope = self.home.statement(digest)
        check_payload_type(envelope)
        return envelope, parse(envelope.payload, kind)

    def policy(self, digest: str, event: Event) -> Policy:
        """The policy that a statement names; it must not have been replaced before the event.

        Raises:
            PolicyError: it is not of the chain (`unknown_policy`).
            AuditError: a later version was followed already (`old_policy`).

        """
        found = self.history.by_digest(digest)
        if found.version < self.followed:
            raise AuditError(
                "old_policy",
                f"it was decided under policy version {found.version} when {self.followed} held",
            )
        if found.valid_from > event.at:
            raise AuditError("old_policy", f"policy version {found.version} had not begun yet")
        return found

    def in_force(self, at: int) -> Policy:
        """The policy that was followed at a time."""
        for version in self.history.versions:
            if version.version == self.followed:
                return version
        return self.history.at(at) or self.history.versions[0]

    def intend(self, event: Event) -> None:
        """Remember what a promotion rests on by its entry, whether that holds or not."""
        self.intents[event.model] = frozenset(a["statement"] for a in event.approvals)

    def bundle_digests(self, model: str, candidate: str) -> frozenset[str]:
        """Every digest that a candidate's evidence bundle has had.

        Raises:
            BundleError: there is none, or its history does not hold.

        """
        one = model, candidate
        if one not in self._chains:
            root = self.home.bundle(model, candidate)
            self._chains[one] = chain_of(root, read_manifest(root))
        return frozenset(manifest.digest for manifest in self._chains[one])

    def check_evidence(self, model: str, candidate: str, digest: str | None) -> None:
        """Refuse evidence that the bundle never was.

        Raises:
            AuditError: `other_evidence`.
            BundleError: the bundle cannot be read.

        """
        if digest is None or digest not in self.bundle_digests(model, candidate):
            raise AuditError(
                "other_evidence", f"the evidence bundle of {candidate} never was {digest}"
            )

    def trainer(self, model: str, candidate: str) -> tuple[str, list[bytes]]:
        """Holder and public key of who proposed a candidate."""
        known = self.registry.model(model).candidates.get(candidate)
        found = [k for k in self.history.keys.values() if known and k.key_id == known.trainer]
        return (found[0].person if found else ""), [key.public_key for key in found]

    def check_heads(self, heads: Iterable[LedgerHead], event: Event) -> None:
        """Refuse a ledger that is not the one which those who signed saw.

        Raises:
            AuditError: `ledger_ahead` or `ledger_forked`.

        """
        for head in heads:
            if head.size > event.index:
                raise AuditError(
                    "ledger_ahead",
                    f"who signed saw {head.size} entries before there were more than {event.index}",
                )
            if head.root != "sha256:" + self.root_at(head.size).hex():
                raise AuditError(
                    "ledger_forked",
                    f"who signed saw another history of the first {head.size} entries",
                )


def check_told(
    event: Event, approved: Approved, statements: Sequence[Statement[Any]], policy: Policy
) -> None:
    """Refuse an entry that tells its approvals otherwise than they were signed.

    Raises:
        AuditError: `approvals_differ`.

    """
    roles: dict[str, str] = {}
    for public in approved.keys:
        key: Key = policy.by_public[public]
        roles[key.key_id] = approved.persons[key.person]
    said = {statement.payload_digest: statement.predicate for statement in statements}
    for told in event.approvals:
        one = said.get(told["statement"])
        head = getattr(one, "ledger", None)
        wrong = (
            one is None
            or one.nonce != told["nonce"]
            or (head.size if head is not None else 0) != told["head"]
            or any(roles.get(s["key"]) != s["role"] for s in told["signers"])
        )
        if wrong:
            raise AuditError(
                "approvals_differ",
                f"the entry tells of {told['statement']} what was not signed",
            )
