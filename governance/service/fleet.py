"""The service's side of a fleet: what followers are told, and what they say in return.

A follower's word is signed with its gateway's key in the policy, over what is live now and by which
entry: an old word, or another's, counts for nothing.
"""

import threading
from dataclasses import dataclass
from typing import Final

from governance import canonical
from governance.dsse import Envelope
from governance.errors import GovernanceError, SignatureError, StatementError
from governance.home import Live
from governance.keys import verifies
from governance.ledger.kinds import parse_body
from governance.ledger.read import reading
from governance.policy import Key, Policy
from governance.predicates import Approval, Revocation
from governance.service.authority import Authority, key_of
from governance.service.plane import PlaneError, live
from governance.service.shadowing import Shadowing
from governance.service_verifier import verify_deployment, verify_shadow_report
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.signatories import unfit_key
from governance.statements import Statement, parse
from governance.states.model import TransitionError

# Entries after which something else is live.
CHANGES = ("promote_done", "rollback", "revoke", "break_glass_expired")


def acknowledgement(gateway: str, deployment: str, change: int) -> bytes:
    """What a gateway signs to say that it serves what is live by an entry of the ledger."""
    return f"sluicegate acknowledge 2\n{gateway}\n{deployment}\n{change}".encode()


def joining(gateway: str, model: str, candidate: str, attempt: int, commitment: str) -> bytes:
    """What a gateway signs to say that it compares along, with a seed that it commits to."""
    parts = (gateway, model, candidate, str(attempt), commitment)
    return "\n".join(("sluicegate join 1", *parts)).encode()


@dataclass(frozen=True, order=True)
class Word:
    """What a gateway said last of a model: by which entry, and when."""

    index: int
    deployment: str
    at: int

    def follows(self, deployment: str, change: int) -> bool:
        """Whether it said so of what is live since an entry."""
        return self.deployment == deployment and self.index > change


NOTHING: Final = Word(-1, "", 0)


@dataclass(frozen=True)
class Member:
    """A gateway of the policy and a model that is live: what it said last, and whether it follows.

    `at` is when it said so, seconds since 1970.
    """

    gateway: str
    model: str
    deployment: str
    at: int
    follows: bool


@dataclass(frozen=True)
class Compared:
    """A comparison that followers may join; `approvals` are the statements that allow it."""

    candidate: str
    attempt: int
    policy: str
    approvals: tuple[str, ...]


class Fleet:
    """Tells followers what to follow, and keeps what they say."""

    def __init__(self, authority: Authority, shadowing: Shadowing) -> None:
        self._authority, self._shadowing = authority, shadowing
        # Of the ledger so far: by model the entry by which it is live as it is; by model and key
        # the last word of a gateway.
        self._read, self._turn = 0, threading.Lock()
        self._changes: dict[str, int] = {}
        self._words: dict[tuple[str, str], Word] = {}
        # By model the seeds that were committed to.
        self._seeds: set[tuple[str, str]] = set()

    def _catch_up(self) -> None:
        # Beside the ledger's writer: who only looks must not wait for an act that goes on.
        with self._turn, reading(self._authority.home.ledger) as reader:
            for row in reader.rows(self._read):
                body, self._read = parse_body(row.body), row.index + 1
                if row.kind in CHANGES:
                    self._changes[body["model"]] = row.index
                elif row.kind == "seed":
                    self._seeds.add((body["model"], body["commitment"]))
                elif row.kind == "acknowledged":
                    word = Word(row.index, body["deployment"], body["at"])
                    self._words[body["model"], body["gateway"]] = word

    def change(self, model: str) -> int:
        """Index of the entry by which a model's live version is live; 0 if there is none."""
        self._catch_up()
        return self._changes.get(model, 0)

    def compared(self, model: str) -> Compared | None:
        """The comparison of a model that goes on; a canary is none that others could join."""
        try:
            plan = self._shadowing.run(model).plan
        except TransitionError:
            return None
        if plan.is_canary or plan.report is not None:
            return None
        allowed = (
            canonical.digest(said.payload)
            for said in self._authority.kept(Approval)
            if (said.name, said.digest, said.predicate.action) == (model, plan.candidate, "shadow")
        )
        return Compared(plan.candidate, plan.attempt, plan.policy, tuple(allowed))

    def revocations(self) -> list[str]:
        """Digests of every revocation that is kept."""
        return [canonical.digest(said.payload) for said in self._authority.kept(Revocation)]

    def acknowledge(
        self, model: str, candidate: str, deployment: str, change: int, gateway: str, proof: bytes
    ) -> list[str]:
        """Log that a gateway serves a deployment; key ids of all that have said so.

        Raises:
            GovernanceError: it did not sign this, or something else is live (`out_of_step`).

        """
        authority = self._authority
        with authority.lock:
            policy = authority.home.policy()
            found = verify_deployment(
                authority.home.statement(deployment),
                policy=policy,
                model=model,
                audience=policy.audience,
                revocations=authority.revocations(),
            )
            if found.predicate.candidate != candidate:
                raise StatementError("wrong_candidate", "the deployment is of another model")
            key = self._signer(policy, gateway, proof, acknowledgement(gateway, deployment, change))
            now = authority.home.live(model)
            if now is None or now.deployment != deployment or self.change(model) != change:
                raise StatementError(
                    "out_of_step",
                    f"{deployment} is not what is live of {model} since entry {change}",
                    expected=f"{now.deployment if now else 'nothing'} since {self.change(model)}",
                    remedy="ask again what is live",
                )
            authority.record(
                "acknowledged",
                key_of("acknowledged", deployment, key.key_id, change),
                model=model,
                candidate=candidate,
                gateway=key.key_id,
                deployment=deployment,
            )
            self._catch_up()
            return sorted(
                who
                for (name, who), word in self._words.items()
                if name == model and word.follows(deployment, change)
            )

    def join(
        self,
        model: str,
        candidate: str,
        attempt: int,
        commitment: str,
        gateway: str,
        proof: bytes,
    ) -> None:
        """Let a gateway compare along. Raises GovernanceError."""
        message = joining(gateway, model, candidate, attempt, commitment)
        self._signer(self._authority.home.policy(), gateway, proof, message)
        self._shadowing.join(model, candidate, attempt, gateway, commitment)

    def report(self, envelope: Envelope) -> None:
        """Count what a gateway that joined has reported; its last one tells the seed.

        Raises:
            GovernanceError: it is not the gateway's own, or not of this comparison.

        """
        statement = parse(envelope.payload, ShadowReport)
        if statement.predicate.seed is None:
            self._shadowing.take(statement.name, envelope)
        else:
            self._reveal(statement, envelope)

    def _draws_by(self, model: str, said: ShadowReport) -> bool:
        """Whether a comparison goes on in which a gateway draws by the seed of its report."""
        if model not in self._shadowing.models:
            return False
        joined = self._shadowing.run(model).plan.joined
        return joined.get(said.gateway) == said.seed_commitment

    def _reveal(self, statement: Statement[ShadowReport], envelope: Envelope) -> None:
        """Log the report by which a gateway tells its seed, once nothing is drawn by it."""
        authority, model, said = self._authority, statement.name, statement.predicate
        with authority.lock:
            if self._draws_by(model, said):
                raise TransitionError(
                    "goes_on", f"a seed is told when the comparison of {model} is over"
                )
            policies = authority.home.policies()
            then = next((p for p in policies if p.digest == said.policy), policies[-1])
            verify_shadow_report(
                envelope,
                policy=then,
                model=model,
                candidate=said.candidate,
                incumbent=said.incumbent,
                audience=then.audience,
                now=authority.clock(),
                revocations=authority.revocations(),
            )
            verify(said)
            self._catch_up()
            if (model, said.seed_commitment) not in self._seeds:
                raise StatementError(
                    "seed_not_committed", f"nobody committed to this seed of {said.gateway}"
                )
            authority.record(
                "seed_revealed",
                key_of("seed_revealed", said.seed_commitment),
                model=model,
                commitment=said.seed_commitment,
                report=authority.home.keep(envelope),
            )

    def members(self) -> list[Member]:
        """Every gateway of the policy with every model that is live.

        Raises:
            GovernanceError: the ledger cannot be read.

        """
        authority = self._authority
        keys = [key for key in authority.home.policy().keys if "gateway" in key.roles]
        told = []
        for model in authority.home.models():
            now, change = authority.home.live(model), self.change(model)
            if now is None:
                continue
            for gateway in sorted({key.person for key in keys}):
                if gateway == authority.gateway:
                    told.append(self._own(model, now))
                    continue
                own = [self._words.get((model, k.key_id)) for k in keys if k.person == gateway]
                last = max((w for w in own if w is not None), default=NOTHING)
                follows = last.follows(now.deployment, change)
                told.append(Member(gateway, model, last.deployment, last.at, follows))
        return told

    def _own(self, model: str, now: Live) -> Member:
        """This gateway: what its data plane says counts."""
        try:
            answers = live(self._authority.plane, model)
        except PlaneError:
            answers = None
        follows = answers is not None and answers.digest == now.model_digest
        at = self._authority.clock() if follows else 0
        return Member(
            self._authority.gateway, model, now.deployment if follows else "", at, follows
        )

    def _signer(self, policy: Policy, gateway: str, proof: bytes, message: bytes) -> Key:
        authority = self._authority
        revocations = authority.revocations()
        for key in policy.keys:
            if (
                key.person == gateway
                and "gateway" in key.roles
                and unfit_key(key, authority.clock(), revocations) is None
                and verifies(key.public_key, proof, message)
            ):
                return key
        raise SignatureError("not_a_gateway", f"'{gateway}' did not sign this")


def quietly(fleet: Fleet) -> list[Member]:
    """Members, or none where the ledger cannot be read: the status tells why elsewhere."""
    try:
        return fleet.members()
    except GovernanceError:
        return []
