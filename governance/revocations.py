"""What has been revoked, as verified revocations say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from governance.predicates import Revocation


@dataclass(frozen=True)
class Revocations:
    """For each kind the digests that are revoked, and since when (seconds since 1970 UTC).

    Keys are named by their key id, approvals by their payload's digest, data sets and models by
    theirs.
    """

    keys: Mapping[str, int] = field(default_factory=dict)
    approvals: Mapping[str, int] = field(default_factory=dict)
    datasets: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, verified: Iterable[Revocation]) -> "Revocations":
        """Gather revocations that have been verified; of two the earlier time counts."""
        found: dict[str, dict[str, int]] = {"key": {}, "approval": {}, "dataset": {}, "model": {}}
        for revocation in verified:
            targets = found[revocation.what]
            known = targets.get(revocation.target, revocation.since)
            targets[revocation.target] = min(known, revocation.since)
        return cls(found["key"], found["approval"], found["dataset"], found["model"])
