"""What arrives at the gRPC door and is no gRPC: the connection suffers, nobody else does."""

import socket
from contextlib import suppress

import grpc
import numpy as np
import pytest
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import models
from bench.servers import Contender
from tests.calls import Client, connect, raw_call, request

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


HEADERS, RST_STREAM, GOAWAY = 1, 3, 7
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM = 11


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and payload of every whole frame."""
    found, at = [], 0
    while at + 9 <= len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        found.append((data[at + 3], data[at + 9 : at + 9 + length]))
        at += 9 + length
    return found


def until_closed(s: socket.socket) -> bytes:
    """All that the server still says."""
    said = b""
    # After a reset, what it said before stands.
    with suppress(ConnectionError):
        while data := s.recv(65536):
            said += data
    return said


CALL_HEAD = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/inference.GRPCInferenceService/ModelInfer",
    ":authority": "x",
    "content-type": "application/grpc",
    "te": "trailers",
}


# Each block stands alone: a sensitive header enters no table.
NEVER_INDEXED = Encoder().encode([(k, v, True) for k, v in CALL_HEAD.items()], huffman=False)


def test_raw_rapid_reset_costs_the_attacker_its_connection(
    server: Contender, client: Client
) -> None:
    pairs = b"".join(
        frame(HEADERS, END_HEADERS, stream, NEVER_INDEXED)
        + frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
        for stream in range(1, 10_001, 2)
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        # It may be closed while it is still sending.
        with suppress(ConnectionError):
            s.sendall(PREFACE + EMPTY_SETTINGS + pairs)
        said = until_closed(s)
    codes = [int.from_bytes(p[4:8], "big") for kind, p in frames_of(said) if kind == GOAWAY]
    assert codes == [ENHANCE_YOUR_CALM]
    x = models.rows(4)
    np.testing.assert_array_equal(client.infer(request("echo", x)), x)


def test_honest_cancellation_at_any_rate_keeps_its_connection(server: Contender) -> None:
    x = models.rows(1)
    client = connect(server)
    states: list[grpc.ChannelConnectivity] = []
    client.channel.subscribe(states.append, try_to_connect=True)
    with client.channel:
        for _ in range(100):
            calls = [
                client.stub.ModelInfer.future(request("slow", x), timeout=5) for _ in range(20)
            ]
            for call in calls:
                call.cancel()
        np.testing.assert_array_equal(client.infer(request("echo", x)), x)
    assert states.count(grpc.ChannelConnectivity.READY) == 1, "it had to connect again"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    frames=st.lists(
        st.builds(
            frame,
            kind=st.integers(0, 12),
            flags=st.integers(0, 255),
            stream=st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
            payload=st.one_of(
                st.binary(max_size=64),
                st.just(Encoder().encode(list(CALL_HEAD.items()))),
                st.just(b"\0\0\0\0\0"),
                st.just(b"\0\x7f\xff\xff\xff"),
            ),
        ),
        max_size=40,
    ),
    cut=st.integers(0, 30),
)
def test_any_sequence_of_frames_hurts_nobody_else(
    server: Contender, client: Client, frames: list[bytes], cut: int
) -> None:
    data = PREFACE + EMPTY_SETTINGS + b"".join(frames)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        with suppress(OSError):
            s.sendall(data[: len(data) - cut])
            s.shutdown(socket.SHUT_WR)
        until_closed(s)
    x = models.rows(2)
    np.testing.assert_array_equal(client.infer(request("echo", x)), x)
