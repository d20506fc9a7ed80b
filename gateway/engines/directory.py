"""Reads a model directory as the data plane does: each byte against the manifest."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import _native
from gateway.engines.contract import EngineError, Model, Tensor

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Verified:
    """A model, the engine that its contract names, and tokens of a row at most (1 without text)."""

    model: Model
    engine: str
    digest: str
    max_length: int

    @property
    def is_batched(self) -> bool:
        """Whether requests bring rows that may share a batch."""
        return all(tensor.shape[:1] == (-1,) for tensor in self.model.inputs)


def read(path: Path) -> Verified:
    """Read a model directory; the bytes given back are those that were checked.

    Raises:
        EngineError: it does not verify, or changed meanwhile.

    """
    try:
        digest: str = json.loads(_native.verify(path))["digest"]
    except ValueError as error:
        raise EngineError(str(error)) from error
    try:
        manifest = (path / MANIFEST).read_bytes()
        same = digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        files = {}
        for listed in json.loads(manifest)["files"] if same else []:
            data = files[listed["path"]] = (path / listed["path"]).read_bytes()
            same &= hashlib.sha256(data).hexdigest() == listed["sha256"]
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from error
    if not same:
        raise EngineError(f"{path} was changed while it was read")
    contract = tomllib.loads(files["contract.toml"].decode())
    text = contract.get("text")
    pad = {text["ids"]: text.get("pad", 0)} if text else {}
    model = Model(
        _inputs(contract),
        _tensors(contract["outputs"]),
        files,
        contract.get("graph"),
        path.parent.name,
        pad,
    )
    return Verified(model, contract["engine"], digest, text["max_tokens"] if text else 1)


def _tensors(told: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(t["name"], t["datatype"], tuple(t["shape"])) for t in told)


def _inputs(contract: dict[str, Any]) -> tuple[Tensor, ...]:
    """The tensors that the engine takes: the callers' own, or the tokens of their text."""
    text = contract.get("text")
    if not text:
        return _tensors(contract["inputs"])
    names = [text[key] for key in ("ids", "mask", "types") if text.get(key)]
    return tuple(Tensor(name, text["datatype"], (-1, -1)) for name in names)
