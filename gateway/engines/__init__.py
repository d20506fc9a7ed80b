"""Engines in Python: the twin of the data plane's engine contract.

An engine is a callable `open(model, bucket, lane) -> Lane`, found by the name that a model's
contract gives it: those of this package, and what other packages offer under the entry point
group `sluicegate.engines`. The lane's thread takes Python's lock once a batch. Beside it in its
module there may be `check_options(options)`, which raises EngineError for a table `[engines.NAME]`
that the engine cannot use; without it the engine takes no options.
"""

from gateway.engines.contract import (
    BadInput,
    Bucket,
    Buffers,
    ChangingLane,
    DeviceLost,
    EngineError,
    Lane,
    Model,
    Tell,
    Tensor,
)
from gateway.engines.registry import check_options, find, open_lane

__all__ = [
    "BadInput",
    "Bucket",
    "Buffers",
    "ChangingLane",
    "DeviceLost",
    "EngineError",
    "Lane",
    "Model",
    "Tell",
    "Tensor",
    "check_options",
    "find",
    "open_lane",
]
