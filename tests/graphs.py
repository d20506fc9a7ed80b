"""Small graphs whose answers are easy to foretell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gateway.packing import Packed, Text, Wishes, pack_graph

Dims = list[int | str]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto] | None = None,
) -> Path:
    """Write a graph of opset 17."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights or [])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def value(name: str, kind: int, dims: Dims) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape."""
    return helper.make_tensor_value_info(name, kind, dims)


def constant(path: Path, number: float) -> Path:
    """`score` [n, 1] is `number` whatever `features` [n, 32] holds, as long as it is finite."""
    weights = [
        numpy_helper.from_array(np.zeros((32, 1), np.float32), "w"),
        numpy_helper.from_array(np.full(1, number, np.float32), "b"),
    ]
    return save(
        path,
        [helper.make_node("Gemm", ["features", "w", "b"], ["score"])],
        [value("features", TensorProto.FLOAT, ["n", 32])],
        [value("score", TensorProto.FLOAT, ["n", 1])],
        weights,
    )


def pack_constant(
    repository: Path, name: str, number: float, wishes: Wishes | None = None
) -> Packed:
    """Pack a graph that answers `number`."""
    graph = constant(repository / f"{name}-{number}.onnx", number)
    packed = pack_graph(graph, name, repository, wishes=wishes)
    graph.unlink()
    return packed


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]


def tokenizer() -> bytes:
    """Words a, b and c are 4, 5 and 6, any other 1; [CLS] 2 and [SEP] 3 stand around a text."""
    special = {
        word: {"id": word, "ids": [VOCABULARY.index(word)], "tokens": [word]}
        for word in ("[CLS]", "[SEP]")
    }
    around = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    told: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": around,
            "pair": [*around, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "unk_token": "[UNK]",
            "vocab": {word: number for number, word in enumerate(VOCABULARY)},
        },
    }
    return json.dumps(told).encode()


def token_sum(path: Path) -> Path:
    """`score` [n, 1] is the sum of a row's token ids, `length` [n, 1] their number."""
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["score"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["attention_mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Cast", ["count"], ["length"], to=TensorProto.FLOAT),
    ]
    tokens: Dims = ["n", "tokens"]
    return save(
        path,
        nodes,
        [value(name, TensorProto.INT64, tokens) for name in ("input_ids", "attention_mask")],
        [value(name, TensorProto.FLOAT, ["n", 1]) for name in ("score", "length")],
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )


def pack_token_sum(repository: Path, name: str = "words", max_tokens: int = 64) -> Packed:
    """Pack a text model that adds its tokens up."""
    graph = token_sum(repository / f"{name}.onnx")
    text = Text(tokenizer(), max_tokens=max_tokens, max_bytes=2048)
    packed = pack_graph(graph, name, repository, wishes=Wishes(text=text))
    graph.unlink()
    return packed
