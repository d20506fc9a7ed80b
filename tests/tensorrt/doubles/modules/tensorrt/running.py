"""Runtime, engines and contexts of the double: work is queued on the driver double."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensorrt import kernels
from tensorrt.graphs import NUMPY, Tensor, fails, session_of
from tensorrt.names import (
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    Shape,
    TensorIOMode,
    __version__,
)

# Bytes of device memory that every engine of the double asks for.
ACTIVATIONS = 4096


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        head, _, graph = bytes(plan).partition(b"\0")
        told = json.loads(head)
        if fails("deserialize") or told["version"] != __version__:
            self._logger.log(ILogger.Severity.ERROR, "the plan is of another version")
            return None
        return Engine(told, graph)


class Engine:
    def __init__(self, told: dict[str, Any], graph: bytes) -> None:
        self.graph, self.profiles, self.refittable = graph, told["profiles"], told["refit"]
        self._load({})

    def _load(self, weights: dict[str, NDArray[Any]]) -> None:
        self.session, self._kept = session_of(self.graph, weights)
        inputs = {v.name: (TensorIOMode.INPUT, Tensor(v)) for v in self.session.get_inputs()}
        outputs = {v.name: (TensorIOMode.OUTPUT, Tensor(v)) for v in self.session.get_outputs()}
        self.tensors = inputs | outputs
        self.names = list(self.tensors)

    device_memory_size_v2 = ACTIVATIONS

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self.profiles))

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self.tensors[name][0] if name in self.tensors else TensorIOMode.NONE

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name][1].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][1].shape

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC,
    ) -> Context | None:
        return None if fails("context") else Context(self, strategy)


HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Context:
    def __init__(self, engine: Engine, strategy: ExecutionContextAllocationStrategy) -> None:
        self._driver = ctypes.PyDLL("libcuda.so.1")
        self._engine, self._profile = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._queued: dict[Any, Any] = {}
        self._kernels: kernels.Kernels | None = None
        managed = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        self._memory = 0 if managed else 1

    def set_device_memory(self, memory: int, size: int) -> None:
        self._memory = memory if size >= ACTIVATIONS else 0

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._profile = profile
        return profile < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        if self._engine.profiles and name in self._engine.profiles[self._profile]:
            least, _, most = self._engine.profiles[self._profile][name]
        else:
            least = most = list(self._engine.get_tensor_shape(name))
        fits = all(a <= x <= b for a, x, b in zip(least, shape, most, strict=False))
        if len(shape) != len(least) or not fits:
            return False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        tensors = self._engine.tensors.items()
        inputs = [n for n, (mode, t) in tensors if mode is TensorIOMode.INPUT and -1 in t.shape]
        return [name for name in inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        sizes: dict[str, int] = {}
        for given, shape in self._shapes.items():
            symbols = self._engine.tensors[given][1].symbols
            sizes |= {d: n for d, n in zip(symbols, shape, strict=True) if isinstance(d, str)}
        symbols = self._engine.tensors[name][1].symbols
        return tuple(d if isinstance(d, int) else sizes.get(d, -1) for d in symbols)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = int(address)
        return name in self._engine.tensors

    def _array(self, name: str) -> NDArray[Any]:
        shape, kind = self.get_tensor_shape(name), NUMPY[self._engine.get_tensor_dtype(name)]
        size = int(np.prod(shape)) * kind.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)

    def _work(self) -> Callable[[Any], None]:
        engine = self._engine
        arrays = {name: self._array(name) for name in engine.names}
        given = {n: a for n, a in arrays.items() if engine.get_tensor_mode(n) is TensorIOMode.INPUT}
        taken = [n for n in engine.names if n not in given]

        def work(_: Any) -> None:
            scale = float(os.environ.get("TENSORRT_DOUBLE_SCALE", "1"))
            shared = os.environ.get("TENSORRT_DOUBLE_NEIGHBOURS")
            more = sum(a.sum() * 0 for a in given.values()) if shared else 0
            for name, value in zip(taken, engine.session.run(taken, given), strict=True):
                arrays[name][...] = value * scale + more if scale != 1 or shared else value

        return work

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._memory or self.infer_shapes():
            return False
        if kernels.wanted():
            return self._launch(ctypes.c_void_p(stream_handle))
        # As at the launch of a kernel: shapes and addresses are those of this moment.
        key = (tuple(self._shapes.items()), tuple(self._addresses.items()))
        if key not in self._queued:
            self._queued[key] = HOST_FUNCTION(self._work())
        stream = ctypes.c_void_p(stream_handle)
        queued: int = self._driver.cuLaunchHostFunc(stream, self._queued[key], None)
        return queued == 0

    def _launch(self, stream: ctypes.c_void_p) -> bool:
        (given, (rows, _)), (y,) = next(iter(self._shapes.items())), self._outputs()
        if self._kernels is None:
            self._kernels = kernels.Kernels(self._engine.graph, self._driver, rows)
        self._kernels.launch(self._addresses[given], self._addresses[y], rows, stream)
        return True

    def _outputs(self) -> list[str]:
        tensors = self._engine.tensors.items()
        return [name for name, (mode, _) in tensors if mode is TensorIOMode.OUTPUT]

    def __del__(self) -> None:
        if self._kernels is not None:
            self._kernels.close()


class Refitter:
    """Sets initializers anew."""

    def __init__(self, engine: Engine, logger: ILogger) -> None:
        self._engine, self._logger = engine, logger
        self._weights: dict[str, NDArray[Any]] = {}

    def get_all_weights(self) -> list[str]:
        import onnx

        graph = onnx.load_from_string(self._engine.graph).graph
        return [each.name for each in graph.initializer]

    def set_named_weights(self, name: str, weights: NDArray[Any]) -> bool:
        if not self._engine.refittable or name not in self.get_all_weights():
            return False
        self._weights[name] = np.ascontiguousarray(weights)
        return True

    def get_missing_weights(self) -> list[str]:
        return []

    def refit_cuda_engine(self) -> bool:
        self._engine._load(self._weights)
        return True
