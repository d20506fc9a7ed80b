"""What is refused about an evidence bundle."""

from governance.errors import GovernanceError


class BundleError(GovernanceError):
    """A bundle cannot be read, was changed, or lacks what a gate needs."""

    REMEDY = "see docs/evidence.md"
