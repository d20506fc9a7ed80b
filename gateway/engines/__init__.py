"""Engines in Python: the twin of the data plane's engine contract.

An engine is a callable `open(model, bucket, lane) -> Lane`, found by the name that a model's
contract gives it: those of this package, and what other packages offer under the entry point
group `sluicegate.engines`. The lane's thread takes Python's lock once a batch.
"""

from gateway.engines.contract import (
    BadInput,
    Bucket,
    Buffers,
    DeviceLost,
    EngineError,
    Lane,
    Model,
    Tensor,
)
from gateway.engines.registry import find, open_lane

__all__ = [
    "BadInput",
    "Bucket",
    "Buffers",
    "DeviceLost",
    "EngineError",
    "Lane",
    "Model",
    "Tensor",
    "find",
    "open_lane",
]
