"""Load tools that others wrote, as they are, against the server."""

import base64
import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import models, servers
from bench.servers import Contender
from tests.calls import model_status, rows_run
from tests.clients import builds

GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0"
CALLS = 5_000
REQUEST = {
    "model_name": "site-risk",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, models.FEATURES]}],
    "raw_input_contents": [
        base64.b64encode(np.zeros(models.FEATURES, np.float32).tobytes()).decode()
    ],
}


@pytest.fixture(scope="module")
def ghz() -> Path:
    builds.need("go")
    folder = builds.BUILT / "ghz" / GHZ.rsplit("@")[1]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ghz").exists():
        builds.command(("go", "install", GHZ), folder, GOBIN=str(folder))
    return folder / "ghz"


@pytest.fixture
def specialist(tmp_path: Path) -> Iterator[Contender]:
    models.pack_perceptron(tmp_path, "site-risk")
    with servers.sluicegate(tmp_path) as running:
        yield running


@pytest.mark.parametrize("known_by", ["proto", "reflection"])
def test_ghz_gets_an_answer_to_every_call(ghz: Path, specialist: Contender, known_by: str) -> None:
    proto = builds.ROOT / "proto"
    words = [str(ghz), "--insecure", "--call", "inference.GRPCInferenceService.ModelInfer"]
    words += ["--data", json.dumps(REQUEST), "--total", str(CALLS), "--concurrency", "16"]
    words += ["--connections", "4", "--format", "json"]
    if known_by == "proto":
        words += ["--proto", str(proto / "open_inference.proto"), "--import-paths", str(proto)]
    told = json.loads(builds.command((*words, f"127.0.0.1:{specialist.port}"), proto))
    assert told["statusCodeDistribution"] == {"OK": CALLS}
    assert not told["errorDistribution"]
    assert rows_run(specialist, "site-risk") == CALLS


def test_perf_analyzer_gets_an_answer_to_every_call(tmp_path: Path, specialist: Contender) -> None:
    # Its wheel asks for glibc 2.38, so pip installs it on newer machines than some that build this.
    libc = " ".join(platform.libc_ver())
    tool = "perf_analyzer"
    builds.need(tool, why=f"pip install perf-analyzer==2.60.0 needs glibc 2.38, here is {libc}")
    words = [tool, "-m", "site-risk", "--service-kind", "triton", "-i", "grpc", "--async"]
    words += ["-u", f"127.0.0.1:{specialist.port}", "--concurrency-range", "8:8", "-b", "4"]
    words += ["--measurement-mode", "count_windows", "--measurement-request-count", "2000"]
    # How steady the figures are is no matter here.
    words += ["--stability-percentage", "100", "-f", "load.csv"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = (tmp_path / "load.csv").read_text().splitlines()
    measured = dict(zip(figures[0].split(","), figures[1].split(","), strict=True))
    assert float(measured["Inferences/Second"]) > 0
    sizes = model_status(specialist, "site-risk")["batch_sizes"]
    assert min(rows for rows, _ in sizes) >= 4
