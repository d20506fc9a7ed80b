"""What governance refuses, and why: one tree of errors.

Every error has a `reason`, a short word that programs and tests may lean on, and a sentence that
says what failed, what was expected and what can be done about it.
"""

from typing import ClassVar


class GovernanceError(Exception):
    """Something was refused.

    Attributes:
        reason: stable and machine-readable, as `wrong_audience`.
        failed: what failed.
        expected: what would have been accepted, or empty.
        remedy: what the reader can do.

    """

    REMEDY: ClassVar[str] = ""

    def __init__(self, reason: str, failed: str, *, expected: str = "", remedy: str = "") -> None:
        self.reason = reason
        self.failed = failed
        self.expected = expected
        self.remedy = remedy or self.REMEDY
        text = failed + (f" (expected {expected})" if expected else "")
        super().__init__(text + (f"; {self.remedy}" if self.remedy else ""))

    def as_json(self) -> dict[str, str]:
        """The error as a JSON object."""
        return {
            "reason": self.reason,
            "failed": self.failed,
            "expected": self.expected,
            "remedy": self.remedy,
        }


class MalformedError(GovernanceError):
    """Bytes that are not a document of the expected form."""

    REMEDY = "ask whoever wrote it for a document written by Sluicegate"


class KeyUseError(GovernanceError):
    """A key, or the file that holds it, cannot be used."""

    REMEDY = "make another with `sluicegate keys new`"


class PolicyError(GovernanceError):
    """A policy that contradicts itself, or that is not the one to follow."""

    REMEDY = "correct the policy and have it signed anew"


class SignatureError(GovernanceError):
    """The signatures do not amount to what the policy asks for."""

    REMEDY = "see `sluicegate policy show` for who may sign, and have them sign"


class StatementError(GovernanceError):
    """A signed statement says something else than what is to be done, or no longer holds."""

    REMEDY = "have a statement made and signed for what is to be done now"
