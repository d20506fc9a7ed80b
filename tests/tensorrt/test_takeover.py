"""A plan that is built beside traffic: ONNX Runtime answers until it is there."""

import json
import time
from pathlib import Path

import pytest

from tests.tensorrt.conftest import Machine

START = """
import json, os, sys, threading, time
import numpy as np
from gateway.engines import Bucket, find
from tests.tensorrt import programs as p
opened = find("tensorrt")
model = p.perceptron(**{"engine.toml": p.toml("cpu = true")})
def until(lane, word, seconds=60):
    end = time.monotonic() + seconds
    while word not in lane.describe():
        assert time.monotonic() < end, lane.describe()
        time.sleep(0.01)
"""
TAKES_OVER = """
lanes = [opened(model, Bucket(8), index) for index in range(2)]
print(json.dumps([lane.describe() for lane in lanes]))
places = [lane.buffers(Bucket(5)).inputs[0].ctypes.data for lane in lanes]
chance, wrong, batches, said = np.random.default_rng(1), 0, 0, set()
end = time.monotonic() + 60
while "tensorrt" not in lanes[0].describe()[:8] and time.monotonic() < end:
    rows = int(chance.integers(1, 9))
    x = chance.standard_normal((rows, 32)).astype(np.float32)
    wrong += not np.allclose(p.run(lanes[0], [x])[0], p.expected(model, [x])[0], 1e-4, 1e-5)
    batches += 1
until(lanes[1], "CUDA graphs")
launches = p.driver().driver_double_launches()
x = p.rows_of(5, 1)
wrong += any(not np.allclose(p.run(l, x)[0], p.expected(model, x)[0], 1e-4, 1e-5) for l in lanes)
print(p.driver().driver_double_launches() - launches)
print([lane.buffers(Bucket(5)).inputs[0].ctypes.data for lane in lanes] == places)
print(wrong, batches > 20, json.dumps([lane.describe() for lane in lanes]))
[lane.close() for lane in lanes]
print(json.dumps(p.live()))
"""


def test_the_cpu_answers_until_the_plan_is_built_and_then_the_gpu(machine: Machine) -> None:
    code = START + TAKES_OVER
    told = machine.run(code, TENSORRT_DOUBLE_BUILD_SECONDS="1").splitlines()
    before = json.loads(told[0])
    assert all(each.startswith("onnxruntime") for each in before)
    assert all("a plan for driver double is being built" in each for each in before)
    assert told[1:3] == ["2", "True"]
    wrong, went_on, after = told[3].split(" ", 2)
    assert (wrong, went_on) == ("0", "True")
    ready = ["tensorrt 11.4.0.106 on driver double, CUDA graphs"] * 2
    assert json.loads(after) == ready
    assert told[4] == "{}"
    # Two lanes asked, one built.
    assert len(list(machine.cache.glob("*.plan"))) == 1


FAILS = """
lane = opened(model, Bucket(4), 0)
until(lane, "not used")
print(lane.describe())
x = p.rows_of(3, 1)
print(np.allclose(p.run(lane, x)[0], p.expected(model, x)[0]))
"""


def test_a_build_that_fails_leaves_the_cpu_answering(machine: Machine) -> None:
    about, right = machine.run(START + FAILS, TENSORRT_DOUBLE_FAIL="build").splitlines()
    assert about.startswith("onnxruntime")
    assert "could not build a plan: no tactic" in about
    assert right == "True"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"TENSORRT_DOUBLE_NEIGHBOURS": "1"}, "output 'score' of a row beside rows of NaN"),
        ({"TENSORRT_DOUBLE_SCALE": "1.2"}, "output 'score' of tensorrt is not that of ONNX"),
    ],
)
def test_an_engine_whose_answers_are_not_the_graphs_does_not_take_over(
    machine: Machine, fault: dict[str, str], sentence: str
) -> None:
    about, right = machine.run(START + FAILS, **fault).splitlines()
    assert about.startswith("onnxruntime")
    assert sentence in about
    assert right == "True"


OPERATOR = """
print(p.refusal(lambda: opened(model, Bucket(4), 0)))
"""


def test_the_operator_may_forbid_what_the_model_allows(machine: Machine) -> None:
    machine.set('cpu = "never"')
    told = machine.run(START + OPERATOR, DRIVER_DOUBLE_NO_DEVICE="1")
    assert told.startswith("failed: there is no GPU")


CLOSED = """
lane = opened(model, Bucket(4), 0)
lane.close()
deadline = time.monotonic() + 60
while any(t.name == "takeover" for t in threading.enumerate()) and time.monotonic() < deadline:
    time.sleep(0.01)
print(json.dumps(p.live()))
print(p.refusal(lambda: lane.run(Bucket(4), 1)))
"""


def test_a_lane_that_is_closed_while_its_plan_is_built_leaves_nothing(machine: Machine) -> None:
    told = machine.run(START + CLOSED, TENSORRT_DOUBLE_BUILD_SECONDS="0.5").splitlines()
    assert told[0] == "{}"
    assert "the lane is closed" in told[1]


def test_a_server_that_may_not_build_says_what_to_do(machine: Machine) -> None:
    machine.set('build = "never"')
    code = """
print(p.refusal(lambda: opened(p.perceptron(), Bucket(4), 0)))
print(opened(model, Bucket(4), 0).describe())
"""
    refused, about = machine.run(START + code).splitlines()
    assert "run sluicegate engines build" in refused
    assert about.startswith("onnxruntime")


def test_a_builder_that_takes_too_long_is_ended(machine: Machine) -> None:
    machine.set("build_seconds = 1")
    code = "\nprint(p.refusal(lambda: opened(p.perceptron(), Bucket(4), 0)))"
    told = machine.run(START + code, TENSORRT_DOUBLE_BUILD_SECONDS="50")
    assert told == "failed: the builder was ended after 1 s (build_seconds)\n"


DIES = """
import subprocess
lane = opened(model, Bucket(4), 0)
def workers():
    listed = subprocess.run(["ps", "-eo", "ppid,pid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    own = [(pid, args) for parent, pid, args in rows if parent == str(os.getpid())]
    return [pid for pid, args in own if "tensorrt.worker" in args]
end = time.monotonic() + 30
while not workers() and time.monotonic() < end:
    time.sleep(0.01)
print(workers()[0], flush=True)
os._exit(0)
"""


def test_a_builder_ends_with_the_server_that_asked_for_it(machine: Machine) -> None:
    pid = int(machine.run(START + DIES, TENSORRT_DOUBLE_BUILD_SECONDS="100"))
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
