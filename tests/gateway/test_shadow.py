"""Shadow: a candidate sees live traffic; pairs, their ends, what callers must never notice."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.servers import Contender
from gateway.control import source
from gateway.packing import Decision, Packed, Text, Wishes, pack_contract, pack_graph
from tests import graphs
from tests.calls import Array, Client, connect, eventually, model_status, request
from tests.conftest import Serve

CONTRACT = """\
format = "sluicegate.contract/1"
engine = "%s"
inputs = [{ name = "features", datatype = "FP32", shape = [-1, 32] }]
outputs = [{ name = "score", datatype = "FP32", shape = [-1, 32] }]
%s
"""
DECISION = """[decision]
output = "score"
threshold = %g
labels = ["no", "yes"]
"""
SEED = "000102030405060708090a0b0c0d0e0f"
WISHES = {"run": "r1", "share": 1.0, "seed": SEED, "block_ms": 1, "score_epsilon": 0.1}


def pack(root: Path, threshold: float | None, engine: str = "identity", name: str = "m") -> Packed:
    """Decides by whether a row's first feature reaches `threshold`."""
    decision = "" if threshold is None else DECISION % threshold
    return pack_contract(CONTRACT % (engine, decision), name, root)


class Shadowed:
    """A server with a control socket, and all that its shadow of `m` has told so far."""

    def __init__(self, server: Contender, socket: Path) -> None:
        self.server, self.socket = server, socket
        self.client: Client = connect(server)
        self.ends: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []

    def start(self, version: int = 2, model: str = "m", **wishes: Any) -> None:
        source.command(self.socket, "shadow", model=model, version=version, wishes=WISHES | wishes)

    def look(self, model: str = "m") -> dict[str, Any]:
        told: dict[str, Any] = source.shadows(self.socket)[model]
        self.ends += told["found"]["ends"]
        self.closed += told["found"]["closed"]
        return told

    def settled(self, rows: int, model: str = "m") -> bool:
        """Whether `rows` rows have ended. A thread that serves drops what it cannot put away at
        once, so a few may have been dropped, and are counted; most must have been compared."""
        told = self.look(model)
        ran = told["rows"]["compared"] + told["rows"]["candidate_errors"]
        return bool(ran + told["queue"]["dropped_rows"] == rows and ran > rows / 2)


@pytest.fixture
def shadowed(tmp_path: Path, serve: Serve) -> Any:
    def start(*thresholds: float | None) -> Shadowed:
        root = tmp_path / "models"
        for index, threshold in enumerate(thresholds):
            # Models that are the same to the byte would be one version.
            pack(root, None if threshold is None else threshold + 1e-9 * index)
        return _serve(tmp_path, serve, "m")

    return start


def _serve(folder: Path, serve: Serve, name: str, more: str = "") -> Shadowed:
    socket = folder / "control"
    config = f'control_socket = "{socket}"\n{more}\n[model.{name}]\nversions = [1]\n'
    return Shadowed(serve(folder / "models", config), socket)


def rows(first: list[float]) -> Array:
    """Rows whose first feature is given."""
    x = np.zeros((len(first), 32), np.float32)
    x[:, 0] = first
    return x


def test_every_row_is_compared_and_flips_are_counted_by_their_direction(shadowed: Any) -> None:
    s = shadowed(0.0, 0.5)
    s.start()
    for _ in range(50):
        x = rows([-1.0, 0.25, 0.75])
        np.testing.assert_array_equal(s.client.infer(request("m", x)), x)
    assert eventually(lambda: s.settled(150))
    told = s.look()["rows"]
    assert (3 * told["down"], told["up"], told["moved"]) == (told["compared"], 0, 0)
    assert told["incumbent_unsteady"] == 0


def test_each_block_has_one_pair_and_each_pair_ends_once(shadowed: Any) -> None:
    s = shadowed(0.0, 0.0)
    s.start(share=0.0)
    for turn in range(200):
        s.client.infer(request("m", rows([1.0 - 2 * (turn % 2)])))
        if turn % 10 == 0:
            time.sleep(0.003)
    assert eventually(
        lambda: (
            s.look() is not None
            and sum(c["requests"] for c in s.closed) == 200
            and {(c["block"], c["pair"]) for c in s.closed}
            <= {(e["block"], e["sequence"]) for e in s.ends}
        )
    )
    assert len({c["block"] for c in s.closed}) == len(s.closed) > 5
    ends = Counter((e["block"], e["sequence"]) for e in s.ends)
    assert set(ends.values()) == {1}
    complete = [e for e in s.ends if e["end"] == "complete"]
    # One that could not be put away at once is shed.
    assert {e["end"] for e in s.ends} <= {"complete", "shed"}
    assert len(complete) > len(s.ends) / 2
    for end in complete:
        assert end["incumbent"] == end["candidate"]
        assert end["rows"] == 1
        assert end["candidate_ns"] > 0 < end["incumbent_ns"]
    # Only batches with a request that may become a pair were mirrored.
    assert s.look()["queue"]["mirrored_batches"] == len(s.ends) < 200


def test_a_caller_waits_no_longer_and_sees_nothing_of_a_candidate_that_fails(
    tmp_path: Path, serve: Serve
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    pack(root, 0.0)
    graph = graphs.save(
        root / "broken.onnx",
        [
            helper.make_node("IsNaN", ["features"], ["unknown"]),
            helper.make_node("Where", ["unknown", "small", "features"], ["known"]),
            helper.make_node("Mul", ["known", "small"], ["place"]),
            helper.make_node("Cast", ["place"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "whole"], ["picked"], axis=0),
            helper.make_node("Identity", ["picked"], ["score"]),
        ],
        [graphs.value("features", TensorProto.FLOAT, ["n", 32])],
        [graphs.value("score", TensorProto.FLOAT, ["n", 32])],
        [
            numpy_helper.from_array(np.zeros(2, np.float32), "table"),
            numpy_helper.from_array(np.array(1e-3, np.float32), "small"),
        ],
    )
    decision = Decision("score", 0.0, ("no", "yes"))
    pack_graph(graph, "m", root, wishes=Wishes(decision=decision, non_finite="refuse"))
    graph.unlink()
    s = _serve(tmp_path, serve, "m")
    s.start()
    for _ in range(20):
        # Fine for the incumbent; no row of the candidate's table.
        s.client.infer(request("m", rows([7000.0])))
        s.client.infer(request("m", rows([1.0])))
    assert eventually(lambda: s.settled(40))
    told = s.look()["rows"]
    assert 0 < told["candidate_errors"] <= 20
    assert 0 < told["compared"] <= 20
    assert {"complete", "candidate_error"} <= {e["end"] for e in s.ends}
    assert {e["end"] for e in s.ends} <= {"complete", "candidate_error", "shed"}
    requests = model_status(s.server, "m")["requests"]
    assert requests["answered"] == 40


def test_a_score_that_is_no_number_is_the_candidates_error(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "models"
    root.mkdir()
    wishes = Wishes(decision=Decision("score", 0.5, ("no", "yes")))
    graphs.pack_constant(root, "m", 1.0, wishes)
    graphs.pack_constant(root, "m", float("nan"), wishes)
    s = _serve(tmp_path, serve, "m")
    s.start()
    for _ in range(10):
        s.client.infer(request("m", rows([0.0])))
    assert eventually(lambda: s.settled(10))
    told = s.look()["rows"]
    assert told["not_a_number"] == told["candidate_errors"] > 0 == told["compared"]
    assert {"candidate_error"} <= {e["end"] for e in s.ends} <= {"candidate_error", "shed"}


def test_a_candidate_that_overruns_the_callers_time_ends_as_candidate_timeout(
    tmp_path: Path, serve: Serve
) -> None:
    root = tmp_path / "models"
    pack(root, 0.0)
    slow = CONTRACT % ("delay", "delay = { per_batch_us = 60000, per_row_us = 0 }\n" + DECISION % 0)
    pack_contract(slow, "m", root)
    s = _serve(tmp_path, serve, "m")
    s.start(share=0.0)
    for _ in range(6):
        s.client.infer(request("m", rows([1.0])), timeout=0.03)
        time.sleep(0.02)
    assert eventually(lambda: s.look() is not None and len(s.ends) >= 6)
    ends = Counter(e["end"] for e in s.ends)
    assert ends["candidate_timeout"] + ends["shed"] == ends.total()
    assert ends["candidate_timeout"] >= 3


def test_what_the_incumbent_refused_is_no_pair_to_compare(shadowed: Any) -> None:
    s = shadowed(0.0, 0.0)
    s.start()
    refusal = s.client.refusal(request("m", rows([1.0])), timeout=0.000_01)
    assert refusal[0].name in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    x = request("m", rows([1.0]))
    x.parameters["timeout"].int64_param = 1
    assert s.client.refusal(x)[0].name in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    assert eventually(lambda: s.look() is not None and len(s.ends) > 0)
    assert {e["end"] for e in s.ends} == {"incumbent_error"}


def test_a_segment_and_the_caller_stand_with_the_pair(tmp_path: Path, serve: Serve) -> None:
    pack(tmp_path / "models", 0.0)
    pack(tmp_path / "models", 1e-9)
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    s = _serve(tmp_path, serve, "m", f'[caller.bidder]\ntoken_sha256 = "{digest}"\n')
    s.start()
    asked = request("m", rows([1.0]))
    asked.parameters["segment"].string_param = "de"
    s.client.stub.ModelInfer(asked, timeout=5, metadata=[("authorization", "Bearer test")])
    assert eventually(lambda: s.look() is not None and len(s.ends) == 1)
    assert (s.ends[0]["caller"], s.ends[0]["segment"]) == ("bidder", "de")
    asked.parameters["segment"].string_param = "x" * 65
    with pytest.raises(grpc.RpcError) as refused:
        s.client.stub.ModelInfer(asked, timeout=5, metadata=[("authorization", "Bearer test")])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "'segment'" in refused.value.details()


def test_a_shadow_ends_when_another_version_answers(shadowed: Any) -> None:
    s = shadowed(0.0, 0.0, 0.0)
    s.start(version=3)
    assert model_status(s.server, "m")["shadow"]["candidate"]["version"] == 3
    source.command(s.socket, "swap", model="m", version=2)
    assert source.shadows(s.socket) == {}
    assert model_status(s.server, "m")["shadow"] is None
    # And another may begin.
    s.start(version=3)
    told = source.command(s.socket, "end_shadow", model="m")
    assert told["incumbent"]["version"] == 2
    with pytest.raises(source.RefusedError, match="no shadow"):
        source.command(s.socket, "end_shadow", model="m")


def test_what_cannot_be_compared_is_refused_with_a_sentence(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "models"
    pack(root, 0.0)
    pack(root, None)
    wider = CONTRACT.replace("[-1, 32]", "[-1, 33]") % ("identity", DECISION % 0)
    pack_contract(wider, "m", root)
    pack(root, 1e-9)
    s = _serve(tmp_path, serve, "m")
    for version, said in ((2, r"no \[decision\]"), (3, "other inputs"), (1, "answers itself")):
        with pytest.raises(source.RefusedError, match=said):
            s.start(version=version)
    with pytest.raises(source.RefusedError, match="version 9"):
        s.start(version=9)
    for wish, said in (
        ({"share": 2.0}, "share"),
        ({"seed": "zz"}, "seed"),
        ({"block_ms": 0}, "block_ms"),
    ):
        with pytest.raises(source.RefusedError, match=said):
            s.start(version=4, **wish)
    with pytest.raises(source.RefusedError, match="unknown field"):
        s.start(version=4, speed=3)
    s.start(version=4)
    with pytest.raises(source.RefusedError, match="has a shadow already"):
        s.start(version=4)


def test_texts_are_compared_by_their_tokens(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "models"
    root.mkdir()
    for threshold in (15.0, 100.0):
        graph = graphs.token_sum(root / "words.onnx")
        text = Text(graphs.tokenizer(), max_tokens=64, max_bytes=2048)
        decision = Decision("score", threshold, ("no", "yes"))
        pack_graph(graph, "words", root, wishes=Wishes(text=text, decision=decision))
        graph.unlink()
    s = _serve(tmp_path, serve, "words")
    s.start(model="words")
    from gateway.wire import open_inference_pb2 as pb  # noqa: PLC0415

    asked = pb.ModelInferRequest(model_name="words")
    asked.inputs.add(name="text", datatype="BYTES", shape=[2, 1]).contents.bytes_contents.extend(
        [b"a b c", b"a b c a b c a b c"]
    )
    for _ in range(5):
        s.client.stub.ModelInfer(asked, timeout=5)
    assert eventually(lambda: s.settled(10, "words"))
    # 2 + 4 + 5 + 6 + 3 = 20 and 50: all are "yes" to the incumbent, "no" to the candidate.
    told = s.look("words")["rows"]
    assert told["down"] == told["compared"] > 0
