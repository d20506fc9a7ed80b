"""TLS, mutual TLS, tokens, rights."""

import datetime
import hashlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import models
from bench.servers import Contender, ServerError
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from tests.calls import Client, connect, eventually, request
from tests.certificates import DAY, Pair, Root
from tests.conftest import Serve

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


def _tls(folder: Path, root: Root, server: Pair, *, clients: bool = False) -> str:
    certificate, key = server.write(folder, "server")
    text = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    if clients:
        (folder / "ca.pem").write_bytes(root.certificate)
        text += f'client_ca = "{folder / "ca.pem"}"\n'
    return text


def _secure(server: Contender, root: Root, mine: Pair | None = None) -> Client:
    credentials = grpc.ssl_channel_credentials(
        root.certificate, mine.key if mine else None, mine.certificate if mine else None
    )
    options = [("grpc.ssl_target_name_override", "localhost")]
    channel = grpc.secure_channel(f"127.0.0.1:{server.port}", credentials, options)
    return Client(channel, stubs.GRPCInferenceServiceStub(channel))


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.pack_identity(folder, "echo")
    models.pack_identity(folder, "site-risk")
    return folder


def test_tls_is_spoken_and_nothing_else(tmp_path: Path, serve: Serve, root: Root) -> None:
    config = _tls(tmp_path, root, root.sign("server"))
    server = serve(_folder(tmp_path), config)
    x = models.rows(3)
    assert (_secure(server, root).infer(request("echo", x)) == x).all()
    assert connect(server).refusal(request("echo", x), timeout=3)[0] == CODE.UNAVAILABLE
    stranger = _secure(server, Root("another"))
    assert stranger.refusal(request("echo", x), timeout=3)[0] == CODE.UNAVAILABLE


def test_with_a_client_ca_only_its_clients_get_in(tmp_path: Path, serve: Serve, root: Root) -> None:
    config = _tls(tmp_path, root, root.sign("server"), clients=True)
    server = serve(_folder(tmp_path), config)
    x = models.rows(1)
    assert _secure(server, root, root.sign("me")).infer(request("echo", x)).shape == (1, 32)
    stranger = Root("another").sign("me")
    expired = root.sign("me", valid=-DAY)
    for pair in (None, stranger, expired):
        code, _ = _secure(server, root, pair).refusal(request("echo", x), timeout=3)
        assert code == CODE.UNAVAILABLE


@pytest.mark.parametrize(
    ("valid", "sentence"), [(-DAY, "the certificate expired at"), (DAY, "do not fit")]
)
def test_a_certificate_that_cannot_serve_is_said_at_start(
    tmp_path: Path, serve: Serve, root: Root, valid: datetime.timedelta, sentence: str
) -> None:
    pair = root.sign("server", valid=valid)
    if valid == DAY:
        pair = Pair(pair.certificate, root.sign("other").key)
    with pytest.raises(ServerError, match=sentence):
        serve(_folder(tmp_path), _tls(tmp_path, root, pair))


def test_a_new_certificate_is_taken_at_sighup(tmp_path: Path, serve: Serve, root: Root) -> None:
    server = serve(_folder(tmp_path), _tls(tmp_path, root, root.sign("server")))
    fresh = Root("fresh")
    fresh.sign("server").write(tmp_path, "server")
    os.kill(server.pid, signal.SIGHUP)
    asked = request("echo", models.rows(1))

    def answers() -> bool:
        try:
            _secure(server, fresh).infer(asked, timeout=1)
        except grpc.RpcError:
            return False
        return True

    assert eventually(answers)


def _token(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


CALLERS = f"""
[caller.bidder]
certificate = "spiffe://test/bidder"
models = ["site-*"]
[caller.desk]
token_sha256 = "{_token("desk's secret")}"
repository = true
"""


def _with_token(client: Client, message: Any, token: str | None) -> Any:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return client.stub.ModelInfer.with_call(message, timeout=5, metadata=metadata)


def _code(client: Client, message: Any, token: str | None) -> tuple[Any, str]:
    try:
        _with_token(client, message, token)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return CODE.OK, ""


def test_a_token_says_who_calls(tmp_path: Path, serve: Serve) -> None:
    client = connect(serve(_folder(tmp_path), CALLERS))
    asked = request("echo", models.rows(1))
    assert _code(client, asked, "desk's secret")[0] == CODE.OK
    for token, sentence in ((None, "wants to know who calls"), ("guess", "not that of any caller")):
        code, told = _code(client, asked, token)
        assert (code, sentence in told) == (CODE.UNAUTHENTICATED, True)


def test_health_and_liveness_are_for_everybody(tmp_path: Path, serve: Serve) -> None:
    client = connect(serve(_folder(tmp_path), CALLERS))
    health = health_pb2_grpc.HealthStub(client.channel)
    serving = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    assert serving == health_pb2.HealthCheckResponse.SERVING
    assert client.stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.ModelMetadata(pb.ModelMetadataRequest(name="echo"), timeout=5)
    assert refused.value.code() == CODE.UNAUTHENTICATED


def test_a_certificate_says_who_calls_and_rights_are_per_model(
    tmp_path: Path, serve: Serve, root: Root
) -> None:
    config = CALLERS + _tls(tmp_path, root, root.sign("server"), clients=True)
    server = serve(_folder(tmp_path), config)
    bidder = _secure(server, root, root.sign("any", uri="spiffe://test/bidder"))
    x = models.rows(1)
    assert bidder.infer(request("site-risk", x)).shape == (1, 32)
    code, told = bidder.refusal(request("echo", x))
    assert (code, told) == (CODE.PERMISSION_DENIED, "caller 'bidder' may not use model 'echo'")
    unknown = _secure(server, root, root.sign("nobody"))
    assert unknown.refusal(request("site-risk", x))[0] == CODE.UNAUTHENTICATED
    told = bidder.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5)
    assert [m.name for m in told.models] == ["site-risk"]


def test_only_a_caller_with_the_right_loads_models(tmp_path: Path, serve: Serve) -> None:
    other = f'[caller.other]\ntoken_sha256 = "{_token("other")}"\n'
    client = connect(serve(_folder(tmp_path), CALLERS + other))
    asked = pb.RepositoryModelLoadRequest(model_name="echo")

    def load(token: str) -> None:
        metadata = [("authorization", f"Bearer {token}")]
        client.stub.RepositoryModelLoad(asked, timeout=10, metadata=metadata)

    load("desk's secret")
    with pytest.raises(grpc.RpcError) as refused:
        load("other")
    assert refused.value.code() == CODE.PERMISSION_DENIED


def test_callers_are_read_anew_at_sighup(tmp_path: Path, serve: Serve) -> None:
    folder = _folder(tmp_path)
    server = serve(folder, CALLERS)
    client = connect(server)
    asked = request("echo", models.rows(1))
    assert _code(client, asked, "new")[0] == CODE.UNAUTHENTICATED
    text = CALLERS.replace(_token("desk's secret"), _token("new"))
    (folder / "sluicegate.toml").write_text(text)
    os.kill(server.pid, signal.SIGHUP)
    assert eventually(lambda: _code(client, asked, "new")[0] == CODE.OK)
    assert _code(client, asked, "desk's secret")[0] == CODE.UNAUTHENTICATED


def test_as_many_connections_as_are_allowed(tmp_path: Path, serve: Serve) -> None:
    server = serve(_folder(tmp_path), "max_connections = 2\n")
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    x = models.rows(1)
    assert connect(server).refusal(request("echo", x), timeout=2)[0] == CODE.UNAVAILABLE
    for connection in held:
        connection.close()
    client = connect(server)

    def answers() -> bool:
        try:
            client.infer(request("echo", x), timeout=1)
        except grpc.RpcError:
            return False
        return True

    assert eventually(answers)
