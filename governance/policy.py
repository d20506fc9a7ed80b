"""The policy: who may sign for what, and how strict each class of risk is.

A policy is a versioned document signed by its roots, after TUF's root of trust. This module holds
its form and everything that makes one contradict itself; `policy_chain` decides which one to
follow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from governance import canonical, shape
from governance.errors import KeyUseError, PolicyError
from governance.keys import check_public, key_id
from governance.quorum import assign
from governance.shape import Between, Pattern
from governance.vocabulary import (
    ACTIONS,
    APPROVING_ROLES,
    GATES,
    RULE_OF,
    SERVICE_ROLES,
    Action,
    Digest,
    Gate,
    Holder,
    Label,
    Positive,
    PublicHex,
    Role,
    Seconds,
    Time,
)

PAYLOAD_TYPE = "application/vnd.sluicegate.policy+json"


@dataclass(frozen=True)
class Key:
    """A public key, whose it is, what for and for how long.

    `not_before` is the first second in which it counts and `not_after` the first in which it no
    longer does. Once `revoked_at` is past, nothing that the key signed counts, whenever it says
    that it was signed: a time in a statement is its signer's word. A key that is merely replaced
    gets a `not_after`.
    """

    SNAKE_CASE: ClassVar[bool] = True
    public: PublicHex
    person: Holder
    roles: Annotated[tuple[Role, ...], Between(1, 9)]
    not_before: Time
    not_after: Time
    revoked_at: Time | None

    @cached_property
    def public_key(self) -> bytes:
        """The 32 public bytes."""
        return bytes.fromhex(self.public)

    @cached_property
    def key_id(self) -> str:
        """The key's name in envelopes and revocations."""
        return key_id(self.public_key)

    def revoked(self, now: int) -> bool:
        """Whether it is revoked at that time."""
        return self.revoked_at is not None and now >= self.revoked_at


@dataclass(frozen=True)
class Rule:
    """Who must sign for an action.

    Each entry of `roles` must be filled by a person of its own (a role twice: two people), and
    at least `persons` people who hold one of the roles must sign in all.
    """

    SNAKE_CASE: ClassVar[bool] = True
    roles: Annotated[tuple[Role, ...], Between(0, 16)]
    persons: Annotated[int, Between(0, 16)]


@dataclass(frozen=True)
class RiskClass:
    """How models of one class of risk are treated.

    `approval_seconds` is the longest that an approval may be valid, `break_glass_seconds` the
    longest for a break-glass statement; `shadow` is for the verdict to read. At the gates of
    `evidence` the bundle must be complete (governance/bundle/requirements.py); at others it is
    named by its digest and not looked into. `harm_limit`: a promotion asks for evidence that while
    the candidate was compared the live model's p99 was at most so many times that without.
    """

    SNAKE_CASE: ClassVar[bool] = True
    rules: dict[str, Rule]
    approval_seconds: Seconds
    break_glass_seconds: Seconds
    shadow: dict[str, Any]
    evidence: Annotated[tuple[Gate, ...], Between(0, len(GATES))] | None = None
    harm_limit: Annotated[str, Pattern(r"[1-9](\.[0-9]{1,6})?")] | None = None

    def rule(self, action: Action) -> Rule:
        """Who must sign for an action."""
        return self.rules[RULE_OF.get(action, action)]


@dataclass(frozen=True)
class ModelRule:
    """Which class of risk a model has. A `*` at the end of the pattern stands for any rest."""

    SNAKE_CASE: ClassVar[bool] = True
    pattern: Annotated[str, Pattern(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\*?|\*")]
    risk_class: Label

    def fits(self, model: str) -> bool:
        """Whether the pattern means the model."""
        if self.pattern.endswith("*"):
            return model.startswith(self.pattern[:-1])
        return model == self.pattern


@dataclass(frozen=True)
class Admin:
    """What the holder of a client certificate with this SPIFFE ID may do."""

    SNAKE_CASE: ClassVar[bool] = True
    spiffe_id: Annotated[str, Pattern(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]{1,128}){1,8}")]
    roles: Annotated[tuple[Role, ...], Between(1, 9)]


@dataclass(frozen=True)
class Witness:
    """An outside party that remembers the ledger's head, and the key it signs with."""

    SNAKE_CASE: ClassVar[bool] = True
    name: Label
    public: PublicHex


@dataclass(frozen=True)
class Policy:
    """A policy that does not contradict itself.

    Raises:
        PolicyError: it does; the reason says how.

    """

    SNAKE_CASE: ClassVar[bool] = True
    format: Literal["sluicegate.policy/1"]
    version: Positive
    previous: Digest | None
    audience: Label
    valid_from: Time
    expires: Time
    root_persons: Annotated[int, Between(1, 16)]
    keys: Annotated[tuple[Key, ...], Between(1, 256)]
    risk_classes: dict[str, RiskClass]
    models: Annotated[tuple[ModelRule, ...], Between(1, 1024)]
    admins: tuple[Admin, ...]
    witnesses: Annotated[tuple[Witness, ...], Between(0, 64)]

    def __post_init__(self) -> None:
        if (self.version == 1) != (self.previous is None):
            raise PolicyError(
                "bad_previous",
                f"version {self.version} names {self.previous or 'no previous policy'}",
                expected="no previous policy for version 1, and one for every other",
            )
        if not self.valid_from < self.expires:
            raise PolicyError("bad_validity", "the policy expires before it begins")
        _check_keys(self.keys)
        _check_witnesses(self.witnesses, self.keys)
        _check_rules(self)

    @cached_property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        return canonical.encode(shape.write(self))

    @cached_property
    def digest(self) -> str:
        """The digest of the payload, by which approvals name the policy."""
        return canonical.digest(self.payload)

    @cached_property
    def by_public(self) -> Mapping[bytes, Key]:
        """Every key by its public bytes."""
        return {key.public_key: key for key in self.keys}

    def check_current(self, now: int) -> None:
        """Refuse to act under a policy outside its time.

        Raises:
            PolicyError: `policy_expired` or `policy_not_yet_valid`.

        """
        if now >= self.expires:
            raise PolicyError(
                "policy_expired",
                f"policy version {self.version} expired at {self.expires}, it is {now}",
                remedy="have the next version signed",
            )
        if now < self.valid_from:
            raise PolicyError(
                "policy_not_yet_valid",
                f"policy version {self.version} begins at {self.valid_from}, it is {now}",
                remedy="wait, or look at the clock",
            )

    def risk_class(self, model: str) -> RiskClass:
        """The class of a model: the first entry of `models` that fits.

        Raises:
            PolicyError: none does (`no_risk_class`).

        """
        for entry in self.models:
            if entry.fits(model):
                return self.risk_classes[entry.risk_class]
        raise PolicyError(
            "no_risk_class",
            f"no pattern of the policy fits model '{model}'",
            remedy="add the model to the policy",
        )

    def admin_roles(self, spiffe_id: str) -> frozenset[str]:
        """The roles of a SPIFFE ID, compared as it is spelt; none if it is not listed."""
        return frozenset(
            role for admin in self.admins if admin.spiffe_id == spiffe_id for role in admin.roles
        )


def parse(payload: bytes) -> Policy:
    """Read a policy's payload.

    Raises:
        MalformedError: it is not canonical JSON of this form.
        PolicyError: it contradicts itself.

    """
    return shape.read(Policy, canonical.decode(payload), "policy")


def _check_keys(keys: tuple[Key, ...]) -> None:
    roles: dict[str, set[str]] = {}
    seen: dict[str, str] = {}
    for key in keys:
        if key.public in seen:
            raise PolicyError(
                "duplicate_key",
                f"one key is listed twice, for {seen[key.public]} and for {key.person}",
                remedy="have everybody make a key of their own",
            )
        seen[key.public] = key.person
        try:
            check_public(key.public_key)
        except KeyUseError as error:
            raise PolicyError(error.reason, f"key of {key.person}: {error.failed}") from None
        if not key.not_before < key.not_after:
            raise PolicyError("bad_validity", f"a key of {key.person} expires before it begins")
        if len(set(key.roles)) != len(key.roles):
            raise PolicyError("duplicate_role", f"a key of {key.person} names a role twice")
        roles.setdefault(key.person, set()).update(key.roles)
    for person, held in roles.items():
        # Over all keys of a holder: two keys must not do what one may not.
        if held & SERVICE_ROLES and held - SERVICE_ROLES:
            raise PolicyError(
                "service_and_person", f"{person} holds a service's role and a person's"
            )
        if "trainer" in held and len(held) > 1:
            raise PolicyError("trainer_may_not_approve", f"{person} is a trainer and more")


def _check_witnesses(witnesses: tuple[Witness, ...], keys: tuple[Key, ...]) -> None:
    seen = {key.public for key in keys}
    for witness in witnesses:
        if witness.public in seen:
            raise PolicyError("duplicate_key", f"the key of witness {witness.name} is listed twice")
        seen.add(witness.public)
        try:
            check_public(bytes.fromhex(witness.public))
        except KeyUseError as error:
            raise PolicyError(error.reason, f"witness {witness.name}: {error.failed}") from None


def _check_rules(policy: Policy) -> None:
    for entry in policy.models:
        if entry.risk_class not in policy.risk_classes:
            raise PolicyError("unknown_risk_class", f"no risk class is called {entry.risk_class!r}")
    usable = [key for key in policy.keys if _usable(key, policy)]
    if len({key.person for key in usable if "root" in key.roles}) < policy.root_persons:
        raise PolicyError(
            "unreachable_threshold", f"fewer than {policy.root_persons} people are roots"
        )
    ids = [admin.spiffe_id for admin in policy.admins]
    if len(set(ids)) != len(ids):
        raise PolicyError("duplicate_admin", "a SPIFFE ID is listed twice")
    for name, risk in policy.risk_classes.items():
        for action in risk.rules.keys() ^ set(ACTIONS):
            known = action in ACTIONS
            raise PolicyError(
                "missing_rule" if known else "unknown_action",
                f"risk class {name} has {'no rule for' if known else 'a rule for'} {action!r}",
                expected="a rule for each of " + ", ".join(ACTIONS),
            )
        for action, rule in risk.rules.items():
            _check_rule(f"{name}, {action}", rule, usable)


def _check_rule(where: str, rule: Rule, usable: Iterable[Key]) -> None:
    if not rule.roles:
        # Nobody is a quorum of nothing.
        raise PolicyError("empty_roles", f"the rule for {where} asks for no role")
    for role in rule.roles:
        if role not in APPROVING_ROLES:
            raise PolicyError("role_may_not_approve", f"the rule for {where} asks for {role!r}")
    if rule.persons < len(rule.roles):
        raise PolicyError(
            "low_threshold",
            f"the rule for {where} asks for {rule.persons} people and {len(rule.roles)} roles",
            expected="at least one person a role",
        )
    held: dict[str, set[str]] = {}
    for key in usable:
        if set(key.roles) & set(rule.roles):
            held.setdefault(key.person, set()).update(key.roles)
    if len(held) < rule.persons or assign(rule.roles, held) is None:
        raise PolicyError("unreachable_threshold", f"nobody can meet the rule for {where}")


def _usable(key: Key, policy: Policy) -> bool:
    begins, ends = max(key.not_before, policy.valid_from), min(key.not_after, policy.expires)
    if key.revoked_at is not None:
        ends = min(ends, key.revoked_at)
    return begins < ends
