"""Engines that become something else while they serve, and what operators say to engines."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from bench import models, servers
from gateway.engines import EngineError, check_options
from gateway.packing import Wishes
from gateway.wire import open_inference_pb2 as pb
from tests import graphs
from tests.calls import SLUICEGATE, connect, eventually, model_status, request

# An engine of another package: it answers 2 once its file is there; until then it is not ready.
SLOW = """
import os, threading, time
from gateway.engines import Bucket, Buffers, EngineError
from gateway.engines.numpy_identity import NumpyLane

class Slow(NumpyLane):
    ready = False

    def __init__(self, model, largest):
        super().__init__(model, largest)
        if not model.stand_in:
            raise EngineError("nobody stands in")
        self.file, self.name = model.options["file"], model.name

    def run(self, bucket, rows):
        if not self.ready:
            raise EngineError("not ready yet")
        self.buffers(bucket).outputs[0][:rows] = 2

    def watch(self, tell):
        tell("slow 0", f"{self.name} is being built", False)
        def wait():
            while not os.path.exists(self.file):
                time.sleep(0.01)
            self.ready = True
            tell("slow 2", None, True)
            while not os.path.exists(self.file + ".worn"):
                time.sleep(0.01)
            tell("slow 2", "worn out", True)
        threading.Thread(target=wait, daemon=True).start()

def open_lane(model, largest, lane):
    return Slow(model, largest)

def check_options(options):
    if set(options) != {"file"}:
        raise EngineError("[engines.slow] takes 'file' and nothing else")
"""
ENTRY = "[sluicegate.engines]\nslow = slow:open_lane\n"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose model, a graph that answers 1, has an engine that answers 2."""
    package = tmp_path / "site"
    info = package / "slow-1.dist-info"
    info.mkdir(parents=True)
    (package / "slow.py").write_text(SLOW)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY)
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.syspath_prepend(str(package))
    repository = tmp_path / "models"
    repository.mkdir()
    graphs.pack_constant(repository, "m", 1.0, Wishes(engine="slow"))
    return repository


def _ready(port: int | None) -> str:
    with urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _events(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(each) for each in log.read_text().splitlines() if each.startswith("{")]
    return [each for each in lines if each["event"] == "model_engine"]


def test_the_graph_answers_until_the_engine_is_ready_and_people_are_told(
    slow: Path, tmp_path: Path
) -> None:
    file, log = tmp_path / "ready", tmp_path / "log"
    config = f'[engines.slow]\nfile = "{file}"\n'
    with servers.sluicegate(slow, config=config, log=log) as server:
        client, x = connect(server), models.rows(3)

        def answers(number: float) -> bool:
            return bool((client.infer(request("m", x)) == number).all())

        def parameters() -> dict[str, str]:
            told = client.stub.ModelConfig(pb.ModelConfigRequest(name="m")).config.parameters
            return {name: value.string_value for name, value in told.items()}

        assert answers(1)
        told = model_status(server, "m")
        assert told["engine"].startswith("onnxruntime 1.")
        assert told["engine"].endswith(" on the CPU")
        assert told["engine_note"] == "m is being built"
        assert parameters()["engine_note"] == "m is being built"
        assert _ready(server.http_port) == "ready\nmodel 'm': m is being built\n"
        file.touch()
        assert eventually(lambda: model_status(server, "m")["engine"] == "slow 2")
        assert answers(2)
        assert model_status(server, "m")["engine_note"] is None
        assert "engine_note" not in parameters()
        assert parameters()["engine"] == "slow 2"
        assert _ready(server.http_port) == "ready\n"
        Path(f"{file}.worn").touch()
        assert eventually(lambda: model_status(server, "m")["engine_note"] == "worn out")
        assert answers(2)
        assert eventually(lambda: len(_events(log)) == 3)
    assert [(e["model"], e["engine"][:7], e["note"]) for e in _events(log)] == [
        ("m/1", "onnxrun", "m is being built"),
        ("m/1", "slow 2", None),
        ("m/1", "slow 2", "worn out"),
    ]


def test_no_answer_is_wrong_or_lost_while_the_engine_takes_over(slow: Path, tmp_path: Path) -> None:
    file = tmp_path / "ready"
    config = f'[engines.slow]\nfile = "{file}"\n'
    with servers.sluicegate(slow, config=config, flags=("--lanes", "2")) as server:
        client = connect(server)
        seen: list[float] = []
        end = time.monotonic() + 30
        while seen[-20:].count(2.0) < 20 and time.monotonic() < end:
            if len(seen) == 50:
                file.touch()
            rows = client.infer(request("m", models.rows(1 + len(seen) % 7)))
            assert len(np.unique(rows)) == 1
            seen.append(float(rows[0, 0]))
    assert set(seen) == {1.0, 2.0}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[engines.slow]\nfiel = 1", "[engines.slow] takes 'file' and nothing else"),
        ("[engines.numpy]\nx = 1", "[engines.numpy]: engine 'numpy' takes no options"),
        ("[engines.abacus]\nx = 1", "there is no engine 'abacus'; there are numpy"),
        (
            '[engines.tensorrt]\nwiat = "spin"',
            "[engines.tensorrt]: unknown key 'wiat'; did you mean 'wait'?",
        ),
        (
            '[engines.tensorrt]\nwait = "sleep"',
            "[engines.tensorrt]: wait must be one of block, spin",
        ),
    ],
)
def test_options_that_an_engine_cannot_use_are_refused_before_anything_starts(
    slow: Path, tmp_path: Path, config: str, sentence: str
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(config)
    command = [SLUICEGATE, "serve", "--models", str(slow), "--config", str(file)]
    done = subprocess.run(
        [*command, "--allow-unsigned"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr


def test_options_are_asked_of_each_engine() -> None:
    check_options('{"tensorrt": {"wait": "spin", "devices": [0, 1]}}')
    with pytest.raises(EngineError, match="devices must be whole numbers"):
        check_options('{"tensorrt": {"devices": "all"}}')
