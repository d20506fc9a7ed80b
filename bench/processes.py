"""A server with all its processes: found, paused, resumed and ended by their ids (Linux)."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 10.0
ROUNDS = 100
_STATE, _PARENT, _START = 0, 1, 19


@dataclass(frozen=True)
class Process:
    """A process; its start time tells it from a later one with the same id."""

    pid: int
    parent: int
    state: str
    started: int


def parse(stat: str) -> Process:
    """A process from the text of its /proc/PID/stat; its name may hold anything."""
    pid, _, rest = stat.partition(" ")
    fields = rest.rpartition(")")[2].split()
    return Process(int(pid), int(fields[_PARENT]), fields[_STATE], int(fields[_START]))


def descended(processes: list[Process], root: int) -> list[Process]:
    """The process `root` and all that descend from it, parents first."""
    found = [p for p in processes if p.pid == root]
    for parent in found:
        # Grows while it is walked through.
        found += [p for p in processes if p.parent == parent.pid]
    return found


def family(root: int) -> list[Process]:
    """The running process `root` and all that descend from it, parents first."""
    return descended(_running(), root)


def _running() -> list[Process]:
    processes = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            processes.append(parse(path.read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [p for p in processes if p.state != "Z"]


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def pause(root: int) -> None:
    """Stop a server and all its processes, so that it takes no time from another."""
    for _ in range(ROUNDS):
        running = [p for p in family(root) if p.state != "T"]
        if not running:
            return
        # Once more after that: a process may just have started another.
        for process in running:
            _signal(process, signal.SIGSTOP)
        time.sleep(0.01)


def resume(root: int) -> None:
    """Let a paused server go on."""
    for process in reversed(family(root)):
        _signal(process, signal.SIGCONT)


@contextmanager
def awake(root: int) -> Iterator[None]:
    """A paused server runs inside, and is paused again after."""
    resume(root)
    try:
        yield
    finally:
        pause(root)


def end(root: int) -> None:
    """End a server: it is asked first; what is left of its processes is killed.

    LitServe, asked by a signal, leaves its workers behind.
    """
    members = family(root)
    resume(root)
    for process in members[:1]:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while any(p.pid == root for p in _left(members)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in _left(members):
        _signal(process, signal.SIGKILL)


def _left(members: list[Process]) -> list[Process]:
    known = {(p.pid, p.started) for p in members}
    return [p for p in _running() if (p.pid, p.started) in known]
