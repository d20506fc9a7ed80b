"""How a process beside the serving one behaves: it gives way, and ends when it should.

Whatever happens here, callers go first: it runs at a lower priority, and is what the kernel ends
first when memory runs out. One that the server started ends with the server, also with one that
was killed, so that the next server's own does not meet it.
"""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

# What people ask for takes some tens of milliseconds more while a core is busy. Any lower, and a
# rollback would take more than a tenth of a second.
NICE: Final = 8
# From -1000, never, to 1000, first.
OUT_OF_MEMORY: Final = 500
LOOK_SECONDS: Final = 1.0


def give_way() -> None:
    """Let callers have the core and the memory; from whatever it was started with, no further."""
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICE))
    # Not on every system.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY))


class Stop:
    """Says when to end: after SIGTERM or SIGINT, or once `parent` is not our parent any more."""

    def __init__(self, parent: int | None = None) -> None:
        self._asked, self._parent = threading.Event(), parent
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._asked.set())

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether to end."""
        return self._asked.wait(seconds) or self._left()

    def forever(self) -> None:
        """Wait until the end."""
        while not self.wait(LOOK_SECONDS):
            pass

    def _left(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent
