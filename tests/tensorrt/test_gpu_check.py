"""`python -m bench.gpu_check` on the doubles, and the decoder that it times."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from bench.gpu_decoder import LARGE, SMALL, SPELLINGS, TINY, write_decoder
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
    assert done.returncode == 0, done.stderr
    assert len(rows) == 4
    for key, row in rows.items():
        (found,) = row["gateway"]
        assert found["engine"].startswith({"cpu": "onnxruntime"}.get(key[1], key[1]))
        # Every request has another score, so an answer to another row is seen.
        assert found["furthest_from_cpu"] < (1e-5 if key[0] == "tabular" else 5e-3)
        assert (found["note"], found["one_row_a_batch_because"]) == (None, None)
        assert found["alone_calls"] > 0
        assert found["rows_per_s"] > 0
        assert found["of_the_bare_engine"] > 0
    assert all("memory_limit_us" not in row for row in told["rows"])


def _scores(spelling: str, folder: Path, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    place = folder / spelling
    if not place.exists():
        place.mkdir()
        write_decoder(TINY, spelling, place)
        assert sorted(each.name for each in place.iterdir()) == ["model.onnx", "weights.bin"]
    session = onnxruntime.InferenceSession(
        str(place / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    scores: NDArray[np.float32] = session.run(None, {"input_ids": ids})[0]
    return scores


IDS = np.arange(16, dtype=np.int64).reshape(2, 8)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_decoder_reads_its_tokens_in_order(tmp_path: Path, spelling: str) -> None:
    whole = _scores(spelling, tmp_path, IDS)
    assert whole.shape == (2, 1)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(_scores(spelling, tmp_path, IDS[1:]), whole[1:], atol=2e-3)
    # The first token reaches the last one's score, and so does the order.
    for changed in (np.roll(IDS, 1, axis=1), np.where(IDS % 8 == 0, 40, IDS)):
        assert np.abs(_scores(spelling, tmp_path, changed) - whole).min() > 1e-3


def test_both_spellings_of_a_decoder_are_one_network(tmp_path: Path) -> None:
    ids = np.random.default_rng(5).integers(0, 50, (20, 8))
    plain, fused = (_scores(spelling, tmp_path, ids) for spelling in ("plain", "fused"))
    assert np.std(plain) > 0.02
    np.testing.assert_allclose(fused, plain, atol=4e-3)


def test_the_decoders_have_the_sizes_that_they_are_called_by() -> None:
    assert 0.45e9 < SMALL.parameters < 0.55e9
    assert 3.8e9 < LARGE.parameters < 4.2e9
