"""Calls that tests make: requests, outcomes, counters."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.servers import Contender
from gateway.wire import open_inference_pb2 as pb

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Client:
    """A channel and its stub."""

    channel: grpc.Channel
    stub: Any

    def infer(self, request: Any, timeout: float = 10.0) -> Array:
        """The first output as float32 of its shape."""
        answer = self.stub.ModelInfer(request, timeout=timeout)
        return floats(answer)

    def refusal(self, request: Any, timeout: float = 10.0) -> tuple[grpc.StatusCode, str]:
        """Code and sentence of a call that must fail."""
        try:
            self.stub.ModelInfer(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError("the call was answered")


def request(model: str, x: Array, **fields: Any) -> Any:
    """A raw request of x's rows."""
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()], **fields)
    message.inputs.add(name="features", datatype="FP32", shape=x.shape)
    return message


def floats(answer: Any, output: int = 0) -> Array:
    """One output as float32 of its shape."""
    raw = np.frombuffer(answer.raw_output_contents[output], np.float32)
    return raw.reshape(answer.outputs[output].shape)


def status(server: Contender) -> dict[str, Any]:
    """The server's status page."""
    with urlopen(f"http://127.0.0.1:{server.http_port}/status", timeout=5) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def model_status(server: Contender, name: str) -> dict[str, Any]:
    """One model's part of it."""
    found: dict[str, Any] = next(m for m in status(server)["models"] if m["name"] == name)
    return found


def rows_run(server: Contender, name: str) -> int:
    """Rows that the model has computed since the server started."""
    return sum(rows * count for rows, count in model_status(server, name)["batch_sizes"])
