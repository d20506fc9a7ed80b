"""Pinned memory as numpy arrays, and device memory; both freed by hand.

pycuda frees where its context is current, and lanes end on threads where it is not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.engines.tensorrt.driver import Device

Bytes = NDArray[np.uint8]


class Memory:
    """What one lane holds of a GPU's memory and of pinned memory."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pinned: list[Any] = []
        self._held: list[Any] = []

    def pinned(self, size: int) -> Bytes:
        """Zeroed pinned memory of `size` bytes; the array dies with `close`."""
        with self._device.current():
            array: Bytes = self._device.cuda.pagelocked_empty(max(size, 1), np.uint8)
        array[:] = 0
        self._pinned.append(array.base)
        return array[:size]

    def on_device(self, size: int) -> int:
        """Device memory of `size` bytes, zeroed; its address."""
        with self._device.current():
            held = self._device.cuda.mem_alloc(max(size, 1))
            self._held.append(held)
            self._device.cuda.memset_d8(held, 0, max(size, 1))
        return int(held)

    def put(self, address: int, array: NDArray[Any]) -> None:
        """Copy an array to the device, and wait for it."""
        with self._device.current():
            self._device.cuda.memcpy_htod(address, np.ascontiguousarray(array))

    def close(self) -> None:
        """Free everything. May be called twice."""
        held, self._held, self._pinned = [*self._held, *self._pinned], [], []
        if not held or self._device.lost:
            # A lost device's memory goes with the process.
            return
        with self._device.current():
            for each in held:
                each.free()
