"""Finds ONNX Runtime's library in its wheel, without importing the package.

Importing `onnxruntime` would load a second copy of the runtime into the process, beside the one
that the data plane loads.
"""

from importlib.util import find_spec
from pathlib import Path

from gateway import _native


def onnxruntime_library() -> Path | None:
    """Path of libonnxruntime.so, or None if the wheel is not installed."""
    spec = find_spec("onnxruntime")
    for folder in spec.submodule_search_locations or [] if spec else []:
        found = sorted(Path(folder, "capi").glob("libonnxruntime.so.*"))
        if found:
            return found[-1]
    return None


def use_onnxruntime() -> None:
    """Tell the data plane where the library is; without it only ONNX models fail."""
    path = onnxruntime_library()
    if path is not None:
        _native.set_onnxruntime(path)
