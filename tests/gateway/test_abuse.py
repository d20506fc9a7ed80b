"""What arrives at the gRPC door and is no gRPC: the connection suffers, nobody else does."""

import socket

import numpy as np
import pytest

from bench import models
from bench.servers import Contender
from tests.calls import Client, raw_call, request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
GARBAGE = np.random.default_rng(5).bytes(50_000)

STREAMS = {
    "nothing": b"",
    "random bytes": GARBAGE,
    "random bytes after the preface": PREFACE + GARBAGE,
    "random bytes after the settings": PREFACE + EMPTY_SETTINGS + GARBAGE,
    "an HTTP/1.1 request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a preface": PREFACE[:10],
    "a frame of 16 MiB": PREFACE + EMPTY_SETTINGS + b"\xff\xff\xff\0\0\0\0\0\x01" + GARBAGE,
    "headers on stream 0": PREFACE + EMPTY_SETTINGS + b"\0\0\x01\x01\x05\0\0\0\0\x82",
    "a header block that is none": PREFACE + EMPTY_SETTINGS + b"\0\0\x02\x01\x05\0\0\0\x01\xff\xff",
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_no_grpc_hurts_nobody_else(
    server: Contender, client: Client, case: str
) -> None:
    x = models.rows(4)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        try:
            s.sendall(STREAMS[case])
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass  # reset by the server, which is its right
    np.testing.assert_array_equal(client.infer(request("echo", x)), x)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({":method": "GET"}, "405"), ({"content-type": "text/plain"}, "415")],
)
def test_a_request_that_is_not_grpc_gets_an_http_status(
    server: Contender, headers: dict[str, str], status: str
) -> None:
    with pytest.raises(KeyError, match="grpc-status") as refused:
        raw_call(server, b"", headers)
    assert refused.value.__notes__ == [f":status {status}"]
