"""Several arrays as bytes, the same arrays always the same bytes (a zip has times in it)."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"SGARRAY1"
Arrays = Mapping[str, npt.NDArray[Any]]


def pack(arrays: Arrays) -> bytes:
    """Arrays by name, in the order of their names: for each its name and its .npy, with lengths."""
    parts = [MAGIC]
    for name in sorted(arrays):
        out = io.BytesIO()
        np.save(out, arrays[name], allow_pickle=False)
        label, held = name.encode(), out.getvalue()
        parts += [struct.pack("<QQ", len(label), len(held)), label, held]
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """What `pack` made.

    Raises:
        ValueError: it is nothing of that kind.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("it is no archive of arrays")
    found: dict[str, npt.NDArray[Any]] = {}
    at = len(MAGIC)
    while at < len(data):
        try:
            label, held = struct.unpack_from("<QQ", data, at)
        except struct.error as error:
            raise ValueError("the archive ends in the middle") from error
        at += 16
        if at + label + held > len(data):
            raise ValueError("the archive ends in the middle")
        name = data[at : at + label].decode()
        found[name] = np.load(io.BytesIO(data[at + label : at + label + held]), allow_pickle=False)
        at += label + held
    return found
