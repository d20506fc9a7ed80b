"""Words and values that every document uses: roles, actions, digests, times."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

from governance.canonical import MAX_INTEGER
from governance.shape import Between, Pattern

Digest: TypeAlias = Annotated[str, Pattern("sha256:[0-9a-f]{64}")]
Sha256Hex: TypeAlias = Annotated[str, Pattern("[0-9a-f]{64}")]
PublicHex: TypeAlias = Annotated[str, Pattern("[0-9a-f]{64}")]
Nonce: TypeAlias = Annotated[str, Pattern("[0-9a-f]{32}")]
# Seconds since 1970 UTC, to the end of the year 9999.
Time: TypeAlias = Annotated[int, Between(0, 253402300799)]
Seconds: TypeAlias = Annotated[int, Between(1, 10 * 366 * 86400)]
Count: TypeAlias = Annotated[int, Between(0, MAX_INTEGER)]
Positive: TypeAlias = Annotated[int, Between(1, MAX_INTEGER)]
# As models are named in a repository.
ModelName: TypeAlias = Annotated[str, Pattern("[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")]
# Lower-case ASCII, so that one person has one spelling.
Holder: TypeAlias = Annotated[str, Pattern("[a-z0-9][a-z0-9._@+-]{0,127}")]
Label: TypeAlias = Annotated[str, Pattern("[A-Za-z0-9][A-Za-z0-9 ._:/@+=-]{0,127}")]
Decimal: TypeAlias = Annotated[
    str, Pattern(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?(e-?[0-9]{1,4})?")
]
Sentence: TypeAlias = Annotated[str, Between(1, 2000)]

Role: TypeAlias = Literal[
    "operator",
    "domain_expert",
    "governance_approver",
    "security",
    "auditor",
    "root",
    "trainer",
    "gateway",
    "ledger",
]
ROLES: tuple[str, ...] = get_args(Role)
SERVICE_ROLES = frozenset({"gateway", "ledger"})
# May be asked for by a rule. An auditor reads, a root signs policies, a trainer proposes.
APPROVING_ROLES = frozenset({"operator", "domain_expert", "governance_approver", "security"})

Action: TypeAlias = Literal[
    "shadow", "promote", "validate", "deprecate", "rollback", "break_glass", "revoke", "review"
]
# Steps at which evidence is asked for, each for what those before it ask for as well.
Gate: TypeAlias = Literal["accept_eval", "export", "shadow", "promote", "validate"]
GATES: tuple[Gate, ...] = get_args(Gate)

# Who may promote looks at a rollback or a broken glass afterwards: `review` has no rule of its own.
RULE_OF: dict[Action, Action] = {"review": "promote"}
ACTIONS: tuple[Action, ...] = tuple(a for a in get_args(Action) if a not in RULE_OF)
# What only takes away: it stays possible under a policy that has expired, so that nobody is kept
# from going back by a paper that was not renewed.
PERMITTED_AFTER_EXPIRY: frozenset[Action] = frozenset({"rollback", "revoke"})


@dataclass(frozen=True)
class Needs:
    """What an approval of an action must name, beside candidate and incumbent."""

    shadow_report: bool = False
    evidence: bool = False


# Break-glass and revocation have statements of their own and are approved by signing those.
APPROVALS: dict[Action, Needs] = {
    "shadow": Needs(evidence=True),
    "promote": Needs(shadow_report=True, evidence=True),
    "validate": Needs(evidence=True),
    "deprecate": Needs(),
    "rollback": Needs(),
    "review": Needs(),
}
