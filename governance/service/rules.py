"""Who may call what: every method with the roles that may, as data. What is not here is denied.

A role opens the door; it approves nothing. What changes the live model takes signed statements
besides, from people whose keys are not on any server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Access:
    """Roles that may call a method.

    `acts`: it changes something, so it is written into the audit log before and after.
    `unwritten`: it goes on even where the audit log cannot be written.
    """

    roles: frozenset[str]
    acts: bool = False
    unwritten: bool = False


_PEOPLE: Final = frozenset(
    {"operator", "domain_expert", "governance_approver", "security", "auditor", "root"}
)
_READERS: Final = Access(_PEOPLE | {"trainer", "gateway"})
_SIGNERS: Final = frozenset({"operator", "domain_expert", "governance_approver", "security"})


def _acting(*roles: str) -> Access:
    return Access(frozenset(roles), acts=True)


ADMIN: Final = "sluicegate.admin.v1.Admin"
GOVERNANCE: Final = "sluicegate.governance.v1.Governance"
RULES: Final[Mapping[str, Access]] = {
    f"/{ADMIN}/Status": _READERS,
    f"/{ADMIN}/ListModels": _READERS,
    f"/{ADMIN}/StartShadow": _acting("operator"),
    f"/{ADMIN}/StopShadow": _acting("operator", "security"),
    f"/{ADMIN}/ShadowStatus": _READERS,
    f"/{ADMIN}/WatchShadow": _READERS,
    f"/{ADMIN}/SetSampling": _acting("operator"),
    f"/{ADMIN}/Promote": _acting("operator"),
    # It never waits for anybody.
    f"/{ADMIN}/Rollback": Access(frozenset({"operator", "security"}), acts=True, unwritten=True),
    f"/{ADMIN}/Decide": Access(_SIGNERS, acts=True),
    f"/{ADMIN}/Drain": _acting("operator"),
    f"/{ADMIN}/Events": Access(_PEOPLE | {"gateway"}),
    f"/{ADMIN}/Follow": Access(frozenset({"gateway"})),
    f"/{ADMIN}/AcknowledgeDeployment": _acting("gateway"),
    f"/{ADMIN}/JoinShadow": _acting("gateway"),
    # Every few seconds from each: what comes of it is in the ledger, with its verdict.
    f"/{ADMIN}/SubmitReport": Access(frozenset({"gateway"})),
    f"/{GOVERNANCE}/SubmitCandidate": _acting("trainer", "operator"),
    f"/{GOVERNANCE}/SubmitEvidence": _acting("trainer", "operator"),
    f"/{GOVERNANCE}/SubmitApproval": Access(_SIGNERS, acts=True),
    f"/{GOVERNANCE}/SubmitRevocation": _acting("security"),
    f"/{GOVERNANCE}/SubmitPolicy": _acting("root", "security"),
    f"/{GOVERNANCE}/GetStatement": _READERS,
    f"/{GOVERNANCE}/ListStatements": _READERS,
    f"/{GOVERNANCE}/LedgerHead": _READERS,
    f"/{GOVERNANCE}/ProveEntry": _READERS,
}
