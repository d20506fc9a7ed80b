"""Models that take and give strings: categories in, labels out, beside numbers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from bench.servers import Contender
from gateway.engines import Bucket, Model, Tensor, find
from gateway.packing import Packed, PackError, Wishes, pack_contract, pack_graph
from gateway.wire import open_inference_pb2 as pb
from tests import graphs
from tests.calls import connect, model_status
from tests.conftest import Serve

CITIES = ["Köln", "Paris", "", "a\0b", "São Paulo"]
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def _fit() -> bytes:
    """City (string) and amount (number) to a label (string) and its probabilities."""
    generator = np.random.default_rng(5)
    city = generator.choice(CITIES, 500)
    amount = generator.normal(size=500)
    table = np.empty((500, 2), object)
    table[:, 0], table[:, 1] = city, amount
    said = np.where((city == "Köln") ^ (amount > 0.5), "prüfen", "gut")
    encode = ColumnTransformer(
        [("city", OneHotEncoder(handle_unknown="ignore"), [0])], remainder="passthrough"
    )
    model = make_pipeline(encode, LogisticRegression()).fit(table, said)
    graph = to_onnx(
        model,
        initial_types=[
            ("city", StringTensorType([None, 1])),
            ("amount", FloatTensorType([None, 1])),
        ],
        options={LogisticRegression: {"zipmap": False}},
        target_opset=17,
    )
    encoded: bytes = graph.SerializeToString()
    return encoded


@pytest.fixture(scope="module")
def graph() -> bytes:
    return _fit()


def _ask(cities: Sequence[str | bytes], amounts: list[float], typed: bool = False) -> Any:
    texts = [c.encode() if isinstance(c, str) else c for c in cities]
    asked = pb.ModelInferRequest(model_name="m")
    city = asked.inputs.add(name="city", datatype="BYTES", shape=[len(texts), 1])
    amount = asked.inputs.add(name="amount", datatype="FP32", shape=[len(amounts), 1])
    if typed:
        city.contents.bytes_contents.extend(texts)
        amount.contents.fp32_contents.extend(amounts)
        return asked
    cells = b"".join(len(t).to_bytes(4, "little") + t for t in texts)
    asked.raw_input_contents.extend([cells, np.array(amounts, np.float32).tobytes()])
    return asked


def _strings(raw: bytes) -> list[str]:
    found = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def _pack(root: Path, graph: bytes, **wishes: Any) -> Packed:
    root.mkdir(exist_ok=True)
    (root / "g.onnx").write_bytes(graph)
    packed = pack_graph(root / "g.onnx", "m", root, wishes=Wishes(**wishes))
    (root / "g.onnx").unlink()
    return packed


def _serve(tmp_path: Path, serve: Serve, graph: bytes, **wishes: Any) -> Contender:
    packed = _pack(tmp_path / "models", graph, **wishes)
    contract = (packed.path / "contract.toml").read_text()
    assert contract.count("max_bytes") == 2, "one for the city, one for the label"
    return serve(tmp_path / "models", "")


def test_many_callers_rows_get_their_own_labels_as_offline(
    tmp_path: Path, serve: Serve, graph: bytes
) -> None:
    server = _serve(tmp_path, serve, graph)
    offline = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    client = connect(server)
    generator = np.random.default_rng(6)

    def one(turn: int) -> None:
        rows = turn % 3 + 1
        cities = [str(c) for c in generator.choice([*CITIES, "unknown"], rows)]
        amounts = generator.normal(size=rows).astype(np.float32)
        answer = client.stub.ModelInfer(_ask(cities, amounts.tolist(), turn % 2 == 0), timeout=10)
        table = {"city": np.array(cities, object)[:, None], "amount": amounts[:, None]}
        labels, scores = offline.run(None, table)
        assert answer.outputs[0].datatype == "BYTES"
        assert list(answer.outputs[0].shape) == [rows]
        assert _strings(answer.raw_output_contents[0]) == list(labels)
        sent = np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(rows, 2)
        np.testing.assert_allclose(sent, scores, rtol=1e-5, atol=1e-6)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(300)))
    told = model_status(server, "m")
    assert told["requests"]["answered"] == 300


def test_a_string_that_is_too_long_or_no_text_is_its_callers_fault_alone(
    tmp_path: Path, serve: Serve, graph: bytes
) -> None:
    client = connect(_serve(tmp_path, serve, graph, string_bytes=16))
    code, said = client.refusal(_ask(["x" * 17], [0.0]))
    assert (code, "element 0 has 17 bytes, the model takes 16 at most" in said) == (INVALID, True)
    code, said = client.refusal(_ask(["ok", b"\xff"], [0.0, 1.0]))
    assert (code, "element 1: not UTF-8 from byte 0 on" in said) == (INVALID, True)
    code, said = client.refusal(_ask(["a"], [0.0, 1.0]))
    assert (code, "another input has" in said) == (INVALID, True)
    answer = client.stub.ModelInfer(_ask(["Köln"], [2.0]), timeout=5)
    assert _strings(answer.raw_output_contents[0])[0] in ("gut", "prüfen")


def test_metadata_names_strings_as_bytes(tmp_path: Path, serve: Serve, graph: bytes) -> None:
    client = connect(_serve(tmp_path, serve, graph))
    told = client.stub.ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=5)
    assert [(t.name, t.datatype) for t in told.inputs] == [("city", "BYTES"), ("amount", "FP32")]
    assert told.outputs[0].datatype == "BYTES"


def test_an_answer_longer_than_promised_fails_its_batch_and_is_told(
    tmp_path: Path, serve: Serve
) -> None:
    graph = graphs.save(
        tmp_path / "g.onnx",
        [
            helper.make_node("Identity", ["city"], ["same"]),
            helper.make_node("Concat", ["city", "city"], ["both"], axis=1),
        ],
        [graphs.value("city", TensorProto.STRING, ["n", 1])],
        [
            graphs.value("same", TensorProto.STRING, ["n", 1]),
            graphs.value("both", TensorProto.STRING, ["n", 2]),
        ],
    )
    packed = _pack(tmp_path / "models", graph.read_bytes(), string_bytes=16)
    contract = (packed.path / "contract.toml").read_text()
    lines = contract.split("[[outputs]]")
    narrow = lines[0] + "[[outputs]]" + lines[1].replace("max_bytes = 16", "max_bytes = 8")
    narrow += "[[outputs]]" + lines[2]
    root = tmp_path / "narrow"
    pack_contract_with_graph(narrow, graph, root)
    client = connect(serve(root, ""))

    def ask(text: bytes) -> Any:
        asked = pb.ModelInferRequest(model_name="m")
        city = asked.inputs.add(name="city", datatype="BYTES", shape=[1, 1])
        city.contents.bytes_contents.append(text)
        return asked

    answer = client.stub.ModelInfer(ask(b"eight by"), timeout=5)
    assert [_strings(raw) for raw in answer.raw_output_contents] == [["eight by"], ["eight by"] * 2]
    code, said = client.refusal(ask(b"nine byte"))
    assert code is grpc.StatusCode.INTERNAL
    assert "output 'same' holds a string of 9 bytes" in said
    assert client.stub.ModelInfer(ask(b"ok"), timeout=5).outputs


def pack_contract_with_graph(contract: str, graph: Path, root: Path) -> None:
    """Seal a model directory whose contract was changed by hand."""
    from gateway import _native  # noqa: PLC0415

    home = root / "m" / "1"
    home.mkdir(parents=True)
    (home / "contract.toml").write_text(contract)
    (home / "model.onnx").write_bytes(graph.read_bytes())
    _native.seal(home)


CELLS = """\
format = "sluicegate.contract/1"
engine = "%s"
inputs = [{ name = "a", datatype = "BYTES", shape = [-1, 2]%s }]
outputs = [{ name = "b", datatype = "BYTES", shape = [-1, 2], max_bytes = 12 }]
"""


@pytest.mark.parametrize("engine", ["identity", "numpy"])
def test_engines_without_a_graph_give_strings_back(
    tmp_path: Path, serve: Serve, engine: str
) -> None:
    pack_contract(CELLS % (engine, ", max_bytes = 12"), "m", tmp_path)
    client = connect(serve(tmp_path, ""))
    asked = pb.ModelInferRequest(model_name="m")
    texts = [b"", "zwölf Byte".encode(), b"a\0", b"x"]
    asked.inputs.add(name="a", datatype="BYTES", shape=[2, 2]).contents.bytes_contents.extend(texts)
    answer = client.stub.ModelInfer(asked, timeout=5)
    assert _strings(answer.raw_output_contents[0]) == [t.decode() for t in texts]


def test_bytes_without_a_longest_string_are_refused_at_packing(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="'a' is BYTES: it needs max_bytes"):
        pack_contract(CELLS % ("identity", ""), "m", tmp_path)
    with pytest.raises(PackError, match="between 1 and 65536"):
        pack_contract(CELLS % ("identity", ", max_bytes = 0"), "m", tmp_path)


def test_an_engine_in_python_sees_a_string_as_its_length_and_bytes() -> None:
    tensor = Tensor("a", "BYTES", (-1, 1), 4)
    lane = find("numpy")(Model((tensor,), (tensor,), {}), Bucket(2), 0)
    held = lane.buffers(Bucket(2))
    held.inputs[0]["length"][:, 0] = [2, 0]
    held.inputs[0]["bytes"][0, 0, :2] = [97, 98]
    lane.run(Bucket(2), 2)
    assert held.outputs[0].tobytes() == b"\2\0\0\0ab\0\0" + bytes(8)
