"""Models that take text: tokenised in the data plane, batched by length."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bench import servers
from bench.servers import Contender
from gateway.packing import PackError, Text, Wishes, pack_graph
from gateway.wire import open_inference_pb2 as pb
from tests import graphs
from tests.calls import Client, connect, floats, model_status

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contender]:
    root = tmp_path_factory.mktemp("text")
    graphs.pack_token_sum(root)
    with servers.sluicegate(root) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Contender) -> Client:
    return connect(server)


def texts(*rows: str | bytes, name: str = "words") -> Any:
    data = [row.encode() if isinstance(row, str) else row for row in rows]
    raw = b"".join(len(row).to_bytes(4, "little") + row for row in data)
    message = pb.ModelInferRequest(model_name=name, raw_input_contents=[raw])
    message.inputs.add(name="text", datatype="BYTES", shape=[len(rows), 1])
    return message


def test_a_text_is_tokenised_and_answered(client: Client) -> None:
    # [CLS] 2, a 4, b 5, unknown 1, [SEP] 3
    answer = client.stub.ModelInfer(texts("A b zebra"), timeout=5)
    assert (floats(answer, 0).tolist(), floats(answer, 1).tolist()) == ([[15.0]], [[5.0]])


def test_texts_of_any_length_in_one_request_come_back_in_order(client: Client) -> None:
    counts = [0, 61, 3, 30, 1, 62, 7, 7, 44, 12] * 40
    answer = client.stub.ModelInfer(texts(*("c " * n for n in counts)), timeout=30)
    np.testing.assert_array_equal(floats(answer, 0)[:, 0], [5 + 6 * n for n in counts])


def test_a_text_is_cut_to_its_tokens_and_a_megabyte_costs_no_more(client: Client) -> None:
    for words in (63, 64, 1000, 500_000):
        answer = client.stub.ModelInfer(texts("a " * words), timeout=5)
        assert (floats(answer, 0).item(), floats(answer, 1).item()) == (5 + 62 * 4, 64)


def test_bytes_are_cut_before_tokens(client: Client) -> None:
    padded = " " * 2047 + "a b"
    assert floats(client.stub.ModelInfer(texts(padded), timeout=5)).item() == 2 + 4 + 3


def test_typed_contents_are_texts_too(client: Client) -> None:
    message = texts("a")
    del message.raw_input_contents[:]
    message.inputs[0].contents.bytes_contents.append(b"b")
    assert client.infer(message).item() == 2 + 5 + 3


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (texts("fine", b"a\xffb"), "input 'text', row 1: not UTF-8 from byte 1 on"),
        (texts(), "has no rows"),
        (pb.ModelInferRequest(model_name="words"), "input 'text' is missing"),
    ],
)
def test_what_is_no_text_is_refused(client: Client, message: Any, sentence: str) -> None:
    code, told = client.refusal(message)
    assert (code, sentence in told) == (CODE.INVALID_ARGUMENT, True), told


def test_raw_bytes_that_end_within_an_element_are_refused(client: Client) -> None:
    message = texts("abc")
    message.raw_input_contents[0] = message.raw_input_contents[0][:-1]
    code, told = client.refusal(message)
    assert (code, "end within element 0" in told) == (CODE.INVALID_ARGUMENT, True)


def test_only_rows_of_like_length_share_a_batch(client: Client, server: Contender) -> None:
    before = {line["tokens"] for line in model_status(server, "words")["cost"]}
    assert {8, 64} <= before
    long, short = "a " * 60, "a"
    calls = [client.stub.ModelInfer.future(texts(text), timeout=10) for text in [long, short] * 50]
    answers = [floats(call.result()).item() for call in calls]
    assert answers == [5 + 60 * 4, 5 + 4] * 50


def test_metadata_tells_what_callers_send(client: Client) -> None:
    told = client.stub.ModelMetadata(pb.ModelMetadataRequest(name="words"), timeout=5)
    assert [(i.name, i.datatype, list(i.shape)) for i in told.inputs] == [
        ("text", "BYTES", [-1, 1])
    ]
    config = client.stub.ModelConfig(pb.ModelConfigRequest(name="words"), timeout=5).config
    assert config.input[0].data_type == 13


def test_a_graph_without_token_inputs_is_not_a_text_model(tmp_path: Path) -> None:
    graph = graphs.constant(tmp_path / "g.onnx", 1.0)
    wishes = Wishes(text=Text(graphs.tokenizer()))
    with pytest.raises(PackError, match="needs an input 'input_ids'; it has 'features'"):
        pack_graph(graph, "m", tmp_path / "r", wishes=wishes)


def test_a_file_that_is_no_tokenizer_is_named_at_load(tmp_path: Path) -> None:
    graph = graphs.token_sum(tmp_path / "g.onnx")
    pack_graph(graph, "bad", tmp_path / "r", wishes=Wishes(text=Text(b"{}")))
    graphs.pack_token_sum(tmp_path / "r")
    with servers.sluicegate(tmp_path / "r") as running:
        assert "'tokenizer.json' is not a tokenizer" in model_status(running, "bad")["error"]
