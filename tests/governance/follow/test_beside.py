"""A server that starts its own follower, and what becomes of it when either is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from bench.servers import Contender
from governance.service.beside import NICE
from governance.service.repository import digest_of
from tests.calls import connect, eventually, sluicegate
from tests.conftest import Serve
from tests.governance.follow.fleet import Fleet
from tests.governance.follow.test_process import NAME, fleet
from tests.governance.service.test_end_to_end import MODEL, answers

__all__ = ["fleet"]


@pytest.fixture
def config(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    """Of the following gateway, with its client certificate."""
    person, tls = fleet.authority.person("gateway"), tmp_path / "client"
    tls.mkdir()
    files = {"client.pem": person.certificate, "client.key": person.key, "ca.pem": person.authority}
    for name, path in files.items():
        shutil.copy(path, tls / name)
    yield (
        f'control_socket = "{tmp_path / NAME}.control"\n[governance]\nhome = "{tmp_path / NAME}"\n'
        f'follow = "127.0.0.1:{fleet.server.port}"\ntls = "{tls}"\n'
    )


def told(server: Contender, path: str) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{server.http_port}{path}") as answer:
            text: str = answer.read().decode()
    except HTTPError as error:
        text = error.read().decode()
    return text


def follower(server: Contender) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(server, "/status"))["beside"]["follower"]
    return found


def children(pid: int) -> dict[int, list[str]]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                words = path.with_name("cmdline").read_bytes().decode().split("\0")
                found[int(path.parent.name)] = words
    return found


def followers(pid: int) -> list[int]:
    return [p for p, words in children(pid).items() if "governance.follow" in words]


def process(server: Contender) -> int:
    (found,) = followers(server.pid)
    return found


def gone(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_server_starts_its_follower_and_starts_it_again(
    fleet: Fleet,
    config: str,
    serve: Serve,
) -> None:
    stage = fleet.stage
    leader = f'control_socket = "{stage.home.root.parent / "gateway-1"}.control"\n'
    serve(stage.models, leader + f'[governance]\nhome = "{stage.home.root}"\n')
    server = serve(stage.models, config)
    assert eventually(lambda: follower(server)["running"])
    one = digest_of(stage.models / MODEL / "1")
    stage.first(1, one)
    assert eventually(lambda: fleet.follows()[NAME])
    assert answers(connect(server)) == one
    first = process(server)
    assert os.getpriority(os.PRIO_PROCESS, first) == NICE
    assert int(Path(f"/proc/{first}/oom_score_adj").read_text()) > 0
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: follower(server)["starts"] > 1)
    assert answers(connect(server)) == one, "without its follower it serves on"
    assert "signal: 9" in follower(server)["note"]
    # What is live changes once it is back, and not only in the folder.
    two = digest_of(stage.models / MODEL / "2")
    stage.submit(2, two)
    stage.promotion.promote(MODEL, two, [stage.glass(two, "sam", "olga")])
    assert eventually(lambda: fleet.follows()[NAME])
    assert answers(connect(server)) == two


def test_a_follower_that_is_down_is_told_and_harms_nobody(
    fleet: Fleet,
    config: str,
    serve: Serve,
    tmp_path: Path,
) -> None:
    (tmp_path / "client" / "client.key").unlink()
    server = serve(fleet.stage.models, config)
    assert eventually(lambda: not follower(server)["running"] and follower(server)["starts"] > 0)
    line = "the follower process is down: it ended with exit status: 3"
    assert eventually(lambda: line in told(server, "/health/ready"))
    status = ("status", "--http", f"127.0.0.1:{server.http_port}")
    # It is started again now and then, and ends again.
    assert eventually(lambda: line in sluicegate(*status).stderr)


def test_a_follower_ends_with_a_server_that_was_killed(
    fleet: Fleet,
    config: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "sluicegate.toml"
    path.write_text(config)
    program = str(Path(sys.executable).with_name("sluicegate"))
    words = ["serve", "--models", str(fleet.stage.models), "--json"]
    words += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", str(path)]
    server = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        json.loads(server.stdout.readline())
        assert eventually(lambda: len(followers(server.pid)) == 1), "it is started beside"
        (begun,) = followers(server.pid)
        server.kill()
        server.wait()
        assert eventually(lambda: gone(begun))
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('follow = "leader"', "[governance] follow is 'leader', it must be HOST:PORT"),
        ('follow = "leader:0"', "[governance] follow is 'leader:0', it must be HOST:PORT"),
        ('follow = "leader:8003"', "[governance] follow needs tls"),
    ],
)
def test_a_leader_that_cannot_be_followed_is_refused_at_the_start(
    tmp_path: Path, lines: str, sentence: str
) -> None:
    path = tmp_path / "sluicegate.toml"
    path.write_text(f'models = "{tmp_path}"\n[governance]\nhome = "{tmp_path}"\n{lines}\n')
    ended = sluicegate("serve", "--config", str(path))
    assert ended.returncode == 2
    assert sentence in ended.stderr
