"""Graphs written out for TensorRT's parser compute what they computed."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gateway.engines import EngineError
from gateway.engines.tensorrt.lowering import lower
from trainer.export import Classifier, to_onnx
from trainer.graph import Graph, float32
from trainer.precision import per_token

FEATURES = 6
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
Floats = NDArray[np.float32]


def _run(graph: bytes, x: Floats, name: str = "features") -> list[Any]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    answers: list[Any] = session.run(None, {name: x})
    return answers


def _lowered(graph: bytes, *outputs: str) -> bytes:
    lowered = lower(graph, outputs)
    assert lowered is not None
    model = onnx.load_model_from_string(lowered)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert {o.domain for o in model.opset_import} == {""}
    # The same bytes each time: plans are keyed by what they are made of.
    assert lowered == lower(graph, outputs)
    return lowered


def _random_trees(modes: tuple[str, ...], trees: int, missing: bool) -> dict[str, list[Any]]:
    """Attributes of trees of different depths; thresholds are among the values of the rows."""
    chance = np.random.default_rng(len(modes) + trees)
    told: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            *("treeids", "nodeids", "featureids", "values", "modes"),
            *("truenodeids", "falsenodeids", "missing_value_tracks_true"),
        )
    }
    leaves: dict[str, list[Any]] = {
        f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")
    }
    for tree in range(trees):
        numbers = itertools.count()

        def grow(depth: int, tree: int = tree, numbers: Any = numbers) -> int:
            node: int = next(numbers)
            branch = depth > 0 and chance.random() < 0.85
            at = len(told["nodes_treeids"])
            row = (tree, node, int(chance.integers(FEATURES)), float(chance.integers(-3, 4)) / 2)
            mode = modes[chance.integers(len(modes))] if branch else "LEAF"
            tracks = int(missing and branch and chance.random() < 0.5)
            for key, value in zip(told, (*row, mode, 0, 0, tracks), strict=True):
                told[key].append(value)
            if branch:
                told["nodes_truenodeids"][at] = grow(depth - 1)
                told["nodes_falsenodeids"][at] = grow(depth - 1)
            else:
                # Each tree has a column, and says there which leaf a row came to.
                for key, value in zip(leaves, (tree, node, tree, float(node)), strict=True):
                    leaves[key].append(value)
            return node

        grow(tree % 7)
    return told | leaves


def _regressor(attributes: Mapping[str, Any], targets: int) -> bytes:
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["score"],
        domain="ai.onnx.ml",
        n_targets=targets,
        **attributes,
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "trees",
        [value("features", TensorProto.FLOAT, ["n", FEATURES])],
        [value("score", TensorProto.FLOAT, ["n", targets])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return made


@pytest.mark.parametrize("missing", [False, True], ids=["", "missing"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), MODES], ids=[*MODES, "all"])
def test_every_row_comes_to_the_same_leaf_of_every_tree(
    modes: tuple[str, ...], missing: bool
) -> None:
    trees = 20
    graph = _regressor(_random_trees(modes, trees, missing), trees)
    # Halves from -2 to 2: rows stand on thresholds, where < and <= part.
    x = (np.random.default_rng(7).integers(-4, 5, (500, FEATURES)) / 2).astype(np.float32)
    if missing:
        x[::3, ::2] = np.nan
    x[1, 1], x[2, 2] = np.inf, -np.inf
    (want,), (got,) = _run(graph, x), _run(_lowered(graph, "score"), x)
    assert len(np.unique(want)) > 5
    np.testing.assert_array_equal(got, want)


def _table(rows: int, seed: int = 3) -> tuple[Floats, NDArray[np.int8]]:
    x = np.random.default_rng(seed).standard_normal((rows, FEATURES)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(np.int8)


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=20, max_depth=4, random_state=0),
        RandomForestClassifier(n_estimators=10, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=50, random_state=0)),
    ],
    ids=["boosted", "forest", "logistic", "network"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fitted_models_score_as_before(model: Classifier) -> None:
    graph = to_onnx(model.fit(*_table(400)), features=FEATURES, name="m")
    lowered, (x, _) = _lowered(graph, "score"), _table(1000, seed=4)
    np.testing.assert_allclose(_run(lowered, x)[0], _run(graph, x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("base", [[], [0.25], [0.25, -0.5]])
@pytest.mark.parametrize("sign", [1, -1], ids=["probabilities", "sums"])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_two_scores_of_one_sum_are_those_of_onnx_runtime(
    base: list[float], sign: int, transform: str
) -> None:
    trees = _random_trees(("BRANCH_LEQ",), 4, False)
    weights = [sign * 0.05 * w for w in trees["target_weights"]]
    told = {name: value for name, value in trees.items() if name.startswith("nodes")}
    told |= {"class_treeids": trees["target_treeids"], "class_nodeids": trees["target_nodeids"]}
    told |= {"class_ids": [0] * len(weights), "class_weights": weights}
    if base:
        told["base_values"] = base
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["features"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        post_transform=transform,
        **told,
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "trees",
        [value("features", TensorProto.FLOAT, ["n", FEATURES])],
        [value("scores", TensorProto.FLOAT, ["n", 2]), value("label", TensorProto.INT64, ["n"])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    x, _ = _table(200)
    if len(base) > 1:
        # What ONNX Runtime makes of the second is not what a reader would expect.
        with pytest.raises(EngineError, match="two base values"):
            lower(data, ["scores"])
        return
    lowered = _lowered(data, "scores")
    want = _run(data, x)[0]
    np.testing.assert_allclose(_run(lowered, x)[0], want, rtol=0, atol=1e-6)
    with pytest.raises(EngineError, match="gives labels; a plan gives scores"):
        lower(data, ["scores", "label"])


def _dense(scale: float = 1.0) -> bytes:
    """A layer in int8, a scale a token: `x` [n, tokens, 16] to `y` [n, tokens, 4]."""
    chance, graph = np.random.default_rng(5), Graph()
    weight = (scale * chance.standard_normal((16, 4))).astype(np.float32)
    per_token(graph, "x", weight, np.ones(4, np.float32), "y")
    return graph.model("layer", [float32("x", "n", "t", 16)], float32("y", "n", "t", 4), opset=21)


def test_products_of_whole_numbers_are_the_same_to_the_last_bit() -> None:
    graph = _dense()
    x = np.random.default_rng(1).standard_normal((3, 5, 16)).astype(np.float32)
    # Halves between two steps, and a token of zeros.
    x[0, 0] = np.linspace(-127, 127, 16) / 2
    x[1, 1] = 0
    (got,), (want,) = _run(_lowered(graph, "y"), x, "x"), _run(graph, x, "x")
    np.testing.assert_array_equal(got, want)


def test_a_scale_of_the_whole_batch_is_left_out_so_that_rows_stand_alone() -> None:
    chance = np.random.default_rng(2)
    weights = chance.integers(-64, 65, (16, 4)).astype(np.int8)
    held = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.int8(3), "w_zero"),
        numpy_helper.from_array(np.float32(0.02), "w_scale"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["exact"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "w_scale"], ["both"]),
        helper.make_node("Mul", ["exact", "both"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["n", 16])]
    outputs = [value("y", TensorProto.FLOAT, ["n", 4])]
    made = helper.make_graph(nodes, "dynamic", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
    lowered = _lowered(graph, "y")
    x = chance.standard_normal((8, 16)).astype(np.float32)
    exact = (x.astype(np.float64) @ (weights.astype(np.float64) - 3)) * 0.02
    np.testing.assert_allclose(_run(lowered, x, "x")[0], exact, rtol=0, atol=1e-4)
    np.testing.assert_allclose(_run(graph, x, "x")[0], exact, rtol=0, atol=0.1)
    x[1:] *= 1000
    np.testing.assert_allclose(_run(lowered, x, "x")[0][:1], exact[:1], rtol=0, atol=1e-4)
    assert np.abs(_run(graph, x, "x")[0][:1] - exact[:1]).max() > 0.1


def test_what_the_parser_knows_is_left_as_it_is() -> None:
    graph = Graph()
    graph.add("Relu", ["x"], "y")
    data = graph.model("m", [float32("x", "n", 3)], float32("y", "n", 3), opset=17)
    assert lower(data, ["y"]) is None


def test_what_cannot_be_written_out_is_named() -> None:
    trees = _random_trees(("BRANCH_LEQ",), 2, False)
    with pytest.raises(EngineError, match=r"TreeEnsembleRegressor .* ends in PROBIT"):
        lower(_regressor(trees | {"post_transform": "PROBIT"}, 2), ["score"])
    with pytest.raises(EngineError, match="does not sum its trees"):
        lower(_regressor(trees | {"aggregate_function": "MAX"}, 2), ["score"])
    model = onnx.load_model_from_string(_regressor(trees, 2))
    model.graph.node[0].op_type = "SVMRegressor"
    with pytest.raises(EngineError, match=r"SVMRegressor .* is not written out"):
        lower(model.SerializeToString(), ["score"])
    model.opset_import[0].version = 11
    with pytest.raises(EngineError, match="must be exported with 13 or later"):
        lower(model.SerializeToString(), ["score"])
