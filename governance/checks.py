"""What was looked at and what came of it: the lines of a verification or an audit.

Who verifies wants to know everything that is wrong and not the first of it, and just as well what
could not be looked at. So checks are collected, and a refusal becomes a line.
"""

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from governance.errors import GovernanceError

State = Literal["holds", "fails", "open", "unchecked"]
MOST_FINDINGS = 500


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: the thing, as `statements/….json` or `entry 12 (promote_done of fraud)`.
        state: "holds"; "fails", with a reason; "open", which still waits for somebody;
            "unchecked", which could not be looked at.
        sentence: what was found, for a person.
        reason: stable and machine-readable; empty unless it fails.

    """

    what: str
    state: State
    sentence: str
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The check as a JSON object."""
        return {
            "what": self.what,
            "state": self.state,
            "reason": self.reason,
            "sentence": self.sentence,
        }


class Checks:
    """Checks while they are collected."""

    def __init__(self) -> None:
        self._lines: list[Check] = []
        self._failed = 0

    @property
    def lines(self) -> tuple[Check, ...]:
        """Every check so far, in the order in which it was made."""
        return tuple(self._lines)

    @property
    def findings(self) -> tuple[Check, ...]:
        """Those that fail."""
        return tuple(line for line in self._lines if line.state == "fails")

    @property
    def counts(self) -> Counter[str]:
        """How many there are of each state."""
        return Counter(line.state for line in self._lines)

    def holds(self, what: str, sentence: str) -> None:
        """Note that something is as it should be."""
        self._lines.append(Check(what, "holds", sentence))

    def fails(self, what: str, reason: str, sentence: str) -> None:
        """Note a finding. After 500 further ones are passed over: the rest follows from them."""
        self._failed += 1
        if self._failed <= MOST_FINDINGS:
            self._lines.append(Check(what, "fails", sentence, reason))

    def open(self, what: str, sentence: str) -> None:
        """Note what still waits for somebody."""
        self._lines.append(Check(what, "open", sentence))

    def unchecked(self, what: str, sentence: str) -> None:
        """Note what could not be looked at, and why."""
        self._lines.append(Check(what, "unchecked", sentence))

    def finding(self, what: str) -> "_Finding":
        """Turn a refusal within into a finding, by its own reason."""
        return _Finding(self, what)


class _Finding(AbstractContextManager[None]):
    """Spelt out, so that a type checker knows that what follows is reached."""

    def __init__(self, checks: Checks, what: str) -> None:
        self._checks, self._what = checks, what

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, GovernanceError):
            return False
        self._checks.fails(self._what, error.reason, str(error))
        return True
