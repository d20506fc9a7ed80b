"""Calls that tests make: requests, outcomes, counters."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import urlopen

import grpc
import h2.connection
import h2.events
import numpy as np
from numpy.typing import NDArray

from bench.servers import Contender
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs

Array = NDArray[np.float32]
SLUICEGATE = str(Path(sys.executable).with_name("sluicegate"))


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


def connect(server: Contender) -> Client:
    """A client of a test's own server."""
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    return Client(channel, stubs.GRPCInferenceServiceStub(channel))


def sluicegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [SLUICEGATE, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def eventually(check: Callable[[], bool]) -> bool:
    """Whether something becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.01)
    return False


def raw_call(
    server: Contender, message: bytes | None, headers: dict[str, str], compressed: bool = False
) -> tuple[int, str]:
    """One ModelInfer written by hand, with headers that no gRPC client would send.

    Without a message the request's body never ends. Returns the gRPC status and sentence; an
    answer without a gRPC status is a KeyError that notes the HTTP status.
    """
    connection = h2.connection.H2Connection()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        connection.initiate_connection()
        path = "/inference.GRPCInferenceService/ModelInfer"
        head = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": path}
        head |= {"content-type": "application/grpc", "te": "trailers"} | headers
        connection.send_headers(1, list(head.items()))
        if message is not None:
            body = bytes([compressed]) + len(message).to_bytes(4, "big") + message
            connection.send_data(1, body, end_stream=True)
        s.sendall(connection.data_to_send())
        told: dict[str, str] = {}
        while data := s.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    told |= {_text(k): _text(v) for k, v in event.headers}
                if isinstance(event, h2.events.StreamEnded):
                    if "grpc-status" not in told:
                        error = KeyError("grpc-status")
                        error.add_note(f":status {told.get(':status')}")
                        raise error
                    return int(told["grpc-status"]), unquote(told.get("grpc-message", ""))
            s.sendall(connection.data_to_send())
    raise AssertionError(f"the call did not end: {told}")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def status(server: Contender) -> dict[str, Any]:
    """The server's status page."""
    with urlopen(f"http://127.0.0.1:{server.http_port}/status", timeout=5) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def model_status(server: Contender, name: str, version: int | None = None) -> dict[str, Any]:
    """One model's part of it: of its first version, or of this one."""
    told = (m for m in status(server)["models"] if m["name"] == name)
    found: dict[str, Any] = next(m for m in told if version in (None, int(m["version"])))
    return found


def rows_run(server: Contender, name: str) -> int:
    """Rows that the model has computed since the server started."""
    return sum(rows * count for rows, count in model_status(server, name)["batch_sizes"])
