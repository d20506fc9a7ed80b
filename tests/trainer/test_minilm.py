"""Reading weights, on a made-up file."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from trainer.minilm import WeightsError, read_safetensors

BODY = np.arange(6, dtype="<f4").tobytes() + struct.pack("<2q", 7, 8)
HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    "ids": {"dtype": "I64", "shape": [2], "data_offsets": [24, 40]},
}


def file(**changes: Any) -> bytes:
    header = json.dumps(HEADER | changes).encode()
    return struct.pack("<Q", len(header)) + header + BODY


def test_float32_tensors_are_read_in_their_shapes() -> None:
    found = read_safetensors(file())
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [[0, 1], [2, 3]],
        "b": [4, 5],
    }
    assert found["a"].dtype == np.float32


@pytest.mark.parametrize(
    "told",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [16, 24]},
        {"dtype": "F32", "shape": [6], "data_offsets": [24, 48]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
    ],
)
def test_a_tensor_without_the_bytes_of_its_shape_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="'b' has not the bytes"):
        read_safetensors(file(b=told))


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, struct.pack("<Q", 2) + b"[]", file(b=3)])
def test_what_is_no_safetensors_file_is_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(WeightsError, match="no safetensors file"):
        read_safetensors(data)
