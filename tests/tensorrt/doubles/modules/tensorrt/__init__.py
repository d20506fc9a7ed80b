"""A double of `tensorrt`: the names that the backend uses, over ONNX Runtime.

A plan is the graph and its profiles. Work is queued on the driver double's stream as a host
function, so order, buffers, profiles and capture are those of a device.

Environment, read when used: TENSORRT_DOUBLE_VERSION; TENSORRT_DOUBLE_BUILD_SECONDS (a build takes
so long); TENSORRT_DOUBLE_FAIL (`build`, `deserialize` or `context` gives None); and
TENSORRT_DOUBLE_SCALE (outputs are so much too large), TENSORRT_DOUBLE_NEIGHBOURS (a NaN in one row
spoils all).
"""

from tensorrt.building import Builder, Config, OnnxParser
from tensorrt.names import (
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    IProgressMonitor,
    Logger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    __version__,
)
from tensorrt.running import Engine, Refitter, Runtime

__all__ = [
    "Builder",
    "BuilderFlag",
    "Config",
    "DataType",
    "Engine",
    "ExecutionContextAllocationStrategy",
    "ILogger",
    "IProgressMonitor",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "Refitter",
    "Runtime",
    "TensorIOMode",
    "__version__",
]
