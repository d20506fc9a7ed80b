"""A double of `tensorrt`: the names that the backend uses, over ONNX Runtime.

A plan is the graph and its profiles. Work is queued on the driver double's stream as a host
function, so order, buffers, profiles and capture are those of a device.

Environment, read when used: TENSORRT_DOUBLE_VERSION; TENSORRT_DOUBLE_BUILD_SECONDS (a build takes
so long); TENSORRT_DOUBLE_FAIL (`build`, `deserialize` or `context` gives None); and
TENSORRT_DOUBLE_SCALE (outputs are so much too large).
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__ = os.environ.get("TENSORRT_DOUBLE_VERSION", "11.4.0.106")

Shape = Sequence[int]


class ILogger:
    """Base of loggers."""

    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: ILogger.Severity, msg: str) -> None: ...


class Logger(ILogger):
    def __init__(self, least: ILogger.Severity = ILogger.Severity.WARNING) -> None: ...


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    REFIT = 0
    TF32 = 1
    STRIP_PLAN = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class IProgressMonitor:
    def phase_start(self, name: str, parent: str | None, steps: int) -> None: ...
    def phase_finish(self, name: str) -> None: ...
    def step_complete(self, name: str, step: int) -> bool: ...


_NUMPY = {
    DataType.FLOAT: np.dtype(np.float32),
    DataType.HALF: np.dtype(np.float16),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT32: np.dtype(np.int32),
    DataType.INT64: np.dtype(np.int64),
    DataType.BOOL: np.dtype(np.bool_),
}
_ONNX = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int8)": DataType.INT8,
    "tensor(int32)": DataType.INT32,
    "tensor(int64)": DataType.INT64,
    "tensor(bool)": DataType.BOOL,
}
# Bytes of device memory that every engine of the double asks for.
ACTIVATIONS = 4096


def _fails(what: str) -> bool:
    return what in os.environ.get("TENSORRT_DOUBLE_FAIL", "").split(",")


def _session(graph: bytes, weights: dict[str, NDArray[Any]] | None = None) -> tuple[Any, list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Neither options nor session keep what they are given.
    kept = []
    for name, value in (weights or {}).items():
        kept.append(onnxruntime.OrtValue.ortvalue_from_numpy(value))
        options.add_initializer(name, kept[-1])
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(graph, options, providers=providers)
    return session, kept


class _Tensor:
    def __init__(self, value: Any) -> None:
        self.name, self.dtype = value.name, _ONNX[value.type]
        self.symbols = list(value.shape)
        self.shape = tuple(d if isinstance(d, int) else -1 for d in value.shape)


class _Network:
    graph = b""

    def _read(self) -> None:
        session, _ = _session(self.graph)
        self._inputs = [_Tensor(value) for value in session.get_inputs()]
        self._outputs = [_Tensor(value) for value in session.get_outputs()]

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> _Tensor:
        return self._inputs[index]

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> _Tensor:
        return self._outputs[index]


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, least: Shape, best: Shape, most: Shape) -> None:
        self.shapes[name] = [list(least), list(best), list(most)]


class _TimingCache:
    def __init__(self, held: bytes) -> None:
        self._held = held

    def serialize(self) -> bytes:
        return self._held


class _Config:
    builder_optimization_level = 3
    max_aux_streams = 0
    progress_monitor: IProgressMonitor | None = None

    def __init__(self) -> None:
        self.profiles: list[_Profile] = []
        self.flags: set[BuilderFlag] = set()
        self._timing = _TimingCache(b"")

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None: ...

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def create_timing_cache(self, held: bytes) -> _TimingCache:
        return _TimingCache(held or b"timed")

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self._timing = cache
        return True

    def get_timing_cache(self) -> _TimingCache:
        return self._timing


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> _Network:
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        monitor = config.progress_monitor
        if monitor:
            monitor.phase_start("Building", None, 2)
        time.sleep(float(os.environ.get("TENSORRT_DOUBLE_BUILD_SECONDS", "0")))
        if monitor:
            monitor.step_complete("Building", 0)
            monitor.phase_finish("Building")
        if _fails("build"):
            self._logger.log(ILogger.Severity.ERROR, "no tactic for node 'z0'")
            return None
        head = {
            "version": __version__,
            "refit": BuilderFlag.REFIT in config.flags,
            "profiles": [profile.shapes for profile in config.profiles],
        }
        return json.dumps(head).encode() + b"\0" + network.graph


class _ParserError:
    def desc(self) -> str:
        return "this is not an ONNX graph"

    def node_operator(self) -> str:
        return ""

    def node_name(self) -> str:
        return "graph"


class OnnxParser:
    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network, self.num_errors = network, 0

    def parse(self, graph: bytes) -> bool:
        self._network.graph = bytes(graph)
        try:
            self._network._read()
        except Exception:
            self.num_errors = 1
            return False
        return True

    def parse_from_file(self, path: str) -> bool:
        return self.parse(Path(path).read_bytes())

    def get_error(self, index: int) -> _ParserError:
        return _ParserError()


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        head, _, graph = bytes(plan).partition(b"\0")
        told = json.loads(head)
        if _fails("deserialize") or told["version"] != __version__:
            self._logger.log(ILogger.Severity.ERROR, "the plan is of another version")
            return None
        return _Engine(told, graph)


class _Engine:
    def __init__(self, told: dict[str, Any], graph: bytes) -> None:
        self.graph, self.profiles, self.refittable = graph, told["profiles"], told["refit"]
        self._load({})

    def _load(self, weights: dict[str, NDArray[Any]]) -> None:
        self.session, self._kept = _session(self.graph, weights)
        inputs = {v.name: (TensorIOMode.INPUT, _Tensor(v)) for v in self.session.get_inputs()}
        outputs = {v.name: (TensorIOMode.OUTPUT, _Tensor(v)) for v in self.session.get_outputs()}
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
    ) -> _Context | None:
        return None if _fails("context") else _Context(self, strategy)


_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Context:
    def __init__(self, engine: _Engine, strategy: ExecutionContextAllocationStrategy) -> None:
        self._driver = ctypes.PyDLL("libcuda.so.1")
        self._engine, self._profile = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._queued: dict[Any, Any] = {}
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
        shape, kind = self.get_tensor_shape(name), _NUMPY[self._engine.get_tensor_dtype(name)]
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
            for name, value in zip(taken, engine.session.run(taken, given), strict=True):
                arrays[name][...] = value if scale == 1 else value * scale

        return work

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._memory or self.infer_shapes():
            return False
        # As at the launch of a kernel: shapes and addresses are those of this moment.
        key = (tuple(self._shapes.items()), tuple(self._addresses.items()))
        if key not in self._queued:
            self._queued[key] = _HOST_FUNCTION(self._work())
        stream = ctypes.c_void_p(stream_handle)
        queued: int = self._driver.cuLaunchHostFunc(stream, self._queued[key], None)
        return queued == 0


class Refitter:
    """Sets initializers anew."""

    def __init__(self, engine: _Engine, logger: ILogger) -> None:
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
