"""What a result was measured on."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("sluicegate", "onnxruntime", "grpcio", "numpy")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, kernel and versions; nothing that names the machine."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "virtualised": "hypervisor" in processor_flags(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def processor_flags() -> frozenset[str]:
    """What the processor can do, by the kernel's names; empty where it does not say."""
    return frozenset(_field("/proc/cpuinfo", "flags").split())


# Reads the clock as fast as it can and notes every gap of over 200 µs: time that the machine took.
_SPIN = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
end, last, gaps = time.perf_counter_ns() + int(3e9), time.perf_counter_ns(), []
while last < end:
    now = time.perf_counter_ns()
    if now - last > 200_000:
        gaps.append((now - last) / 1e3)
    last = now
print(len(gaps), max(gaps, default=0))
"""


@cache
def pauses() -> dict[str, float]:
    """How often a core that does nothing but read the clock is held up, with every core busy.

    Gaps of over 200 µs a second and core, and the longest in µs: no latency below the share of
    time that they take can be held against a server.
    """
    seconds, cores = 3, os.cpu_count() or 1
    command = [sys.executable, "-c", _SPIN]
    spins = [
        subprocess.Popen([*command, str(core)], stdout=subprocess.PIPE, text=True)
        for core in range(cores)
    ]
    found = [spin.communicate()[0].split() for spin in spins]
    count = sum(int(gaps) for gaps, _ in found)
    return {
        "a_second": round(count / seconds / cores, 2),
        "longest_us": max(float(longest) for _, longest in found),
    }


def _field(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
