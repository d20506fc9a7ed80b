"""One model on one lane: arrays on the host, and what runs them."""

import json
import sys
import time
from collections.abc import Callable
from threading import Lock
from typing import Protocol

from gateway.engines.contract import Bucket, Buffers, EngineError
from gateway.engines.tensorrt.host import HostArrays


class Runner(Protocol):
    """Runs rungs over a lane's blocks."""

    def run(self, rung: Bucket) -> None:
        """Run a rung and wait for it."""
        ...

    def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...


class TensorRTLane:
    """A lane; used by one thread at a time, but for the one that brings another runner.

    Until a plan is ready the runner may be ONNX Runtime. `take` puts the GPU in its place between
    two batches: the arrays stay. `host` is where they are.
    """

    def __init__(self, host: HostArrays, runner: Runner, about: str) -> None:
        self.host, self._runner, self._about = host, runner, about
        self._changing = Lock()
        self._closed = False
        self._after: list[Callable[[], None]] = []

    def buffers(self, bucket: Bucket) -> Buffers:
        """Arrays of this bucket, in pinned memory where there is a GPU.

        Buckets share memory: what one's batch wrote is there until the next batch of any.
        """
        return self.host.hold(bucket).buffers

    def run(self, bucket: Bucket, rows: int) -> None:
        """Run the batch in the least rung that holds it, and wait."""
        held = self.host.hold(bucket)
        self.host.pad(held, bucket, rows)
        self._runner.run(held.rung)

    def warm(self, bucket: Bucket) -> None:
        """Run it once; everything was bound when the lane was opened."""
        self.run(bucket, bucket.rows)

    def describe(self) -> str:
        """What runs the model now, and what is still to come."""
        return self._about

    def take(self, runner: Runner, about: str) -> None:
        """Run batches with another runner from now on; a closed lane closes it."""
        with self._changing:
            if not self._closed:
                # Who runs a batch now keeps the old one until it is done.
                self._runner, self._about = runner, about
                return
        runner.close()

    def tell(self, about: str) -> None:
        """Change what is said of the lane."""
        self._about = about

    def when_closed(self, then: Callable[[], None]) -> None:
        """Call this after the lane is closed."""
        self._after.append(then)

    def close(self) -> None:
        """Free everything. May be called twice."""
        with self._changing:
            self._closed = True
            after, self._after = self._after, []
        self._runner.close()
        self._runner = _Closed()
        for then in after:
            then()


class _Closed:
    """Runs nothing."""

    def run(self, rung: Bucket) -> None:
        raise EngineError(f"{rung}: the lane is closed")

    def close(self) -> None:
        """Nothing is held."""


def event(name: str, **more: object) -> None:
    """Write an event as the server writes its own: one JSON line on standard error."""
    told = {"time": round(time.time(), 3), "event": name} | more
    sys.stderr.write(json.dumps(told) + "\n")
    sys.stderr.flush()
