"""The generator's file of samples: one latency a request."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE = np.dtype([("at_ns", "<u8"), ("latency_us", "<u4"), ("status", "u1")])


def latencies(samples: Path) -> NDArray[np.uint32]:
    """µs of every good answer of a window, uint32 [n]."""
    read = np.fromfile(samples, SAMPLE)
    found: NDArray[np.uint32] = read["latency_us"][read["status"] == 0]
    return found
