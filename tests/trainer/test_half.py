"""The encoder in 16-bit floats: near the float32 one, half of the size, the same inputs."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.trainer import tiny
from trainer.encoder import Head, to_onnx
from trainer.half import BFLOAT16, FLOAT16
from trainer.inference import feed, session
from trainer.precision import FLOAT32, Precision

HEAD = Head(np.linspace(-6, 6, tiny.WIDTH, dtype=np.float32)[:, None], np.array([0.3], np.float32))


def test_float16_scores_are_near_those_of_float32() -> None:
    ids = [np.arange(4, 4 + n, dtype=np.int64) % len(tiny.WORDS) for n in (3, 7, 12)]
    found = [
        session(to_onnx(tiny.encoder(), HEAD, precision)).run(None, feed(ids, 12))[0]
        for precision in (FLOAT32, FLOAT16)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("precision", "element"), [(FLOAT16, TensorProto.FLOAT16), (BFLOAT16, TensorProto.BFLOAT16)]
)
def test_products_are_in_16_bits_and_the_edges_are_not(precision: Precision, element: int) -> None:
    graph = onnx.load_from_string(to_onnx(tiny.encoder(), HEAD, precision))
    onnx.checker.check_model(graph, full_check=True)
    weights = {each.name: each.data_type for each in graph.graph.initializer}
    products = [n for n in graph.graph.node if n.op_type == "MatMul" and n.input[1] in weights]
    # Query, key and value together; the attention's output; two of the feed-forward network.
    assert len(products) == 4 * tiny.LAYERS
    assert {weights[node.input[1]] for node in products} == {element}
    edges = [v.type.tensor_type.elem_type for v in (*graph.graph.input, *graph.graph.output)]
    assert edges == [TensorProto.INT64, TensorProto.INT64, TensorProto.FLOAT]
