"""Adapters of one base: their matrices as inputs of one engine, or refitted into a plan."""

from tests.tensorrt.conftest import Machine

START = """
import json, os, sys
import numpy as np
from gateway.engines import Bucket, find
from gateway.engines.tensorrt.reference import packed
from tests import graphs
from tests.tensorrt import programs as p
import onnx
from onnx import TensorProto, helper, numpy_helper
opened = find("tensorrt")

def adapted(file, value, extra=""):
    # features times w, plus features times the adapter's two matrices.
    named = [graphs.value("a", TensorProto.FLOAT, [32, 4]),
             graphs.value("b", TensorProto.FLOAT, [4, 1])] if file == "adapter" else []
    chance = np.random.default_rng(0)
    weights = {"w": (32, 1)} | ({} if named else {"a": (32, 4), "b": (4, 1)})
    held = [numpy_helper.from_array(chance.standard_normal(s).astype(np.float32), n)
            for n, s in weights.items()]
    node = helper.make_node
    import tempfile
    path = graphs.save(__import__("pathlib").Path(tempfile.mkdtemp()) / "g.onnx",
        [node("MatMul", ["features", "w"], ["base"]), node("MatMul", ["features", "a"], ["low"]),
         node("MatMul", ["low", "b"], ["more"]), node("Add", ["base", "more"], ["score"])],
        [graphs.value("features", TensorProto.FLOAT, ["n", 32]), *named],
        [graphs.value("score", TensorProto.FLOAT, ["n", 1])], held)
    chance = np.random.default_rng(value)
    arrays = {"a": chance.standard_normal((32, 4)).astype(np.float32),
              "b": chance.standard_normal((4, 1)).astype(np.float32)}
    said = p.toml(f'{file} = "values.npz"\\n{extra}')
    files = {"engine.toml": said, "values.npz": packed(arrays)}
    from gateway.engines import Model
    graph = path.read_bytes()
    return Model((p.FEATURES,), (p.SCORE,), {"model.onnx": graph, **files}, "model.onnx"), arrays

def right(lane, file, model, arrays):
    x = p.rows_of(3, 1)
    base = model.files["model.onnx"]
    w = numpy_helper.to_array(onnx.load_from_string(base).graph.initializer[0])
    want = x[0] @ w + x[0] @ arrays["a"] @ arrays["b"]
    return bool(np.allclose(p.run(lane, x)[0], want, 1e-4, 1e-4))
"""
SHARED = """
lanes = []
for value in (1, 2):
    model, arrays = adapted("adapter", value)
    lanes.append((opened(model, Bucket(4), 0), model, arrays))
print([right(lane, "adapter", model, arrays) for lane, model, arrays in lanes])
print(len({id(lane._runner._engine) for lane, _, _ in lanes}))
[lane.close() for lane, _, _ in lanes]
print(json.dumps(p.live()))
"""


def test_adapters_of_one_base_share_its_engine(machine: Machine) -> None:
    assert machine.run(START + SHARED).splitlines() == ["[True, True]", "1", "{}"]
    assert len(list(machine.cache.glob("*.plan"))) == 1


REFIT = """
lanes = []
for value in (1, 2):
    model, arrays = adapted("refit", value)
    lanes.append((opened(model, Bucket(4), 0), model, arrays))
print([right(lane, "refit", model, arrays) for lane, model, arrays in lanes])
print(len({id(lane._runner._engine) for lane, _, _ in lanes}))
"""


def test_a_refit_takes_a_plan_and_not_a_build(machine: Machine) -> None:
    # The engine that answers is not touched: another one is made of the same plan.
    assert machine.run(START + REFIT).splitlines() == ["[True, True]", "2"]
    assert len(list(machine.cache.glob("*.plan"))) == 1


CPU = """
for file in ("adapter", "refit"):
    model, arrays = adapted(file, 3, "cpu = true")
    lane = opened(model, Bucket(4), 0)
    print(lane.describe().split()[0], right(lane, file, model, arrays))
"""


def test_the_cpu_in_its_place_has_the_adapter_too(machine: Machine) -> None:
    told = machine.run(START + CPU, DRIVER_DOUBLE_NO_DEVICE="1").splitlines()
    assert told == ["onnxruntime True", "onnxruntime True"]


UNKNOWN = """
model, _ = adapted("refit", 1)
files = dict(model.files) | {"values.npz": packed({"nothing": np.zeros(3, np.float32)})}
from dataclasses import replace
print(p.refusal(lambda: opened(replace(model, files=files), Bucket(4), 0)))
files["values.npz"] = b"no arrays"
print(p.refusal(lambda: opened(replace(model, files=files), Bucket(4), 0)))
model, _ = adapted("adapter", 1)
files = dict(model.files) | {"values.npz": packed({"a": np.zeros((32, 4), np.float32)})}
print(p.refusal(lambda: opened(replace(model, files=files), Bucket(4), 0)))
"""


def test_an_adapter_that_does_not_fit_is_said(machine: Machine) -> None:
    unknown, broken, missing = machine.run(START + UNKNOWN).splitlines()
    assert unknown == "failed: the engine has no weights 'nothing' that can be refitted"
    assert broken.startswith("failed: values.npz is no file of arrays (.npz)")
    assert missing == "failed: the engine wants an input 'b', the model has none"
