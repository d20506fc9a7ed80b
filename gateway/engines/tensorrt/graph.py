"""A CUDA graph: what was queued on a stream between two moments, launched again as one thing."""

import ctypes
from collections.abc import Callable
from contextlib import suppress

from gateway.engines.contract import DeviceLost, EngineError
from gateway.engines.tensorrt.driver import Device

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads' calls do not spoil this one's capture.
THREAD_LOCAL = 1


def capture(device: Device, stream: int, work: Callable[[], None]) -> ctypes.c_void_p | None:
    """Record what `work` queues on the stream, as an executable graph; None if it cannot be.

    The context must be current. The caller destroys the graph.

    Raises:
        DeviceLost: the device is gone.

    """
    calls, graph, made = device.calls, ctypes.c_void_p(), ctypes.c_void_p()
    if calls.cuStreamBeginCapture_v2(stream, THREAD_LOCAL):
        return None
    failed = False
    try:
        work()
    except DeviceLost:
        raise
    except EngineError:
        failed = True
    finally:
        # Also after a failure: a stream that goes on capturing runs nothing.
        status = calls.cuStreamEndCapture(stream, ctypes.byref(graph))
    with suppress(EngineError):
        if status == 0 and not failed:
            done = calls.cuGraphInstantiateWithFlags(ctypes.byref(made), graph, 0)
            device.check(done, "making a CUDA graph")
    if graph:
        calls.cuGraphDestroy(graph)
    return made if made else None
