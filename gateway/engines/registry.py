"""Which engine a name stands for."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Lane, Model, Tensor

Open = Callable[[Model, Bucket, int], Lane]

GROUP = "sluicegate.engines"
BUILT_IN: Mapping[str, str] = {
    "numpy": "gateway.engines.numpy_identity",
    "openvino": "gateway.engines.openvino",
    "tensorrt": "gateway.engines.tensorrt",
}


def find(name: str) -> Open:
    """The engine of this name.

    Raises:
        EngineError: there is none, or what it needs is not installed.

    """
    try:
        if name in BUILT_IN:
            opened: Open = import_module(BUILT_IN[name]).open_lane
            return opened
        for offered in entry_points(group=GROUP, name=name):
            found: Open = offered.load()
            return found
    except ImportError as error:
        raise EngineError(f"engine '{name}' needs what is not installed: {error}") from error
    known = sorted({*BUILT_IN, *(e.name for e in entry_points(group=GROUP))})
    raise EngineError(f"there is no engine '{name}'; there are {', '.join(known)}")


def open_lane(name: str, told: str, files: dict[str, bytes], lane: int) -> Lane:
    """Open a model for the data plane; `told` is JSON: inputs, outputs, graph, rows, length."""
    said: dict[str, Any] = json.loads(told)

    def tensors(key: str) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(t["name"], t["datatype"], tuple(t["shape"]), t.get("max_bytes"))
            for t in said[key]
        )

    model = Model(tensors("inputs"), tensors("outputs"), files, said["graph"])
    return find(name)(model, Bucket(said["rows"], said["length"]), lane)
