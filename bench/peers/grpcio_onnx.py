"""What a team would write first: grpcio with ONNX Runtime, one session, a request a call.

`python -m bench.peers.grpcio_onnx --flavour aio|sync --graph FILE --port N`. The tensors are
read with numpy without a copy, the answer is raw; intra-op threads 1 and no spinning, as in the
gateway. The sync flavour has ten worker threads, grpcio's usual advice.
"""

import asyncio
import sys
from concurrent import futures
from pathlib import Path
from typing import Annotated, Any, Literal

import grpc
import numpy as np
import typer

from bench.peers.session import OUTPUT, Session
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs


class Model:
    """One ONNX Runtime session."""

    def __init__(self, graph: Path) -> None:
        self.session = Session(graph)

    def infer(self, request: Any) -> Any:
        """Answer one ModelInferRequest."""
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        y = self.session.score(x.reshape(request.inputs[0].shape))
        answer = pb.ModelInferResponse(
            model_name=request.model_name, id=request.id, raw_output_contents=[y.tobytes()]
        )
        tensor = answer.outputs.add(name=OUTPUT, datatype="FP32")
        tensor.shape.extend(y.shape)
        return answer


class SyncService(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc] # generated, untyped
    """ModelInfer on a thread pool."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Answer one request."""
        return self.model.infer(request)


class AioService(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc] # generated, untyped
    """ModelInfer on an event loop."""

    def __init__(self, model: Model) -> None:
        self.model = model

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Answer one request; a run of some µs is shorter than a hop to a thread."""
        return self.model.infer(request)


async def _serve_aio(model: Model, door: str) -> None:
    server = grpc.aio.server()
    stubs.add_GRPCInferenceServiceServicer_to_server(AioService(model), server)
    server.add_insecure_port(door)
    await server.start()
    _ready(door)
    await server.wait_for_termination()


def _serve_sync(model: Model, door: str) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
    stubs.add_GRPCInferenceServiceServicer_to_server(SyncService(model), server)
    server.add_insecure_port(door)
    server.start()
    _ready(door)
    server.wait_for_termination()


def _ready(door: str) -> None:
    sys.stdout.write(f"ready {door}\n")
    sys.stdout.flush()


def main(
    flavour: Annotated[str, typer.Option(help="aio or sync")],
    graph: Annotated[Path, typer.Option()],
    port: Annotated[int, typer.Option()],
) -> None:
    """Serve one graph until killed."""
    kind: Literal["aio", "sync"] = "aio" if flavour == "aio" else "sync"
    model, door = Model(graph), f"127.0.0.1:{port}"
    if kind == "aio":
        asyncio.run(_serve_aio(model, door))
    else:
        _serve_sync(model, door)


if __name__ == "__main__":
    typer.run(main)
