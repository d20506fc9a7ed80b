"""`python -m bench.gpu_check` on the doubles, and the decoder that it times."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from bench.gpu_shapes import LARGE, SMALL, TINY, decoder
from tests.tensorrt.conftest import Machine


def test_the_check_runs_where_a_driver_is_and_says_what_it_could_not(
    machine: Machine, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bench.gpu_check", "--shape", "tabular", "--seconds", "0.1"]
    command += ["--no-gateway", "--out", str(tmp_path)]

    def check(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**machine.environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    done = check()
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "gpu_check.json").read_text())
    assert told["machine"]["gpu"] == "driver double"
    trt, cuda = told["rows"]
    assert trt["about"].startswith("tensorrt 11.4")
    assert trt["furthest_from_cpu"] < 1e-5
    assert [each["rows"] for each in trt["bare"]] == [1, 8, 64]
    assert all(each["p50_us"] > 0 for each in trt["bare"])
    assert cuda["not_run"] == "this ONNX Runtime has no CUDAExecutionProvider"
    none = check(DRIVER_DOUBLE_NO_DEVICE="1")
    assert none.returncode == 3
    assert "there is no GPU" in none.stderr


def test_a_dry_run_takes_every_step_and_claims_nothing(machine: Machine, tmp_path: Path) -> None:
    """The whole of it, the gateway under load among it, on doubles and on the CPU."""
    command = [sys.executable, "-m", "bench.gpu_check", "--dry", "--seconds", "0.2"]
    for shape in ("tabular", "decoder-tiny"):
        command += ["--shape", shape]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=600, check=False
    )
    told = json.loads((tmp_path / "gpu_check_dry.json").read_text())
    assert told["machine"]["device"] == "none, dry run"
    assert not (tmp_path / "gpu_check.json").exists()
    rows = {(row["shape"], row["engine"]): row for row in told["rows"]}
    served = ("tabular", "tensorrt"), ("tabular", "cpu"), ("decoder-tiny", "tensorrt")
    for key in served:
        assert "gateway_not_run" not in rows[key], done.stderr
        (found,) = rows[key]["gateway"]
        assert found["engine"].startswith({"cpu": "onnxruntime"}.get(key[1], key[1]))
        assert (found["note"], found["one_row_a_batch_because"]) == (None, None)
        assert found["alone_calls"] > 0
        assert found["rows_per_s"] > 0
        assert found["of_the_bare_engine"] > 0
    # The one step that no machine takes is named, and the exit code tells of it.
    assert "weights lie beside the graph" in rows["decoder-tiny", "cpu"]["gateway_not_run"]
    assert done.returncode == 1
    assert all("memory_limit_us" not in row for row in told["rows"])


def test_the_decoder_reads_its_tokens_in_order(tmp_path: Path) -> None:
    files = decoder(TINY, tmp_path)
    assert sorted(files) == ["model.onnx", "weights.bin"]
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    ids = np.arange(16, dtype=np.int64).reshape(2, 8)
    whole = session.run(None, {"input_ids": ids})[0]
    assert whole.shape == (2, 1)
    assert np.isfinite(whole).all()
    alone = session.run(None, {"input_ids": ids[1:]})[0]
    np.testing.assert_allclose(alone, whole[1:], atol=2e-3)
    # The first token reaches the last one's score, and so does the order.
    for changed in (np.roll(ids, 1, axis=1), np.where(ids % 8 == 0, 40, ids)):
        assert np.abs(session.run(None, {"input_ids": changed})[0] - whole).min() > 1e-3


def test_the_decoders_have_the_sizes_that_they_are_called_by() -> None:
    assert 0.45e9 < SMALL.parameters < 0.55e9
    assert 3.8e9 < LARGE.parameters < 4.2e9
