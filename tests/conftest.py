"""Servers and models that tests share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import hypothesis
import pytest

from bench import models, servers
from bench.servers import Contender
from gateway.wire import open_inference_pb2_grpc as stubs
from tests.calls import Client

Serve = Callable[..., Contender]
# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models for reading only: a network, an echo, and one of 20 ms a row."""
    root = tmp_path_factory.mktemp("models")
    models.pack_perceptron(root, "tabular")
    models.pack_identity(root, "echo")
    models.pack_delay(root, "slow", 0, 20_000)
    return root


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Contender]:
    """One server for tests that leave it as it was."""
    with servers.sluicegate(repository) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Contender) -> Iterator[Client]:
    """A client of the shared server."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Client(channel, stubs.GRPCInferenceServiceStub(channel))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers of a test's own: serve(repository, config="", flags=())."""
    with ExitStack() as stack:

        def start(folder: Path, config: str = "", flags: tuple[str, ...] = ()) -> Contender:
            return stack.enter_context(servers.sluicegate(folder, config=config, flags=flags))

        yield start
