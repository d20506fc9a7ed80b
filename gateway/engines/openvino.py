"""OpenVINO, for graphs that it runs faster than ONNX Runtime; an optional engine.

The ONNX graph in the model directory is compiled for the CPU once a lane, on one thread; shapes
are dynamic, and each bucket has its own arrays, set as the request's tensors without a copy.
"""

import openvino as ov

from gateway.engines.contract import BadInput, Bucket, Buffers, EngineError, Model

SETTINGS = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoLane:
    """One compiled model and its one request."""

    def __init__(self, model: Model, largest: Bucket) -> None:
        if model.graph is None:
            raise EngineError("engine openvino needs 'graph' in the contract")
        self._model, self._largest = model, largest
        self._buffers: dict[Bucket, Buffers] = {}
        core = ov.Core()
        try:
            read = core.read_model(model.files[model.graph])
            compiled = core.compile_model(read, "CPU", SETTINGS)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO refused the graph: {error}") from error
        known = {name for port in compiled.inputs for name in port.names}
        if missing := [t.name for t in model.inputs if t.name not in known]:
            raise EngineError(f"the graph has no input '{missing[0]}'")
        self._request = compiled.create_infer_request()

    def buffers(self, bucket: Bucket) -> Buffers:
        """Arrays of their own for each bucket."""
        if bucket.rows > self._largest.rows or bucket.length > self._largest.length:
            raise EngineError(f"{bucket} is more than this lane was opened for: {self._largest}")
        if bucket not in self._buffers:
            self._buffers[bucket] = Buffers.zeros(self._model, bucket)
        return self._buffers[bucket]

    def run(self, bucket: Bucket, rows: int) -> None:
        """One call; OpenVINO lets go of Python's lock while it computes."""
        if not 1 <= rows <= bucket.rows:
            raise BadInput(f"{rows} rows of {bucket}")
        held = self.buffers(bucket)
        try:
            for tensor, array in zip(self._model.inputs, held.inputs, strict=True):
                self._request.set_tensor(tensor.name, ov.Tensor(array[:rows], shared_memory=True))
            for tensor, array in zip(self._model.outputs, held.outputs, strict=True):
                self._request.set_tensor(tensor.name, ov.Tensor(array[:rows], shared_memory=True))
            self._request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO: {error}") from error

    def warm(self, bucket: Bucket) -> None:
        """Run it once."""
        self.run(bucket, bucket.rows)

    def describe(self) -> str:
        """Name and version."""
        return f"openvino {ov.get_version()}"

    def close(self) -> None:
        """Let go of the arrays; the compiled model goes with the lane."""
        self._buffers.clear()


def open_lane(model: Model, largest: Bucket, lane: int) -> OpenVinoLane:
    """Open a model on the CPU."""
    return OpenVinoLane(model, largest)
