"""Which policy to follow: a chain of versions, each signed by the one before and by itself.

After TUF's root role (https://theupdateframework.github.io/specification/, 5.3): the first is
pinned by its digest, version N+1 needs the root thresholds of N and of N+1, versions go up by one,
and an expired policy permits nothing.
"""

from collections.abc import Sequence

from governance import policy as policies
from governance.dsse import Envelope, verified_keys
from governance.errors import PolicyError
from governance.policy import PAYLOAD_TYPE, Policy


def accept(new: Envelope, current: Policy | None, pinned: str | None, now: int) -> Policy:
    """Decide whether a signed policy takes the place of the current one.

    Whoever calls this keeps the version that comes back: that memory is what makes a rollback of
    the policy visible.

    Args:
        new: the signed policy.
        current: the one that is followed now; None on a machine that has none yet.
        pinned: the digest of the first policy, known from elsewhere; used when current is None.
        now: seconds since 1970 UTC.

    Raises:
        MalformedError: the payload is no policy.
        PolicyError: the reason says why: `wrong_payload_type`, `not_pinned`, `policy_rollback`,
            `policy_fast_forward`, `wrong_previous`, `backdated_policy`, `other_audience`,
            `old_root_threshold`, `new_root_threshold`, `policy_expired`, `policy_not_yet_valid`,
            or one of `parse`.

    """
    found = succeed(new, current, pinned)
    found.check_current(now)
    return found


def follow(
    chain: Sequence[Envelope], current: Policy | None, pinned: str | None, now: int
) -> Policy:
    """Follow several versions in order; only the last has to be current.

    Raises:
        MalformedError, PolicyError: as `accept`; `no_policy` if there is none to follow.

    """
    for envelope in chain:
        current = succeed(envelope, current, pinned)
    if current is None:
        raise PolicyError("no_policy", "there is no policy to follow")
    current.check_current(now)
    return current


def succeed(new: Envelope, current: Policy | None, pinned: str | None) -> Policy:
    """As `accept`, whatever the time: for the versions in the middle of a chain.

    Raises:
        MalformedError, PolicyError: as `accept`.

    """
    found = read(new)
    if current is None:
        if found.digest != pinned:
            raise PolicyError(
                "not_pinned",
                f"the policy's digest is {found.digest}",
                expected=pinned or "a pinned digest",
                remedy="compare the digest with the people who signed the policy",
            )
    else:
        _check_succession(found, current)
        _check_roots(new, found, current, "old_root_threshold")
    _check_roots(new, found, found, "new_root_threshold")
    return found


def read(envelope: Envelope) -> Policy:
    """The policy in an envelope, with no signature checked.

    Raises:
        MalformedError, PolicyError: it holds none.

    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise PolicyError(
            "wrong_payload_type",
            f"the envelope holds {envelope.payload_type!r}",
            expected=PAYLOAD_TYPE,
        )
    return policies.parse(envelope.payload)


def check_own_roots(envelope: Envelope) -> Policy:
    """The policy in an envelope that enough of its own roots signed.

    Enough to read by; to follow it, `accept` asks for a pin or for the version before.

    Raises:
        MalformedError, PolicyError: it holds none, or too few signed (`new_root_threshold`).

    """
    found = read(envelope)
    _check_roots(envelope, found, found, "new_root_threshold")
    return found


def root_signers(envelope: Envelope, trusted: Policy, at: int) -> frozenset[str]:
    """The people who signed as roots of the trusted policy, with keys valid at that time."""
    roots = {
        key.public_key: key.person
        for key in trusted.keys
        if "root" in key.roles and key.not_before <= at < key.not_after and not key.revoked(at)
    }
    return frozenset(roots[public] for public in verified_keys(envelope, roots))


def _check_succession(found: Policy, current: Policy) -> None:
    if found.version <= current.version:
        raise PolicyError(
            "policy_rollback",
            f"the policy has version {found.version}, and version {current.version} is followed",
            expected=f"version {current.version + 1}",
            remedy="fetch the newest policy",
        )
    if found.version > current.version + 1:
        raise PolicyError(
            "policy_fast_forward",
            f"the policy has version {found.version}, and version {current.version} is followed",
            expected=f"version {current.version + 1}",
            remedy="give it the versions between, one after the other",
        )
    if found.previous != current.digest:
        raise PolicyError(
            "wrong_previous",
            f"the policy follows {found.previous}",
            expected=current.digest,
            remedy="sign a policy that follows the current one",
        )
    if found.valid_from < current.valid_from:
        raise PolicyError(
            "backdated_policy",
            f"the policy begins at {found.valid_from}, before the one that it follows",
            expected=f"{current.valid_from} or later",
        )
    if found.audience != current.audience:
        raise PolicyError(
            "other_audience",
            f"the policy is for '{found.audience}'",
            expected=f"'{current.audience}'",
            remedy="a fleet keeps its name; start a new chain for another",
        )


def _check_roots(new: Envelope, found: Policy, trusted: Policy, reason: str) -> None:
    # At the new policy's own beginning and not now: a machine that was off for a year still has
    # to follow the chain, and the roots of a policy in its middle may have expired since.
    signed = root_signers(new, trusted, found.valid_from)
    if len(signed) < trusted.root_persons:
        raise PolicyError(
            reason,
            f"{len(signed)} roots of policy version {trusted.version} signed",
            expected=f"{trusted.root_persons}",
            remedy="have more of them sign: `sluicegate policy sign`",
        )
