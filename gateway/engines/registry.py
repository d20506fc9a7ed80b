"""Which engine a name stands for."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Lane, Model, Tensor

Open = Callable[[Model, Bucket, int], Lane]

GROUP = "sluicegate.engines"
# What the trainer judges and no gateway runs; no package can offer it.
OFFLINE = "offline"
BUILT_IN: Mapping[str, str] = {
    "numpy": "gateway.engines.numpy_identity",
    "openvino": "gateway.engines.openvino",
    "tensorrt": "gateway.engines.tensorrt",
}


def _found(name: str) -> tuple[ModuleType, Open]:
    """The engine of this name, and the module that it is in."""
    if name == OFFLINE:
        raise EngineError("this is an adapter that was judged offline; nothing serves one yet")
    try:
        if name in BUILT_IN:
            module = import_module(BUILT_IN[name])
            return module, module.open_lane
        for offered in entry_points(group=GROUP, name=name):
            found: Open = offered.load()
            return import_module(offered.module), found
    except ImportError as error:
        raise EngineError(f"engine '{name}' needs what is not installed: {error}") from error
    known = sorted({*BUILT_IN, *(e.name for e in entry_points(group=GROUP))})
    raise EngineError(f"there is no engine '{name}'; there are {', '.join(known)}")


def find(name: str) -> Open:
    """The engine of this name.

    Raises:
        EngineError: there is none, or what it needs is not installed.

    """
    return _found(name)[1]


def check_options(told: str) -> None:
    """Ask each engine whether it can use its table; `told` is JSON, engine to table.

    Raises:
        EngineError: a sentence that names the table.

    """
    for name, options in json.loads(told).items():
        check = getattr(_found(name)[0], "check_options", None)
        if check is None:
            raise EngineError(f"[engines.{name}]: engine '{name}' takes no options")
        check(options)


def open_lane(name: str, told: str, files: dict[str, bytes], lane: int) -> Lane:
    """Open a model for the data plane.

    `told` is JSON: the model's name, inputs, outputs, graph, pad and options, whether there is a
    stand-in, and rows and length of the largest bucket.
    """
    said: dict[str, Any] = json.loads(told)

    def tensors(key: str) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(t["name"], t["datatype"], tuple(t["shape"]), t.get("max_bytes"))
            for t in said[key]
        )

    model = Model(
        tensors("inputs"),
        tensors("outputs"),
        files,
        said["graph"],
        said["name"],
        dict([said["pad"]] if said["pad"] else []),
        said["options"] or {},
        said["stand_in"],
    )
    return find(name)(model, Bucket(said["rows"], said["length"]), lane)
