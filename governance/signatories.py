"""Who signed: from signatures to keys, from keys to people, from people to a rule that is met."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from governance.dsse import Envelope, verified_keys
from governance.errors import SignatureError
from governance.policy import Key, Policy, Rule
from governance.quorum import assign
from governance.revocations import Revocations
from governance.vocabulary import SERVICE_ROLES


@dataclass(frozen=True)
class Exclusion:
    """A signature that is genuine and does not count."""

    reason: str
    sentence: str


@dataclass(frozen=True)
class Signatories:
    """The keys whose signatures count, in the policy's order, and why others do not."""

    keys: tuple[Key, ...]
    excluded: tuple[Exclusion, ...]


@dataclass(frozen=True)
class Quorum:
    """A rule that is met.

    Attributes:
        persons: everyone who counted, with the role that they fill, or an empty string for those
            beyond the required roles.
        keys: the public keys that counted.

    """

    persons: dict[str, str]
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Excluded:
    """Who may not approve, whatever the policy says of them.

    Attributes:
        proposer: the person or service that proposed the candidate.
        trainer_keys: public keys of those who trained it, in the policy or not.

    """

    proposer: str
    trainer_keys: frozenset[bytes]


def signatories(
    envelopes: Sequence[Envelope],
    policy: Policy,
    *,
    now: int,
    revocations: Revocations,
    excluded: Excluded,
) -> Signatories:
    """Who signed envelopes that all hold one payload.

    Raises:
        SignatureError: nobody did (`unsigned`), or nobody whom the policy knows
            (`no_valid_signature`).

    """
    known = [*policy.by_public, *(excluded.trainer_keys - policy.by_public.keys())]
    signed = frozenset[bytes]().union(*(verified_keys(e, known) for e in envelopes))
    if not signed:
        refuse_unsigned(envelopes)
    trainers = {
        policy.by_public[public].person
        for public in excluded.trainer_keys
        if public in policy.by_public
    }
    keys, exclusions = [], []
    for public in sorted(signed & excluded.trainer_keys - policy.by_public.keys()):
        exclusions.append(Exclusion("trainer_approves", f"a trainer signed ({public.hex()})"))
    for key in policy.keys:
        if key.public_key not in signed:
            continue
        if key.person in trainers or "trainer" in key.roles:
            exclusions.append(Exclusion("trainer_approves", f"{key.person} trained it"))
        elif key.person == excluded.proposer:
            exclusions.append(Exclusion("proposer_approves", f"{key.person} proposed it"))
        elif SERVICE_ROLES & set(key.roles):
            exclusions.append(Exclusion("service_approves", f"{key.person} is a service"))
        else:
            unfit = unfit_key(key, now, revocations)
            if unfit is None:
                keys.append(key)
            else:
                exclusions.append(unfit)
    return Signatories(tuple(keys), tuple(exclusions))


def refuse_unsigned(envelopes: Collection[Envelope]) -> NoReturn:
    """Say why no signature was found to be good.

    Raises:
        SignatureError: always; `unsigned` without any signature, else `no_valid_signature`.

    """
    if not any(envelope.signatures for envelope in envelopes):
        raise SignatureError("unsigned", "nobody signed this")
    raise SignatureError(
        "no_valid_signature",
        "no signature is by a key of the policy over exactly these bytes",
    )


def unfit_key(key: Key, at: int, revocations: Revocations) -> Exclusion | None:
    """Why a key does not count at a time, or None."""
    if key.key_id in revocations.keys or key.revoked(at):
        return Exclusion("revoked_key", f"the key of {key.person} is revoked")
    if at < key.not_before:
        return Exclusion("key_not_yet_valid", f"the key of {key.person} is not valid yet")
    if at >= key.not_after:
        return Exclusion("expired_key", f"the key of {key.person} has expired")
    return None


def require(rule: Rule, signed: Signatories, action: str) -> Quorum:
    """Check that those who signed meet a rule.

    Raises:
        SignatureError: they do not. If genuine signatures were left out, the reason is why the
            first of them was; else `same_person`, `too_few_persons` or `missing_role`.

    """
    keys = [key for key in signed.keys if set(key.roles) & set(rule.roles)]
    held: dict[str, set[str]] = {}
    for key in keys:
        held.setdefault(key.person, set()).update(key.roles)
    assigned = assign(rule.roles, held) if rule.roles else None
    if assigned is not None and len(held) >= rule.persons:
        persons = {person: assigned.get(person, "") for person in sorted(held)}
        return Quorum(persons, tuple(key.public_key for key in keys))
    raise _missing(rule, signed, keys, held, action)


def _missing(
    rule: Rule,
    signed: Signatories,
    keys: list[Key],
    held: dict[str, set[str]],
    action: str,
) -> SignatureError:
    wanted = f"{rule.persons} people, among them one each as " + ", ".join(rule.roles)
    who = ", ".join(sorted(held)) or "nobody"
    found = f"for '{action}' the signatures of {who} count"
    if signed.excluded:
        left_out = "; ".join(exclusion.sentence for exclusion in signed.excluded)
        return SignatureError(
            signed.excluded[0].reason, f"{found}, and not: {left_out}", expected=wanted
        )
    as_if = {key.public: set(key.roles) for key in keys}
    if len(as_if) >= rule.persons and assign(rule.roles, as_if) is not None:
        return SignatureError(
            "same_person", f"{found}; one person signed with two keys", expected=wanted
        )
    reason = "too_few_persons" if len(held) < rule.persons else "missing_role"
    return SignatureError(reason, found, expected=wanted)
