"""A process that fits sees its own folder and the programs that it needs, and nothing else.

Linux's Landlock (kernel 5.13 and later; no privileges needed): after `confine` no file outside the
listed folders can be opened, by this process and all that it starts, whoever it runs as, root too.
Where the kernel has none, `confine` says so, and the held-out set is protected by its encryption
and by file permissions alone.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

# The same numbers on every architecture that Linux got after 2021's renumbering.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH, _NO_NEW_PRIVILEGES, _DEATH_SIGNAL = 1, 1, 38, 1
# Access rights of ABI 1: execute, write_file, read_file, read_dir, and 9 that make and remove.
_EXECUTE, _WRITE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_ALL_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_ONLY = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE | _IOCTL
_GIB = 1 << 30


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Landlock's version in this kernel; 0 if there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def programs() -> tuple[Path, ...]:
    """Folders from which Python, its packages and the system's libraries are read."""
    packages = Path(__file__).resolve().parents[2]
    own = [packages / name for name in ("trainer", "gateway", "governance")]
    system = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/opt")]
    return tuple(p for p in (Path(sys.prefix), Path(sys.base_prefix), *own, *system) if p.exists())


def confine(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Limit this process to the folders; whether the kernel does so.

    Args:
        read: folders and files to be read and run from.
        write: folders in which everything may be done.

    Raises:
        OSError: the kernel has Landlock and refuses.
    """
    abi = version()
    if abi < 1:
        return False
    handled = _ALL_1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    rules = _Ruleset(handled)
    ruleset = _checked(
        libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), 0)
    )
    try:
        for paths, rights in ((read, _READ), (write, handled)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        _checked(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def limit(cores: int, memory_gib: float, nice: int) -> None:
    """Give way: lowest shares of the processor, so many cores, so much memory of its own.

    The memory is what a process may allocate (RLIMIT_DATA); more of it is a MemoryError there.
    """
    if sys.platform.startswith("linux"):
        # Who waits for this process may be killed at any moment; nothing is to go on without it.
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    give_way(nice)
    # Best effort where the cores are fewer than asked for.
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-cores:])
    most = int(memory_gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    within = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (within, hard))


def give_way(nice: int) -> None:
    """Lower this process's priority to `nice`; one that is lower already stays."""
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    if not path.is_dir():
        rights &= _FILE_ONLY
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _Beneath(rights, handle)
        _checked(libc.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(handle)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "landlock")
    return result
