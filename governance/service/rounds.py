"""What the service does by itself: it looks, counts, settles what is open, and takes back in time.

Every part is tried in every round; what fails is said once and tried again in the next.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from governance.errors import GovernanceError
from governance.service.authority import Authority
from governance.service.promotion import Promotion
from governance.service.rollback import Rollback
from governance.service.shadowing import Shadowing

SECONDS = 0.5
# What is live is compared with the ledger more seldom: the status page is long.
EVERY = 10


class Rounds:
    """Goes round until it is stopped."""

    def __init__(
        self,
        authority: Authority,
        shadowing: Shadowing,
        promotion: Promotion,
        rollback: Rollback,
        more: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`more` is done in every round too."""
        self._authority, self._shadowing = authority, shadowing
        self._promotion, self._rollback = promotion, rollback
        self._more = more
        self._stop = threading.Event()
        self._said: dict[str, str] = {}
        self._count = 0

    def run(self) -> None:
        """Go round every half second until `stop`."""
        while not self._stop.wait(SECONDS):
            self.once()

    def stop(self) -> None:
        """End after the round that runs."""
        self._stop.set()

    def once(self) -> None:
        """One round."""
        for model in self._rollback.owed():
            self._try(f"rollback of {model}", partial(self._rollback.settle, model))
        if self._count % EVERY == 0:
            for model in self._known():
                self._try(f"promotion of {model}", partial(self._settle, model))
                self._try(f"glass of {model}", partial(self._rollback.expire, model))
        self._try("comparisons", self._shadowing.tick)
        for act in self._more:
            self._try("entries", act)
        self._count += 1

    def _settle(self, model: str) -> None:
        # While a rollback is owed the ledger lags behind what is live.
        if model not in self._rollback.owed():
            self._promotion.settle(model)

    def _known(self) -> list[str]:
        with suppress(GovernanceError):
            return sorted(self._authority.registry.models)
        return []

    def _try(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            # Whatever it was: a thread that ended would leave comparisons uncounted unseen.
            if self._said.get(what) != str(error):
                say("failed", what=what, error=f"{type(error).__name__}: {error}")
            self._said[what] = str(error)
        else:
            if self._said.pop(what, None) is not None:
                say("recovered", what=what)


def say(event: str, **fields: object) -> None:
    """Write an event on standard error, one JSON object a line."""
    with suppress(OSError):
        line = {"time": round(time.time(), 3), "event": event, **fields}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()
