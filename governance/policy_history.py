"""Every version of a policy from the pinned one on: which of them a statement was signed under."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from governance.dsse import Envelope
from governance.errors import PolicyError
from governance.policy import Key, Policy
from governance.policy_chain import succeed


@dataclass(frozen=True)
class PolicyHistory:
    """The versions of one chain, oldest first, each signed by the roots before it and its own."""

    versions: tuple[Policy, ...]

    @classmethod
    def read(cls, chain: Sequence[Envelope], pin: str) -> "PolicyHistory":
        """Follow a chain, whatever the time: what is looked at lies in the past.

        Raises:
            MalformedError, PolicyError: it does not hold, or there is none (`no_policy`).

        """
        versions: list[Policy] = []
        for envelope in chain:
            versions.append(succeed(envelope, versions[-1] if versions else None, pin))
        if not versions:
            raise PolicyError("no_policy", "there is no policy to read by")
        return cls(tuple(versions))

    @property
    def newest(self) -> Policy:
        """The last version."""
        return self.versions[-1]

    @cached_property
    def keys(self) -> dict[bytes, Key]:
        """Every key that any version knows, as the newest of those tells it."""
        return {key.public_key: key for version in self.versions for key in version.keys}

    def by_digest(self, digest: str) -> Policy:
        """The version with that digest.

        Raises:
            PolicyError: the chain has none (`unknown_policy`).

        """
        for version in self.versions:
            if version.digest == digest:
                return version
        raise PolicyError(
            "unknown_policy",
            f"policy {digest} is not of this chain",
            remedy="give every version of the policy, from the first",
        )

    def at(self, time: int) -> Policy | None:
        """The newest version that had begun at that time; None before the first."""
        begun = [version for version in self.versions if version.valid_from <= time]
        return begun[-1] if begun else None
