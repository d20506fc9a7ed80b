"""What an audit finds."""

from governance.errors import GovernanceError


class AuditError(GovernanceError):
    """The folder says something else than its signed statements, or than its ledger."""

    REMEDY = "keep the folder as it is and compare it with a backup and the witnesses"
