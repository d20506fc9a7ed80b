"""ONNX Runtime on the CPU in TensorRT's place: while a plan is built, and where there is no GPU.

It reads and writes the lane's own arrays, so that the GPU can take over between two batches. The
data plane's copy of the runtime is not reached from Python: this one is loaded beside it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.engine import Weights
from gateway.engines.tensorrt.host import HostArrays, shaped
from gateway.engines.tensorrt.plans import Graph


class Session:
    """ONNX Runtime on one thread; `weights` take the place of initializers of their names.

    `graph` is a graph's bytes, or its path where it keeps weights in files beside it.
    """

    def __init__(self, graph: bytes | str, weights: Weights) -> None:
        # A second copy of the runtime beside the data plane's, only where it is needed.
        import onnxruntime  # noqa: PLC0415

        self.version: str = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Neither options nor session keep what they are given.
        self._weights = [
            (name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
            for name, value in weights.items()
        ]
        for name, value in self._weights:
            options.add_initializer(name, value)
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"ONNX Runtime refused the graph: {error}") from error

    def run(self, names: list[str], inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs of these names.

        Raises:
            EngineError: ONNX Runtime failed.

        """
        try:
            answers: list[Any] = self._session.run(names, dict(inputs))
        except Exception as error:
            raise EngineError(f"ONNX Runtime: {error}") from error
        return answers


class CpuRunner:
    """Runs rungs on the CPU."""

    def __init__(
        self, graph: Graph, model: Model, host: HostArrays, extra: Weights, weights: Weights
    ) -> None:
        if graph.beside:
            # The runtime would open them by itself, past the verification.
            raise EngineError("the graph keeps weights in other files: the CPU cannot run it here")
        self._session = Session(graph.data, weights)
        self._model, self._host, self._extra = model, host, dict(extra)
        self._names = [tensor.name for tensor in model.outputs]

    def run(self, rung: Bucket) -> None:
        """Run a rung whose inputs lie in the host's blocks."""
        model, host = self._model, self._host
        given = {t.name: shaped(b, t, rung) for t, b in zip(model.inputs, host.inputs, strict=True)}
        answers = self._session.run(self._names, given | self._extra)
        for tensor, block, answer in zip(model.outputs, host.outputs, answers, strict=True):
            shaped(block, tensor, rung)[...] = answer

    @property
    def version(self) -> str:
        """ONNX Runtime's."""
        return self._session.version

    def close(self) -> None:
        """Nothing is held beyond the session."""
