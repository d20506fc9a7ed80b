"""A plan made into an engine on one GPU, shared by the lanes and models that run it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from gateway.engines.contract import EngineError, Tensor
from gateway.engines.tensorrt.driver import Device
from gateway.engines.tensorrt.flavour import Flavour

Weights = Mapping[str, NDArray[Any]]


class Engine:
    """An engine that does not change any more."""

    def __init__(self, flavour: Flavour, device: Device, plan: bytes, weights: Weights) -> None:
        self.flavour, self.device = flavour, device
        self.kernels_file: Path | None = None
        with device.current(), flavour.telling():
            self._runtime = flavour.made(flavour.trt.Runtime(flavour.logger), "made no runtime")
            flavour.refuse_invalid(self._runtime, plan, "this plan")
            self.trt = flavour.made(
                self._runtime.deserialize_cuda_engine(plan), "could not read a plan"
            )
            if weights:
                # Nobody runs it yet, so there is nothing to drain.
                refit(flavour, self.trt, weights)
        self.activation_bytes = int(self.trt.device_memory_size_v2)

    def names(self, mode: str) -> list[str]:
        """Its inputs (`INPUT`) or outputs (`OUTPUT`)."""
        wanted = getattr(self.flavour.trt.TensorIOMode, mode)
        names = [self.trt.get_tensor_name(i) for i in range(self.trt.num_io_tensors)]
        return [name for name in names if self.trt.get_tensor_mode(name) == wanted]

    def refuse_other_tensors(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], extra: Weights
    ) -> None:
        """Check names, types and fixed sizes against the model's.

        Raises:
            EngineError: they differ.

        """
        for tensors, mode in ((inputs, "INPUT"), (outputs, "OUTPUT")):
            names = self.names(mode)
            for tensor in tensors:
                if tensor.name not in names:
                    raise EngineError(f"the engine has no {mode.lower()} '{tensor.name}'")
                self._refuse(tensor)
            if mode == "INPUT":
                known = {*(t.name for t in tensors), *extra}
                if missing := [name for name in names if name not in known]:
                    raise EngineError(
                        f"the engine wants an input '{missing[0]}', the model has none"
                    )

    def _refuse(self, tensor: Tensor) -> None:
        kind = self.flavour.datatype(self.trt.get_tensor_dtype(tensor.name))
        if kind != tensor.datatype:
            raise EngineError(
                f"tensor '{tensor.name}' is {kind} in the engine, {tensor.datatype} in the contract"
            )
        shape = tuple(self.trt.get_tensor_shape(tensor.name))
        fits = len(shape) == len(tensor.shape) and all(
            -1 in (a, b) or a == b for a, b in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise EngineError(
                f"tensor '{tensor.name}' has shape {list(shape)} in the engine, "
                f"{list(tensor.shape)} in the contract"
            )


def refit(flavour: Flavour, engine: Any, weights: Weights) -> None:
    """Give an engine that nobody runs other weights, by initializers' names.

    Raises:
        EngineError: it cannot be refitted, or has no such weights.

    """
    refitter = flavour.made(
        flavour.trt.Refitter(engine, flavour.logger), "cannot refit (was the plan built for it?)"
    )
    known = set(refitter.get_all_weights())
    if unknown := sorted(set(weights) - known):
        raise EngineError(f"the engine has no weights '{unknown[0]}' that can be refitted")
    for name, value in weights.items():
        array = np.ascontiguousarray(value)
        flavour.made(refitter.set_named_weights(name, array), f"refused the weights '{name}'")
    if missing := list(refitter.get_missing_weights()):
        raise EngineError(f"to refit '{next(iter(weights))}', '{missing[0]}' must be given too")
    flavour.made(refitter.refit_cuda_engine(), "could not refit")


def digest_of(weights: Weights) -> str:
    """A digest of names, types, shapes and values."""
    made = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        made.update(f"{name}\n{value.dtype.str}\n{value.shape}\n".encode())
        made.update(value.tobytes())
    return made.hexdigest()


_SHARED: WeakValueDictionary[tuple[str, str, int], Engine] = WeakValueDictionary()
_SHARING = Lock()


def shared(flavour: Flavour, device: Device, plan: bytes, weights: Weights) -> Engine:
    """The engine of a plan and weights on a device; it lives as long as a lane holds it.

    The data plane opens each lane by itself, and models with one base do not know of each other:
    so what is shared is kept here.

    Raises:
        EngineError: the plan cannot be read.

    """
    key = (hashlib.sha256(plan).hexdigest(), digest_of(weights), device.ordinal)
    with _SHARING:
        found = _SHARED.get(key)
        if found is None:
            found = _SHARED[key] = Engine(flavour, device, plan, weights)
        return found
