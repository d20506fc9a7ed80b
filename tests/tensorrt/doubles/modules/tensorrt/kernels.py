"""Chains of Gemm, Relu and Sigmoid as CUDA kernels: the double on a real GPU.

With TENSORRT_DOUBLE_KERNELS=1 an engine's work is queued on the device as kernels, compiled by nvcc
when it is made. All that the backend does around an engine then runs on the real driver: streams,
captured graphs, pinned memory, events. TENSORRT_DOUBLE_KERNEL_US makes each batch take so long.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

SOURCE = """
extern "C" __global__ void dense(const float *x, const float *w, const float *b, float *y,
                                 int rows, int n, int m, int form)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * m) return;
    int row = i / m, column = i % m;
    float sum = b[column];
    for (int k = 0; k < n; ++k) sum += x[row * n + k] * w[k * m + column];
    y[i] = form == 1 ? fmaxf(sum, 0.0f) : form == 2 ? 1.0f / (1.0f + expf(-sum)) : sum;
}

extern "C" __global__ void pause(unsigned long long ns)
{
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now - start < ns);
}
"""
FORMS = {"Relu": 1, "Sigmoid": 2}
THREADS = 128


def wanted() -> bool:
    return os.environ.get("TENSORRT_DOUBLE_KERNELS") == "1"


def _checked(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what}: CUDA's error {status}")


@cache
def _compiled() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "k.cu"), Path(folder, "k.ptx")
        source.write_text(SOURCE)
        subprocess.run(["nvcc", "-ptx", "-o", str(made), str(source)], check=True)  # noqa: S607
        return made.read_bytes() + b"\0"


class Kernels:
    """A network's weights on the device, and its launches."""

    def __init__(self, graph: bytes, driver: ctypes.PyDLL, rows: int) -> None:
        self._driver = driver
        self._held: list[ctypes.c_uint64] = []
        module = ctypes.c_void_p()
        _checked(driver.cuModuleLoadData(ctypes.byref(module), _compiled()), "loading kernels")
        self._module = module
        self._dense, self._pause = (self._function(module, n) for n in (b"dense", b"pause"))
        self._layers = self._read(graph, rows)

    def _function(self, module: ctypes.c_void_p, name: bytes) -> ctypes.c_void_p:
        found = ctypes.c_void_p()
        _checked(self._driver.cuModuleGetFunction(ctypes.byref(found), module, name), "a kernel")
        return found

    def _on_device(self, size: int) -> ctypes.c_uint64:
        made = ctypes.c_uint64()
        _checked(self._driver.cuMemAlloc_v2(ctypes.byref(made), ctypes.c_size_t(size)), "memory")
        self._held.append(made)
        return made

    def _put(self, value: NDArray[Any]) -> ctypes.c_uint64:
        value = np.ascontiguousarray(value, np.float32)
        made, size = self._on_device(value.nbytes), ctypes.c_size_t(value.nbytes)
        _checked(
            self._driver.cuMemcpyHtoD_v2(made, ctypes.c_void_p(value.ctypes.data), size), "put"
        )
        return made

    def _read(self, graph: bytes, rows: int) -> list[Any]:
        read = onnx.load_from_string(graph).graph
        weights = {i.name: numpy_helper.to_array(i) for i in read.initializer}
        layers = []
        for product, form in zip(read.node[::2], read.node[1::2], strict=True):
            assert product.op_type == "Gemm", product.op_type
            w, b = (weights[name] for name in product.input[1:])
            n, m = w.shape
            out = self._on_device(4 * rows * m)
            layers.append((self._put(w), self._put(b), n, m, FORMS[form.op_type], out))
        return layers

    def launch(self, x: int, y: int, rows: int, stream: ctypes.c_void_p) -> None:
        """Queue the network over float32 [rows, n] at address x, to [rows, 1] at y."""
        if pause := int(float(os.environ.get("TENSORRT_DOUBLE_KERNEL_US", "0")) * 1000):
            self._queue(self._pause, 1, 1, stream, ctypes.c_ulonglong(pause))
        given = ctypes.c_uint64(x)
        for number, (w, b, n, m, form, out) in enumerate(self._layers):
            result = ctypes.c_uint64(y) if number == len(self._layers) - 1 else out
            sizes = [ctypes.c_int(v) for v in (rows, n, m, form)]
            blocks = -(-rows * m // THREADS)
            self._queue(self._dense, blocks, THREADS, stream, given, w, b, result, *sizes)
            given = result

    def _queue(
        self, kernel: ctypes.c_void_p, blocks: int, threads: int, stream: Any, *arguments: Any
    ) -> None:
        places = [ctypes.cast(ctypes.pointer(a), ctypes.c_void_p) for a in arguments]
        given = (ctypes.c_void_p * len(places))(*places)
        status = self._driver.cuLaunchKernel(
            kernel, blocks, 1, 1, threads, 1, 1, 0, stream, given, None
        )
        _checked(status, "launching a kernel")

    def close(self) -> None:
        for each in self._held:
            self._driver.cuMemFree_v2(each)
        self._held.clear()
        self._driver.cuModuleUnload(self._module)
