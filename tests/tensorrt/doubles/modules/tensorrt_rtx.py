"""A double of `tensorrt_rtx`: as `tensorrt`, with what only that flavour has."""

from __future__ import annotations

import enum
import os
from typing import Any

import tensorrt
from tensorrt import *  # noqa: F403
from tensorrt import ExecutionContextAllocationStrategy, Runtime

__version__ = os.environ.get("TENSORRT_RTX_DOUBLE_VERSION", "1.7.1.116")


class ComputeCapability(enum.Enum):
    NONE = 0
    CURRENT = 1
    SM75 = 75
    SM80 = 80
    SM86 = 86
    SM89 = 89
    SM120 = 120


class EngineValidity(enum.Enum):
    VALID = 0
    SUBOPTIMAL = 1
    INVALID = 2


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class BuilderFlag(enum.Enum):
    REFIT = 0
    TF32 = 1
    STRIP_PLAN = 2
    REQUIRE_USER_ALLOCATION = 3


class _Config(tensorrt.Config):
    num_compute_capabilities = 0

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[ComputeCapability] = []

    def set_compute_capability(self, target: ComputeCapability, index: int) -> bool:
        self.targets.append(target)
        return True


class Builder(tensorrt.Builder):
    def create_builder_config(self) -> _Config:
        return _Config()


class _RuntimeCache:
    def __init__(self) -> None:
        self._held = b""

    def deserialize(self, held: bytes) -> bool:
        self._held = bytes(held)
        return True

    def serialize(self) -> bytes:
        return self._held or b"kernels"


class _RuntimeConfig:
    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
    strategy = ExecutionContextAllocationStrategy.STATIC

    def create_runtime_cache(self) -> _RuntimeCache:
        return _RuntimeCache()

    def set_runtime_cache(self, cache: _RuntimeCache) -> bool:
        return True

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self.strategy = strategy


class _Engine(tensorrt.Engine):
    def create_runtime_config(self) -> _RuntimeConfig:
        return _RuntimeConfig()

    def create_execution_context(self, how: Any = None) -> Any:
        strategy = how.strategy if isinstance(how, _RuntimeConfig) else how
        made = super().create_execution_context(
            strategy or ExecutionContextAllocationStrategy.STATIC
        )
        if made is not None:
            made.is_stream_capturable = lambda stream: True
        return made


class Runtime(Runtime):  # type: ignore[no-redef]
    def get_engine_validity(self, plan: bytes) -> tuple[EngineValidity, int]:
        # As the real one: an H100 is no target.
        if os.environ.get("DRIVER_DOUBLE_CAPABILITY", "90") == "90":
            return EngineValidity.INVALID, 4
        return EngineValidity.VALID, 0

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        made = super().deserialize_cuda_engine(plan)
        if made is not None:
            made.__class__ = _Engine
        return made
