"""The examples of docs/clients: each is built with its language's tools and asked the same."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bench import models, servers
from bench.servers import Contender
from tests.calls import connect, model_status, request
from tests.clients import builds, scripted
from tests.clients.builds import Example
from tests.conftest import Serve

LINE = re.compile(
    r"score=(?P<score>[\d.]+) model=(?P<model>\S+) version=(?P<version>\d+)"
    r" digest=(?P<digest>sha256:[0-9a-f]{64})"
)
# Of the tests' own machine, where two cores build and run everything at once.
PATIENT = ("--deadline-ms", "2000")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module", params=list(builds.EXAMPLES))
def example(request: pytest.FixtureRequest) -> Example:
    return builds.build(request.param)


@pytest.fixture(scope="module")
def specialist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contender]:
    root = tmp_path_factory.mktemp("models")
    models.pack_perceptron(root, "site-risk")
    models.pack_delay(root, "slow", 0, 300_000)
    with servers.sluicegate(root) as running:
        yield running


@contextmanager
def _kept_measured(server: Contender, model: str) -> Iterator[None]:
    """What has not been measured within a second is put to the test instead of refused."""
    over = threading.Event()
    client = connect(server)

    def call() -> None:
        while not over.wait(0.2):
            client.infer(request(model, models.rows(1)))

    client.infer(request(model, models.rows(1)))
    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()
        client.channel.close()


def test_the_answer_is_the_servers(example: Example, specialist: Contender) -> None:
    code, line = example.ask("--target", f"127.0.0.1:{specialist.port}", *PATIENT)
    told = LINE.fullmatch(line)
    assert told and code == 0, line
    row = np.zeros((1, models.FEATURES), np.float32)
    ours = float(connect(specialist).infer(request("site-risk", row))[0, 0])
    assert float(told["score"]) == pytest.approx(ours, abs=1e-6)
    served = model_status(specialist, "site-risk")
    expected = ("site-risk", str(served["version"]), served["digest"])
    assert told.group("model", "version", "digest") == expected


def test_a_deadline_that_cannot_be_met_is_told_as_shed(
    example: Example, specialist: Contender
) -> None:
    target = f"127.0.0.1:{specialist.port}"
    with _kept_measured(specialist, "slow"):
        code, line = example.ask("--target", target, "--model", "slow", "--deadline-ms", "100")
    assert code == 1
    # tritonclient drops the trailers.
    seen = "" if "triton_client.py" in example.run else r" \(pushback -1 ms\)"
    shed = r"shed: model 'slow' cannot answer within [\d.]+ ms now" + seen
    assert re.fullmatch(shed, line), line


def test_a_late_answer_is_told_as_late(example: Example) -> None:
    with scripted.serve() as (target, server):
        code, line = example.ask("--target", target, "--model", "late", "--deadline-ms", "50")
    assert (code, line.split(":")[0], len(server.called)) == (1, "late", 1), line


def test_another_try_is_made_when_the_server_said(example: Example) -> None:
    with scripted.serve() as (target, server):
        code, line = example.ask("--target", target, "--model", "busy", *PATIENT)
    if "triton_client.py" in example.run:
        assert (code, line, len(server.called)) == (1, "shed: busy for a while", 1)
        return
    assert code == 0 and line.startswith("score=0.2500000 model=busy version=1 digest=sha256:0")
    first, second = server.called
    assert (second - first) * 1000 >= scripted.PUSHBACK_MS


def test_trace_and_token_go_along(example: Example) -> None:
    with scripted.serve() as (target, server):
        flags = ("--traceparent", TRACE, "--token", "secret")
        example.ask("--target", target, "--model", "busy", *PATIENT, *flags)
    assert server.headers["traceparent"] == TRACE
    assert server.headers["authorization"] == "Bearer secret"


def test_who_has_no_token_is_refused(example: Example, tmp_path: Path, serve: Serve) -> None:
    models.pack_perceptron(tmp_path, "site-risk")
    digest = hashlib.sha256(b"secret").hexdigest()
    server = serve(tmp_path, f'[caller.desk]\ntoken_sha256 = "{digest}"\n')
    ask = ("--target", f"127.0.0.1:{server.port}", *PATIENT)
    code, line = example.ask(*ask)
    assert (code, line.split(":")[0]) == (1, "refused") and "wants to know who calls" in line
    assert example.ask(*ask, "--token", "secret")[0] == 0


def test_where_nobody_listens_is_told_as_unreachable(example: Example) -> None:
    code, line = example.ask("--target", f"127.0.0.1:{servers.free_port()}")
    assert (code, line.split(":")[0]) == (3, "unreachable"), line


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("gofmt", ("gofmt", "-d", "go")),
        ("cargo", ("cargo", "fmt", "--check", "--manifest-path", "rust/Cargo.toml")),
    ],
)
def test_it_is_formatted_as_its_language_does(tool: str, words: tuple[str, ...]) -> None:
    builds.need(tool)
    assert builds.command(words, builds.SOURCES) == ""
