"""A server that answers as told, for what the gateway does only now and then."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs

PUSHBACK_MS = 300
# A client's first call in a new JVM is given longer than this, and no other.
HASTE = 3.0


class Scripted(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Model `busy` sheds the first call in haste, `late` answers none of them."""

    def __init__(self) -> None:
        self.called: list[float] = []
        self.headers: dict[str, str] = {}

    def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        """Always."""
        return pb.ServerReadyResponse(ready=True)

    def ModelMetadata(self, message: Any, _: Any) -> Any:  # noqa: N802
        """One FP32 input."""
        answer = pb.ModelMetadataResponse(name=message.name, versions=["1"])
        answer.inputs.add(name="features", datatype="FP32", shape=[-1, 32])
        return answer

    def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802
        """As the model's name says."""
        self.headers = dict(context.invocation_metadata())
        if context.time_remaining() < HASTE:
            self.called.append(time.monotonic())
            if message.model_name == "late":
                time.sleep(context.time_remaining() + 0.1)
            elif len(self.called) == 1:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(PUSHBACK_MS)),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy for a while")
        score = np.float32(0.25).tobytes()
        answer = pb.ModelInferResponse(
            model_name=message.model_name, model_version="1", raw_output_contents=[score]
        )
        answer.outputs.add(name="score", datatype="FP32", shape=[1, 1])
        answer.parameters["sluicegate_digest"].string_param = "sha256:" + "0" * 64
        return answer


@contextmanager
def serve() -> Iterator[tuple[str, Scripted]]:
    """Its HOST:PORT, and the server to ask what it saw."""
    scripted = Scripted()
    server = grpc.server(ThreadPoolExecutor(4))
    stubs.add_GRPCInferenceServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", scripted
    finally:
        server.stop(None).wait()
