"""`sluicegate engines` on the doubles."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import models
from gateway.packing import Wishes, pack_graph
from tests.tensorrt.conftest import Machine

SLUICEGATE = [sys.executable, "-c", "from gateway.cli.main import main; main()"]


def _sluicegate(machine: Machine, *words: str, **more: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [*SLUICEGATE, "engines", *words, "--json"],
        env={**machine.environment, **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def _repository(folder: Path) -> Path:
    repository = folder / "models"
    repository.mkdir()
    graph = folder / "g.onnx"
    graph.write_bytes(models.perceptron().SerializeToString())
    pack_graph(graph, "gpu", repository, wishes=Wishes(engine="tensorrt"))
    models.pack_perceptron(repository, "cpu")
    return repository


def test_plans_are_built_listed_and_verified(machine: Machine, tmp_path: Path) -> None:
    repository = str(_repository(tmp_path))
    code, told, said = _sluicegate(machine, "build", repository)
    assert (code, len(told["plans"])) == (0, 1)
    assert told["plans"][0]["model"] == "gpu"
    assert told["plans"][0]["compute_capability"] == "9.0"
    assert told["plans"][0]["new"]
    assert "built   gpu/1 tensorrt 11.4.0.106, compute capability 9.0, driver 13.0" in said
    again = _sluicegate(machine, "build", repository)[1]["plans"][0]
    assert not again["new"]
    code, listed, _ = _sluicegate(machine, "list")
    assert [each["key"] for each in listed["plans"]] == [again["key"]]
    assert _sluicegate(machine, "verify")[0] == 0
    plan = machine.cache / f"{again['key']}.plan"
    plan.write_bytes(b"another")
    code, checked, said = _sluicegate(machine, "verify")
    assert (code, checked["refused"]) == (1, 1)
    assert "its bytes are not those that this gateway wrote" in said


def test_plans_for_named_gpus_need_no_gpu_and_are_found_on_it(
    machine: Machine, tmp_path: Path
) -> None:
    repository = str(_repository(tmp_path))
    named = ("build", repository, "--gpu", "RTX 4090", "--gpu", "sm86", "--ship")
    code, told, _ = _sluicegate(machine, *named, LD_LIBRARY_PATH="")
    assert code == 0
    built = {each["compute_capability"]: each for each in told["plans"]}
    assert list(built) == ["8.6", "8.9"]
    assert all(each["flavour"] == "tensorrt_rtx" for each in built.values())
    assert told["plans"][-1]["shipped"].endswith("models/gpu/2")
    # With an empty cache and no builder, the plan is the one in the model's manifest.
    machine.set(f'flavour = "tensorrt_rtx"\nbuild = "never"\ncache = "{tmp_path}/empty"')
    opens = f"""
from pathlib import Path
from gateway.engines import Bucket, find
from gateway.engines.directory import read
model = read(Path("{repository}/gpu/2")).model
print(find("tensorrt")(model, Bucket(256), 0).describe())
"""
    told = machine.run(opens, DRIVER_DOUBLE_CAPABILITY="89")
    assert told == "tensorrt_rtx 1.7.1.116 on driver double, CUDA graphs\n"


def test_what_cannot_be_built_is_said_and_the_exit_code_says_it_too(
    machine: Machine, tmp_path: Path
) -> None:
    repository = str(_repository(tmp_path))
    code, told, _ = _sluicegate(machine, "build", repository, "--gpu", "H100")
    assert code == 1
    assert "does not build for compute capability 9.0" in told["plans"][0]["error"]
    code, told, _ = _sluicegate(machine, "build", repository, "--gpu", "Voodoo")
    assert (code, told["exit_code"]) == (2, 2)
    assert told["error"].startswith("'Voodoo' is no GPU that is known here")
    code, told, _ = _sluicegate(machine, "build", repository, LD_LIBRARY_PATH="")
    assert (code, told["exit_code"]) == (3, 3)
    assert "there is no NVIDIA driver" in told["error"]
    code, told, _ = _sluicegate(machine, "build", repository, "--model", "none")
    assert (code, "there is no model 'none'" in told["error"]) == (2, True)
    machine.set("colour = 3")
    code, told, _ = _sluicegate(machine, "list")
    assert (code, "unknown key 'colour'" in told["error"]) == (2, True)
