"""The parts of a governance service, made once and handed to whoever serves them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from governance.home import Home
from governance.service import settings
from governance.service.audit import Denials
from governance.service.authority import Authority
from governance.service.plane import DataPlane
from governance.service.promotion import Promotion
from governance.service.revoking import Revoking
from governance.service.rollback import Rollback
from governance.service.rounds import Rounds
from governance.service.shadowing import Shadowing


@dataclass
class Parts:
    """What acts. `draining`: no comparison and no promotion is begun any more."""

    authority: Authority
    shadowing: Shadowing
    promotion: Promotion
    rollback: Rollback
    revoking: Revoking
    draining: bool = field(default=False)

    @classmethod
    def of(cls, authority: Authority) -> Self:
        """Make every part of what they share."""
        rollback, shadowing = Rollback(authority), Shadowing(authority)
        return cls(
            authority,
            shadowing,
            Promotion(authority, shadowing=shadowing),
            rollback,
            Revoking(authority, rollback),
        )

    @classmethod
    def open(cls, home: Home, plane: DataPlane, models: Path, clock: Callable[[], int]) -> Self:
        """Make them for a folder that `governance init` made.

        Raises:
            GovernanceError: the folder lacks its settings or the gateway's key.

        """
        found = settings.load(home)
        authority = Authority(
            home,
            plane,
            models,
            found.gateway,
            settings.signer(home, settings.GATEWAY_KEY),
            lambda: settings.open_ledger(home, found),
            clock,
        )
        return cls.of(authority)

    def rounds(self, denials: Denials) -> Rounds:
        """What goes round beside the calls; it logs what was denied."""
        more = (partial(denials.flush, self.authority),)
        return Rounds(self.authority, self.shadowing, self.promotion, self.rollback, more)
