"""Real builds by tensorrt_rtx on the CPU: what runs nowhere here is at least read and built."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingClassifier

from bench import models
from gateway.engines import Bucket, EngineError, Model, Tensor
from gateway.engines.tensorrt.building import build
from gateway.engines.tensorrt.cache import Cache
from gateway.engines.tensorrt.errors import Unavailable
from gateway.engines.tensorrt.flavour import flavour
from gateway.engines.tensorrt.ladder import ladder
from gateway.engines.tensorrt.plans import Graph, recipe
from gateway.engines.tensorrt.settings import ModelSays, Settings
from tests import graphs
from tests.trainer import tiny
from trainer import encoder
from trainer.encoder import Head
from trainer.export import to_onnx
from trainer.precision import INT8_PER_TOKEN

try:
    RTX = flavour("tensorrt_rtx")
    WHY = ""
except Unavailable as error:
    WHY = str(error)
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)

FEATURES = Tensor("features", "FP32", (-1, 32))
SCORE = Tensor("score", "FP32", (-1, 1))


def _plan(
    folder: Path,
    model: Model,
    largest: Bucket,
    capability: str = "8.9",
    says: ModelSays | None = None,
) -> bytes:
    graph = Graph.of(model.files, "model.onnx")
    wanted = recipe(
        model,
        graph,
        ladder(model.inputs, largest),
        says or ModelSays(),
        Settings(),
        RTX.name,
        RTX.version,
        capability,
        "",
    )
    return build(Cache(folder), wanted, graph, seconds=300)


def _perceptron(graph: onnx.ModelProto | None = None, kind: str = "FP32") -> Model:
    data = (graph or models.perceptron()).SerializeToString()
    inputs = (Tensor("features", kind, (-1, 32)),)
    return Model(inputs, (Tensor("score", kind, (-1, 1)),), {"model.onnx": data}, "model.onnx")


def test_the_same_model_built_twice_has_the_same_bytes(tmp_path: Path) -> None:
    one, other = (_plan(tmp_path / name, _perceptron(), Bucket(64)) for name in ("a", "b"))
    assert one == other
    assert len(one) > 10_000
    # Another GPU and other batches are other plans.
    assert _plan(tmp_path / "a", _perceptron(), Bucket(64), "8.6") != one
    assert _plan(tmp_path / "a", _perceptron(), Bucket(8)) != one


def _twice(folder: Path, model: Model, largest: Bucket) -> bytes:
    one, other = (_plan(folder / name, model, largest) for name in ("a", "b"))
    assert one == other
    return one


def test_trees_are_built_twice_with_the_same_bytes(tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((300, 32)).astype(np.float32)
    trees = GradientBoostingClassifier(n_estimators=20, max_depth=4, random_state=0)
    graph = to_onnx(trees.fit(x, (x[:, 0] * x[:, 1] > 0).astype(np.int8)), features=32, name="m")
    model = Model((FEATURES,), (SCORE,), {"model.onnx": graph}, "model.onnx")
    assert len(_twice(tmp_path, model, Bucket(64))) > 10_000


def test_an_encoder_in_int8_is_built_twice_with_the_same_bytes(tmp_path: Path) -> None:
    head = Head(np.ones((tiny.WIDTH, 1), np.float32), np.zeros(1, np.float32))
    graph = encoder.to_onnx(tiny.encoder(), head, INT8_PER_TOKEN)
    inputs = tuple(Tensor(n, "INT64", (-1, -1)) for n in ("input_ids", "attention_mask"))
    model = Model(inputs, (SCORE,), {"model.onnx": graph}, "model.onnx")
    assert len(_twice(tmp_path, model, Bucket(8, 16))) > 10_000


def test_a_text_model_with_lengths_is_built(tmp_path: Path) -> None:
    graph = graphs.token_sum(tmp_path / "words.onnx").read_bytes()
    inputs = tuple(Tensor(n, "INT64", (-1, -1)) for n in ("input_ids", "attention_mask"))
    outputs = tuple(Tensor(n, "FP32", (-1, 1)) for n in ("score", "length"))
    model = Model(inputs, outputs, {"model.onnx": graph}, "model.onnx")
    assert _plan(tmp_path / "cache", model, Bucket(8, 64))


def _layer(kind: int, before: list[onnx.NodeProto], *weights: onnx.TensorProto) -> onnx.ModelProto:
    """`score` = features times w2, where `before` makes x2 of features and w2 of w."""
    value = helper.make_tensor_value_info
    node = helper.make_node("MatMul", ["x2", "w2"], ["score"])
    graph = helper.make_graph(
        [*before, node],
        "layer",
        [value("features", kind, ["n", 32])],
        [value("score", kind, ["n", 1])],
        list(weights),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def _half(kind: int) -> onnx.ModelProto:
    w = helper.make_tensor("w", kind, [32, 1], np.linspace(-1, 1, 32).tolist())
    same = [helper.make_node("Identity", [a], [b]) for a, b in (("features", "x2"), ("w", "w2"))]
    return _layer(kind, same, w)


def _quantised(kind: int) -> onnx.ModelProto:
    zero = helper.make_tensor("zero", kind, [], [0.0 if kind == TensorProto.FLOAT8E4M3FN else 0])
    scale = numpy_helper.from_array(np.float32(0.02), "scale")
    w = numpy_helper.from_array(np.linspace(-1, 1, 32, dtype=np.float32)[:, None], "w")
    nodes = []
    for start, end in (("features", "x"), ("w", "w")):
        nodes += [
            helper.make_node("QuantizeLinear", [start, "scale", "zero"], [f"{end}1"]),
            helper.make_node("DequantizeLinear", [f"{end}1", "scale", "zero"], [f"{end}2"]),
        ]
    return _layer(TensorProto.FLOAT, nodes, w, scale, zero)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: _half(TensorProto.FLOAT16), "FP16"),
        (lambda: _half(TensorProto.BFLOAT16), "BF16"),
        (lambda: _quantised(TensorProto.INT8), "FP32"),
        (lambda: _quantised(TensorProto.FLOAT8E4M3FN), "FP32"),
    ],
    ids=["fp16", "bf16", "int8", "fp8"],
)
def test_the_graph_says_the_precision(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], kind: str
) -> None:
    assert _plan(tmp_path, _perceptron(make(), kind), Bucket(8))


def test_what_the_library_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the graph is no ONNX file"):
        _plan(
            tmp_path, Model((FEATURES,), (SCORE,), {"model.onnx": b"none"}, "model.onnx"), Bucket(2)
        )
    with pytest.raises(EngineError, match=r"builds for .*8\.9"):
        _plan(tmp_path, _perceptron(), Bucket(2), "9.0")
    # Refittable plans need a GPU when they are built.
    with pytest.raises(EngineError, match="could not build a plan: "):
        _plan(tmp_path, _perceptron(), Bucket(2), says=ModelSays(refit="w.npz"))
    assert list(tmp_path.glob("*.plan")) == []


def test_the_receipt_says_what_was_built(tmp_path: Path) -> None:
    plan = _plan(tmp_path, _perceptron(), Bucket(2))
    (path,) = tmp_path.glob("*.plan.json")
    receipt = json.loads(path.read_bytes())["receipt"]
    assert receipt["sha256"] == hashlib.sha256(plan).hexdigest()
    assert receipt["about"]["version"] == RTX.version
    assert receipt["about"]["driver"] == ""
