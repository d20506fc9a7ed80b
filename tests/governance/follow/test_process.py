"""A follower as the process that a supervisor starts, kills and starts again."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.control.plane import ControlSocket
from gateway.packing import pack_contract
from governance.home import Home, write
from governance.service.repository import digest_of
from tests.calls import connect, eventually
from tests.conftest import Serve
from tests.governance.follow.fleet import OTHERS, Fleet, leading
from tests.governance.service.commands import run
from tests.governance.service.test_end_to_end import CONTRACT, MODEL, answers
from tests.governance.signing import AUDIENCE, GATEWAY, signed_policy

ROOT = Path(__file__).parents[3]
NAME = OTHERS[0]


def followed(fleet: Fleet, folder: Path) -> "subprocess.Popen[str]":
    person = fleet.authority.person("gateway")
    command = [sys.executable, "-m", "governance.follow", "--every", "0.1"]
    command += ["--home", str(folder / NAME), "--models", str(folder / "models")]
    command += ["--socket", str(folder / f"{NAME}.control")]
    command += ["--leader", f"127.0.0.1:{fleet.server.port}", "--cert", str(person.certificate)]
    command += ["--key", str(person.key), "--ca", str(person.authority)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A leader, and the folder of a follower that `governance init` made."""
    models = tmp_path / "models"
    for threshold in (0.5, 0.25):
        pack_contract(CONTRACT % threshold, MODEL, models)
    words = ("governance", "init", "--home", tmp_path / NAME, "--audience", AUDIENCE)
    made = run(*words, "--gateway", NAME, "--witness", tmp_path / "heads.jsonl")

    def plane(name: str) -> ControlSocket:
        return ControlSocket(tmp_path / f"{name}.control")

    with leading(tmp_path, plane, models, own={NAME: made["keys"]["gateway"]}) as found:
        home = Home(tmp_path / NAME)
        write(home.root / "pin", found.stage.by.digest.encode())
        home.add_policy(signed_policy(found.stage.by, "rita", "rolf"), 1)
        yield found


def test_a_process_follows_is_killed_and_follows_again(
    fleet: Fleet, tmp_path: Path, serve: Serve
) -> None:
    stage = fleet.stage
    for name, home in ((GATEWAY, stage.home.root), (NAME, tmp_path / NAME)):
        config = f'control_socket = "{tmp_path / name}.control"\n[governance]\nhome = "{home}"\n'
        server = serve(stage.models, config)
    one, two = (digest_of(stage.models / MODEL / str(version)) for version in (1, 2))
    process = followed(fleet, tmp_path)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["gateway"] == NAME
        stage.first(1, one)
        assert eventually(lambda: fleet.follows()[NAME])
        assert answers(connect(server)) == one
        process.kill()
        process.wait()
        stage.submit(2, two)
        stage.clock = int(time.time())
        stage.promotion.promote(MODEL, two, [stage.glass(two, "sam", "olga")])
        assert not fleet.follows()[NAME]
        assert answers(connect(server)) == one, "without its follower it serves on"
        port, who = fleet.server.port, fleet.authority.person("operator")
        told = run("fleet", who=who, port=port, code=1)
        assert {m["gateway"] for m in told if not m["follows"]} == set(OTHERS)
        process = followed(fleet, tmp_path)
        assert eventually(lambda: fleet.follows()[NAME])
        assert answers(connect(server)) == two
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
