"""One model on one lane: arrays on the host, and what runs them."""

from collections.abc import Callable
from threading import Lock
from typing import Protocol

from gateway.engines.contract import Bucket, Buffers, EngineError, Tell
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

    Until a plan is ready the runner may be ONNX Runtime, or none: then the data plane's own one
    answers. `take` puts the GPU in its place between two batches: the arrays stay. `host` is where
    they are.
    """

    def __init__(
        self, host: HostArrays, runner: Runner | None, about: str, note: str | None = None
    ) -> None:
        self.host, self._about, self._note = host, about, note
        self.ready = runner is not None
        self._runner: Runner = runner or _None("the data plane runs this lane's batches")
        self._tells: list[Tell] = []
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
        return f"{self._about}; {self._note}" if self._note else self._about

    def watch(self, tell: Tell) -> None:
        """Tell what runs the model, and each time that changes."""
        with self._changing:
            self._tells.append(tell)
            tell(self._about, self._note, self.ready)

    def take(self, runner: Runner, about: str) -> None:
        """Run batches with another runner from now on; a closed lane closes it."""
        with self._changing:
            if not self._closed:
                # What another runner left in the arrays, this one does not know.
                self.host.forget()
                # Who runs a batch now keeps the old one until it is done.
                self._runner, self._about, self._note, self.ready = runner, about, None, True
                self._told()
                return
        runner.close()

    def note(self, note: str) -> None:
        """Change what is said of the lane."""
        with self._changing:
            self._note = note
            self._told()

    def _told(self) -> None:
        for tell in self._tells:
            tell(self._about, self._note, self.ready)

    def when_closed(self, then: Callable[[], None]) -> None:
        """Call this after the lane is closed."""
        self._after.append(then)

    def close(self) -> None:
        """Free everything. May be called twice."""
        with self._changing:
            self._closed = True
            after, self._after = self._after, []
            self._tells.clear()
        self._runner.close()
        self._runner = _None("the lane is closed")
        for then in after:
            then()


class _None:
    """Runs nothing, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def run(self, rung: Bucket) -> None:
        raise EngineError(f"{rung}: {self._why}")

    def close(self) -> None:
        """Nothing is held."""
