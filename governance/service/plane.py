"""What governance asks of a gateway's data plane, whatever the way to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from governance.errors import GovernanceError


class PlaneError(GovernanceError):
    """The data plane did not do it: `plane_away` (no answer) or `plane_refused` (it says why)."""

    REMEDY: ClassVar[str] = "look at the gateway: `sluicegate status`"


@dataclass(frozen=True)
class Served:
    """One version that the data plane has loaded; `current`: it answers who names no version."""

    model: str
    version: int
    digest: str
    current: bool


@dataclass(frozen=True)
class Wishes:
    """How a shadow is run.

    `run` is its name; `share` of all batches that are mirrored beside those with a pair, 0 to 1;
    `key` of the draw, 16 bytes; `block_ms` one pair each; scores further apart than
    `score_epsilon` have moved.
    """

    run: str
    share: float
    key: bytes
    block_ms: int
    score_epsilon: float

    def plain(self) -> dict[str, Any]:
        """As the data plane's command has it."""
        return {
            "run": self.run,
            "share": self.share,
            "seed": self.key.hex(),
            "block_ms": self.block_ms,
            "score_epsilon": self.score_epsilon,
        }


class DataPlane(Protocol):
    """A gateway's data plane. Every method raises PlaneError."""

    def status(self) -> Sequence[Served]:
        """Every version that it has loaded."""

    def shadows(self) -> Mapping[str, Mapping[str, Any]]:
        """By model: the shadow that runs, with what it `found` since the last question."""

    def shadow(self, model: str, version: int, wishes: Wishes) -> None:
        """Begin to compare a version with the one that answers."""

    def end_shadow(self, model: str) -> None:
        """End a model's shadow."""

    def canary(self, model: str, version: int, share: float, salt: bytes, wishes: Wishes) -> None:
        """Let a version answer a share of the callers, the same ones always; `salt` is 16 bytes.

        What it answers is compared with the version that answers the others: in what `shadows` then
        tells of the model the canary is the incumbent.
        """

    def end_canary(self, model: str) -> None:
        """End a model's canary: everybody gets the incumbent's answers again."""

    def swap(self, model: str, version: int) -> None:
        """Let a version answer; it returns when it does."""

    def unload(self, model: str) -> None:
        """Take a model away: nothing answers for it any more."""


def live(plane: DataPlane, model: str) -> Served | None:
    """What answers for a model, or None.

    Raises:
        PlaneError: the data plane does not answer.

    """
    return next((s for s in plane.status() if s.model == model and s.current), None)
