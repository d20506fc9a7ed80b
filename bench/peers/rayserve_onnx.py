"""Ray Serve behind its gRPC proxy, with the stubs of the Open Inference Protocol.

`python -m bench.peers.rayserve_onnx --graph FILE --port N`, in the environment `rayserve`, with
the repository's root on PYTHONPATH for the stubs.
"""

import signal
from pathlib import Path
from types import FrameType

import numpy as np
import ray
from ray import serve
from ray.serve.config import gRPCOptions

from bench.peers.session import OUTPUT, Session, flags
from gateway.wire import open_inference_pb2 as pb

STUBS = "gateway.wire.open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"
# More than the load has in flight, so that none waits outside the replica.
IN_FLIGHT = 256


class Scorer:
    """One ONNX Runtime session in one replica."""

    def __init__(self, graph: Path) -> None:
        self.session = Session(graph)

    async def ModelInfer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:  # noqa: N802 - the RPC's name
        """Answer one request; a run of some µs is shorter than a hop to a thread."""
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        y = self.session.score(x.reshape(request.inputs[0].shape))
        answer = pb.ModelInferResponse(
            model_name=request.model_name, id=request.id, raw_output_contents=[y.tobytes()]
        )
        answer.outputs.add(name=OUTPUT, datatype="FP32", shape=y.shape)
        return answer


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """Serve until told to stop."""
    told = flags()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": told.port + 1},
        grpc_options=gRPCOptions(port=told.port, grpc_servicer_functions=[STUBS]),
        # In its favour: no line in a log for each request.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    replica = serve.deployment(
        Scorer, num_replicas=1, max_ongoing_requests=IN_FLIGHT, ray_actor_options={"num_cpus": 0}
    )
    serve.run(replica.bind(told.graph.resolve()))
    signal.signal(signal.SIGTERM, _leave)
    signal.pause()


if __name__ == "__main__":
    main()
