"""MLServer: a runtime of our own that calls ONNX Runtime, on its gRPC V2 data plane.

`python -m bench.peers.mlserver_onnx --graph FILE --port N`, in the environment `mlserver`.
"""

import asyncio
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop

from bench.peers.session import MODEL, OUTPUT, Session, flags


class Runtime(MLModel):  # type: ignore[misc] # no types in the dev environment
    """One ONNX Runtime session; `parameters.uri` is the graph."""

    async def load(self) -> bool:
        """Open the session."""
        self.session = Session(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request; a run of some µs is shorter than a hop to a thread."""
        scores = self.session.score(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output(OUTPUT, scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def _serve() -> None:
    told = flags()
    server = MLServer(
        Settings(
            host="127.0.0.1",
            grpc_port=told.port,
            http_port=told.port + 1,
            # In its favour on one core: no second process, no access log, no metrics.
            parallel_workers=0,
            debug=False,
            metrics_endpoint=None,
        )
    )
    parameters = ModelParameters(uri=str(told.graph))
    await server.start([ModelSettings(name=MODEL, implementation=Runtime, parameters=parameters)])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(_serve())
