"""What is missing is said in a sentence, and the CPU answers where the model allows it."""

import pytest

from tests.tensorrt.conftest import Machine

START = """
import json, os, sys
from gateway.engines import Bucket, find
from tests.tensorrt import programs as p
opened = find("tensorrt")
"""
BOTH = """
print(p.refusal(lambda: opened(p.perceptron(), Bucket(4), 0)))
allowed = p.perceptron(**{"engine.toml": p.toml("cpu = true")})
lane = opened(allowed, Bucket(4), 0)
x = p.rows_of(3, 1)
print(lane.describe())
print(bool((abs(p.run(lane, x)[0] - p.expected(allowed, x)[0]) < 1e-5).all()))
"""
HIDE = "import sys; sys.modules['{}'] = None\n"
NO_LIBRARY = "".join(
    HIDE.format(name) for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
)


@pytest.mark.parametrize(
    ("before", "environment", "sentence"),
    [
        ("", {"LD_LIBRARY_PATH": ""}, "there is no NVIDIA driver on this machine"),
        ("", {"DRIVER_DOUBLE_NO_DEVICE": "1"}, "there is no GPU: the NVIDIA driver is here"),
        (
            "",
            {"DRIVER_DOUBLE_VERSION": "12040"},
            "the NVIDIA driver is too old: it knows CUDA 12.4",
        ),
        (HIDE.format("pycuda.driver"), {}, "pycuda is not installed: pip install"),
        (NO_LIBRARY, {}, "tensorrt is not installed"),
        ("", {"TENSORRT_DOUBLE_VERSION": "10.2.0"}, "tensorrt 10.2.0 is too old: 10.3 or later"),
        ("", {"DRIVER_DOUBLE_MEMORY": "2000"}, "the GPU is out of memory at"),
        ("", {"TENSORRT_DOUBLE_FAIL": "build"}, "could not build a plan: no tactic for node 'z0'"),
        ("", {"TENSORRT_DOUBLE_FAIL": "deserialize"}, "could not read a plan: the plan is of"),
        ("", {"TENSORRT_DOUBLE_FAIL": "context"}, "made no execution context: it gave no reason"),
        ("", {"TENSORRT_DOUBLE_SCALE": "1.2"}, "output 'score' of tensorrt is not that of ONNX"),
    ],
)
def test_what_is_missing_is_said(
    machine: Machine, before: str, environment: dict[str, str], sentence: str
) -> None:
    if "TENSORRT_DOUBLE_VERSION" in environment:
        machine.set('flavour = "tensorrt"')
    code = before + START + BOTH
    refused, about, right = machine.run(code, **environment).splitlines()[-3:]
    assert refused.startswith("failed: ")
    assert sentence in refused
    if environment.get("TENSORRT_DOUBLE_FAIL") != "build":
        # A build goes on behind the lane's back, and what became of it is told later.
        assert sentence in about
    assert about.startswith("onnxruntime")
    assert right == "True"


def test_a_device_that_is_not_there_is_said(machine: Machine) -> None:
    machine.set("devices = [0, 3]")
    code = "\nprint(p.refusal(lambda: opened(p.perceptron(), Bucket(4), 1)))"
    assert machine.run(START + code) == "failed: there is no GPU 3: the driver sees 1\n"


LOST = """
lanes = [opened(p.perceptron(), Bucket(4), i) for i in range(2)]
x = p.rows_of(3, 1)
p.run(lanes[0], x)
p.driver().driver_double_lose(719)
for lane in lanes:
    print(p.refusal(lambda: p.run(lane, x)))
    lane.close()
print(p.refusal(lambda: opened(p.perceptron(), Bucket(4), 0)))
lane = opened(p.perceptron(**{"engine.toml": p.toml("cpu = true")}), Bucket(4), 0)
print(lane.describe())
p.run(lane, x)
"""


def test_a_lost_device_stays_lost_and_the_cpu_goes_on(machine: Machine) -> None:
    one, other, again, cpu = machine.run(START + LOST).splitlines()
    assert one.startswith("device_lost: the GPU is lost: a kernel failed to run (CUDA error 719)")
    assert other.startswith("device_lost: ")
    assert again.startswith("device_lost: ")
    assert "restart the server to use this GPU again" in again
    assert cpu.startswith("onnxruntime")
    assert "the GPU is lost" in cpu


def test_a_graph_that_is_none_is_said(machine: Machine) -> None:
    code = """
from dataclasses import replace
model = replace(p.perceptron(), files={"model.onnx": b"nothing"})
print(p.refusal(lambda: opened(model, Bucket(4), 0)))
print(p.refusal(lambda: opened(replace(model, graph=None), Bucket(4), 0)))
"""
    assert machine.run(START + code).splitlines() == [
        "failed: the graph is no ONNX file",
        "failed: engine tensorrt needs 'graph' in the contract",
    ]


CONTRACT = """
from dataclasses import replace
from gateway.engines import Tensor
model = p.perceptron()
def told(**more):
    print(p.refusal(lambda: opened(replace(model, **more), Bucket(4), 0)))
told(outputs=(Tensor("score", "FP16", (-1, 1)),))
told(outputs=(Tensor("score", "FP32", (-1, 2)),))
told(outputs=(Tensor("points", "FP32", (-1, 1)),))
"""


def test_a_contract_that_is_not_the_engines_is_said(machine: Machine) -> None:
    told = machine.run(START + CONTRACT).splitlines()
    assert told == [
        "failed: tensor 'score' is FP32 in the engine, FP16 in the contract",
        "failed: tensor 'score' has shape [-1, 1] in the engine, [-1, 2] in the contract",
        "failed: the engine has no output 'points'",
    ]
