"""The CUDA driver: pycuda for contexts, memory and streams; by ctypes what pycuda lacks.

What runs once a batch (current context, graph launch, event) is called by ctypes with Python's
lock held, since none of it waits; only the wait itself gives the lock away. So a batch gives it
away once.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from gateway.engines.contract import DeviceLost
from gateway.engines.tensorrt.errors import NO_DEVICE, Unavailable, of_status

LIBRARY = "libcuda.so.1"
# CUctx_flags: how a thread waits for the device.
SCHEDULE = {"spin": 0x01, "block": 0x04}
# CUevent_flags.
BLOCKING_SYNC, DISABLE_TIMING = 0x1, 0x2
NON_BLOCKING_STREAM = 0x1
# What pycuda 2026.1 links to came with CUDA 13.
LEAST_DRIVER = 13000

_VOID, _OUT = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
# Called with Python's lock held: they return at once.
_HELD = {
    "cuCtxSetCurrent": [_VOID],
    "cuGraphLaunch": [_VOID, _VOID],
    "cuEventRecord": [_VOID, _VOID],
    "cuMemcpyHtoDAsync_v2": [_VOID, _VOID, ctypes.c_size_t, _VOID],
    "cuMemcpyDtoHAsync_v2": [_VOID, _VOID, ctypes.c_size_t, _VOID],
    "cuEventCreate": [_OUT, ctypes.c_uint],
    "cuEventDestroy_v2": [_VOID],
    "cuStreamBeginCapture_v2": [_VOID, ctypes.c_int],
    "cuStreamEndCapture": [_VOID, _OUT],
    "cuGraphDestroy": [_VOID],
    "cuGraphExecDestroy": [_VOID],
    "cuDevicePrimaryCtxSetFlags_v2": [ctypes.c_int, ctypes.c_uint],
    "cuGetErrorString": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
}
# These may wait, or take long: the lock is given away.
_FREE = {
    "cuEventSynchronize": [_VOID],
    "cuStreamSynchronize": [_VOID],
    "cuCtxSynchronize": [],
    "cuGraphInstantiateWithFlags": [_OUT, _VOID, ctypes.c_ulonglong],
    "cuInit": [ctypes.c_uint],
    "cuDriverGetVersion": [ctypes.POINTER(ctypes.c_int)],
}


class Calls:
    """Functions of the driver by their names, with their types."""

    def __init__(self) -> None:
        try:
            held, free = ctypes.PyDLL(LIBRARY), ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Unavailable(
                f"there is no NVIDIA driver on this machine ({LIBRARY} cannot be loaded)"
            ) from error
        for library, functions in ((held, _HELD), (free, _FREE)):
            for name, types in functions.items():
                try:
                    function = getattr(library, name)
                except AttributeError as error:
                    raise Unavailable(
                        f"the NVIDIA driver is too old: it lacks {name}; a driver for CUDA 13 "
                        "(580 or later) is needed"
                    ) from error
                function.argtypes, function.restype = types, ctypes.c_int
                setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not among the driver's functions in use")

    def text(self, status: int) -> str:
        """The driver's own words for a result."""
        words = ctypes.c_char_p()
        self.cuGetErrorString(status, ctypes.byref(words))
        return (words.value or b"").decode(errors="replace")

    def check(self, status: int, what: str) -> None:
        """Raise the contract's error for a result that is not 0."""
        if status:
            raise of_status(status, what, self.text(status))


class Device:
    """A GPU with its primary context, which TensorRT uses too; kept for the process's life."""

    def __init__(self, calls: Calls, cuda: Any, ordinal: int, wait: str) -> None:
        self.calls, self.cuda, self.ordinal = calls, cuda, ordinal
        if ordinal >= cuda.Device.count():
            raise Unavailable(f"there is no GPU {ordinal}: the driver sees {cuda.Device.count()}")
        # How to wait is a property of the context, fixed before somebody has it; if somebody
        # has it already, it stays as it is.
        calls.cuDevicePrimaryCtxSetFlags_v2(ordinal, SCHEDULE[wait])
        handle = cuda.Device(ordinal)
        self.name: str = handle.name()
        major, minor = handle.compute_capability()
        self.capability = f"{major}.{minor}"
        self.memory: int = handle.total_memory()
        self.driver = driver_version(calls)
        self._context = handle.retain_primary_context()
        self.context_handle = ctypes.c_void_p(self._context.handle)
        self.lost: str | None = None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context pycuda's current one on this thread, for the length of a block."""
        self.refuse_if_lost()
        self._context.push()
        try:
            yield
        except self.cuda.MemoryError as error:
            raise of_status(2, "loading a model") from error
        except self.cuda.Error as error:
            raise self.failed_text(str(error)) from error
        finally:
            self._context.pop()

    def check(self, status: int, what: str) -> None:
        """Raise for a result that is not 0; a sticky one is kept.

        Raises:
            DeviceLost: the device answers nothing any more.
            EngineError: this call failed.

        """
        if status == 0:
            return
        error = of_status(status, what, self.calls.text(status))
        if isinstance(error, DeviceLost):
            self.lost = str(error)
        raise error

    def failed_text(self, text: str) -> Exception:
        """The contract's error for an exception of pycuda's."""
        # Its exceptions have no number; a lost device gives one to every call.
        status = self.calls.cuCtxSynchronize()
        error = of_status(status or 1, "a call of pycuda", text)
        if isinstance(error, DeviceLost):
            self.lost = str(error)
        return error

    def refuse_if_lost(self) -> None:
        """Raise if the device was lost: its context cannot be made whole within a process."""
        if self.lost:
            raise DeviceLost(f"{self.lost}; restart the server to use this GPU again")


def driver_version(calls: Calls) -> str:
    """The newest CUDA that the driver knows, as in `13.0`."""
    number = ctypes.c_int()
    calls.check(calls.cuDriverGetVersion(ctypes.byref(number)), "asking for the driver's version")
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


@cache
def _calls() -> tuple[Calls, Any]:
    calls = Calls()
    status = calls.cuInit(0)
    if status == NO_DEVICE:
        raise Unavailable("there is no GPU: the NVIDIA driver is here, but sees no device")
    if status:
        raise Unavailable(f"the NVIDIA driver does not start: {calls.text(status)} ({status})")
    version = driver_version(calls)
    if int(version.split(".")[0]) * 1000 < LEAST_DRIVER:
        raise Unavailable(
            f"the NVIDIA driver is too old: it knows CUDA {version}; a driver for CUDA 13 (580 or "
            "later) is needed"
        )
    try:
        import pycuda.driver as cuda  # noqa: PLC0415 - nothing of CUDA before a model asks
    except ModuleNotFoundError as error:
        raise Unavailable(
            "pycuda is not installed: pip install 'sluicegate[tensorrt]' or "
            "'sluicegate[tensorrt-rtx]'"
        ) from error
    except ImportError as error:
        raise Unavailable(f"pycuda does not fit the NVIDIA driver: {error}") from error
    cuda.init()
    return calls, cuda


_DEVICES: dict[int, Device] = {}
_OPENING = Lock()


def device(ordinal: int, wait: str = "block") -> Device:
    """The GPU of this number. The first to ask says how threads wait for it.

    A context belongs to the process, and each lane is opened by itself: so devices are kept here.

    Raises:
        Unavailable: no driver, an old one, no such GPU, no pycuda.

    """
    with _OPENING:
        if ordinal not in _DEVICES:
            calls, cuda = _calls()
            _DEVICES[ordinal] = Device(calls, cuda, ordinal, wait)
        return _DEVICES[ordinal]
