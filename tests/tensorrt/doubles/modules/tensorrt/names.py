"""Enumerations and bases of the double of `tensorrt`."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence

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
