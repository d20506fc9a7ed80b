"""Engines without a gateway around them: TensorRT's lane, and ONNX Runtime's CUDA provider."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.engines import Bucket, Model
from gateway.engines.tensorrt import open_lane
from gateway.engines.tensorrt.reference import samples

Arrays = list[NDArray[Any]]
# As the data plane sets them.
OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}


class Bare(Protocol):
    """Something that runs a model."""

    about: str

    def bind(self, bucket: Bucket, inputs: Arrays) -> Callable[[], Arrays]:
        """A call that runs these inputs, and gives the outputs."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class TensorRT:
    """A lane of the gateway's own engine, driven from Python."""

    def __init__(self, model: Model, largest: Bucket) -> None:
        self._lane = open_lane(model, largest, 0)
        self.about = self._lane.describe()

    def bind(self, bucket: Bucket, inputs: Arrays) -> Callable[[], Arrays]:
        """Rows are written once: what is timed is `run`."""
        held = self._lane.buffers(bucket)
        for array, given in zip(held.inputs, inputs, strict=True):
            array[...] = given

        def run() -> Arrays:
            self._lane.run(bucket, bucket.rows)
            return list(held.outputs)

        return run

    def close(self) -> None:
        """Close the lane."""
        self._lane.close()


class OnnxRuntime:
    """ONNX Runtime with a provider. Binding inputs copies them to the device, so each run binds."""

    def __init__(self, model: Model, graph: Path, provider: str) -> None:
        import onnxruntime  # noqa: PLC0415 - of two builds, the one that is installed

        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"this ONNX Runtime has no {provider}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=[(provider, OPTIONS[provider])]
        )
        if self._session.get_providers()[0] != provider:
            raise RuntimeError(f"ONNX Runtime did not start {provider}")
        self._model = model
        self.about = f"onnxruntime {onnxruntime.__version__}, {provider}"

    def bind(self, bucket: Bucket, inputs: Arrays) -> Callable[[], Arrays]:
        """Copies in and out are part of a run, as they are in a lane."""
        binding = self._session.io_binding()
        outputs = [np.zeros(t.batch_shape(bucket), t.dtype) for t in self._model.outputs]
        for tensor, array in zip(self._model.outputs, outputs, strict=True):
            shape = list(array.shape)
            binding.bind_output(tensor.name, "cpu", 0, array.dtype, shape, array.ctypes.data)
        names = [tensor.name for tensor in self._model.inputs]

        def run() -> Arrays:
            for name, array in zip(names, inputs, strict=True):
                binding.bind_cpu_input(name, array)
            self._session.run_with_iobinding(binding)
            return outputs

        return run

    def close(self) -> None:
        """The session goes with the object."""


def timed(bare: Bare, model: Model, bucket: Bucket, seconds: float) -> dict[str, Any]:
    """Latencies of one bucket, µs, and rows a second, one call after the other."""
    run = bare.bind(bucket, samples(model, bucket))
    for _ in range(5):
        run()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < 20:
        started = time.perf_counter_ns()
        run()
        took.append((time.perf_counter_ns() - started) / 1000)
    ordered = np.sort(np.array(took))
    told = {"rows": bucket.rows, "length": bucket.length, "calls": len(took)}
    # No quantile from fewer than ten samples beyond it.
    p99 = float(ordered[int(len(ordered) * 0.99)]) if len(ordered) >= 1000 else None
    rate = bucket.rows * len(took) / (ordered.sum() / 1e6)
    return told | {"p50_us": float(np.median(ordered)), "p99_us": p99, "rows_per_s": float(rate)}


def answers(bare: Bare, model: Model, bucket: Bucket) -> Arrays:
    """The outputs for seeded rows; twice run, so that a binding that keeps old rows is seen."""
    bare.bind(bucket, samples(model, bucket, seed=1))()
    return [array.copy() for array in bare.bind(bucket, samples(model, bucket))()]


def furthest(one: Arrays, other: Arrays) -> float:
    """The largest difference of two engines' outputs."""
    far = [np.abs(a.astype(np.float64) - b).max() for a, b in zip(one, other, strict=True)]
    return float(max(far))
