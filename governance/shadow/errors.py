"""What the comparison refuses to work with."""

from governance.errors import GovernanceError


class ShadowError(GovernanceError):
    """A shadow policy, a report or an end of a pair is not one."""
