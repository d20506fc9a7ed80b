"""Packing, verifying and probing models, by library and by command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import models
from gateway import _native
from gateway.packing import Decision, PackError, Wishes, pack_contract, pack_graph
from gateway.wire import open_inference_pb2 as pb
from tests.calls import connect, floats, model_status, request, sluicegate
from tests.conftest import Serve

Batch = list[int | str]


def _graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Batch,
    outputs: Batch,
    weights: list[onnx.TensorProto] | None = None,
) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("features", TensorProto.FLOAT, inputs)],
        [value("score", TensorProto.FLOAT, outputs)],
        weights or [],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def _relu(path: Path, inputs: Batch, outputs: Batch) -> Path:
    return _graph(path, [helper.make_node("Relu", ["features"], ["score"])], inputs, outputs)


def test_a_graph_is_packed_with_nothing_but_a_name(tmp_path: Path) -> None:
    graph = tmp_path / "g.onnx"
    graph.write_bytes(models.perceptron().SerializeToString())
    done = sluicegate("pack", str(graph), "--name", "m", "--out", str(tmp_path / "r"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["new"]) == (1, True)
    contract = (Path(told["path"]) / "contract.toml").read_text()
    assert 'name = "features"' in contract
    again = sluicegate("pack", str(graph), "--name", "m", "--out", str(tmp_path / "r"), "--json")
    assert json.loads(again.stdout) == {**told, "new": False}
    assert not list((tmp_path / "r").glob(".pack-*"))


def test_another_graph_gets_the_next_number(tmp_path: Path) -> None:
    for number, width in enumerate((3, 4), start=1):
        graph = _relu(tmp_path / f"{width}.onnx", ["n", width], ["n", width])
        assert pack_graph(graph, "m", tmp_path / "r").version == number


def test_an_output_shape_that_the_graph_leaves_open_is_found_by_running_it(tmp_path: Path) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 5], ["n", "columns"])
    packed = pack_graph(graph, "m", tmp_path / "r")
    assert json.loads(_native.verify(packed.path))["outputs"][0]["shape"] == [-1, 5]


def test_what_cannot_be_served_is_not_packed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    whole = models.perceptron().SerializeToString()
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(whole[: len(whole) // 2])
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"nothing")
    external = tmp_path / "external.onnx"
    weight = numpy_helper.from_array(np.ones((4, 1), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/hostname")
    node = helper.make_node("MatMul", ["features", "w"], ["score"])
    _graph(external, [node], ["n", 4], ["n", 1], [weight])
    cases = {
        truncated: "not ONNX",
        garbage: "not ONNX",
        external: "not a file beside the graph",
        _relu(tmp_path / "fixed.onnx", [1, 4], [1, 4]): "first dimension must be the batch",
        _relu(tmp_path / "open.onnx", ["n", "k"], ["n", "k"]): "fixed size",
        tmp_path / "absent.onnx": "No such file",
    }
    for graph, sentence in cases.items():
        with pytest.raises(PackError, match=sentence):
            pack_graph(graph, "m", tmp_path / "r")
    with pytest.raises(PackError, match="not a model's name"):
        pack_graph(_relu(tmp_path / "good.onnx", ["n", 4], ["n", 4]), "../m", tmp_path / "r")
    assert not (tmp_path / "r").exists() or not list((tmp_path / "r").rglob("*"))


def _with_weights_beside(folder: Path, location: str) -> Path:
    """A graph that sums four features, whose weight [4, 1] lies in another file."""
    weight = numpy_helper.from_array(np.ones((4, 1), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "8"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    node = helper.make_node("MatMul", ["features", "w"], ["score"])
    path = folder / "beside.onnx"
    _graph(path, [node], ["n", 4], ["n", 1], [weight])
    return path


def test_weights_beside_a_graph_are_packed_with_it_and_served(tmp_path: Path, serve: Serve) -> None:
    graph = _with_weights_beside(tmp_path, "weights.bin")
    weights = np.array([9, 9, 1, 2, 3, 4], np.float32).tobytes()
    (tmp_path / "weights.bin").write_bytes(weights)
    packed = pack_graph(graph, "m", tmp_path / "r")
    assert (packed.path / "weights.bin").read_bytes() == weights
    server = serve(tmp_path / "r")
    x = np.array([[1, 10, 100, 1000]], np.float32)
    assert connect(server).infer(request("m", x)) == [[4321]]
    # Other weights are another model.
    (tmp_path / "weights.bin").write_bytes(weights[::-1])
    assert pack_graph(graph, "m", tmp_path / "r").digest != packed.digest


def test_only_weights_of_the_model_are_opened(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(24))
    packed = pack_graph(_with_weights_beside(tmp_path, "weights.bin"), "m", tmp_path / "r")
    (packed.path / "weights.bin").unlink()
    for location in ("weights.bin", "/etc/hostname", "../../r/other.bin"):
        _with_weights_beside(packed.path, location).rename(packed.path / "model.onnx")
        _native.seal(packed.path)
        with pytest.raises(ValueError, match=f"weights in '{location}', which is not a file"):
            _native.bare(packed.path, 1, 0.1)
    with pytest.raises(PackError, match="No such file"):
        pack_graph(_with_weights_beside(tmp_path, "absent.bin"), "m", tmp_path / "r")


def test_a_weights_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(20))
    with pytest.raises(PackError, match=r"beside\.onnx"):
        pack_graph(_with_weights_beside(tmp_path, "weights.bin"), "m", tmp_path / "r")


def test_a_decision_on_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 2], ["n", 2])
    with pytest.raises(PackError, match="column 2"):
        pack_graph(graph, "m", tmp_path, Decision("score", 0.5, ("no", "yes"), column=2))


def _flip(folder: Path) -> None:
    graph = folder / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[100] ^= 1
    graph.write_bytes(data)


def _truncate(folder: Path) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])


def _link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (_flip, "the file was changed"),
    "a truncated graph": (_truncate, "the manifest says"),
    "an unlisted file": (lambda f: (f / "x").write_text(""), "'x' is not listed"),
    "a symbolic link": (_link, "symbolic link"),
    "a missing file": (lambda f: (f / "contract.toml").unlink(), "contract.toml"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_by_verify_with_exit_code_1(tmp_path: Path, case: str) -> None:
    damage, sentence = DAMAGE[case]
    folder = models.pack_perceptron(tmp_path, "m").path
    intact = sluicegate("models", "verify", str(tmp_path))
    assert intact.returncode == 0
    damage(folder)
    done = sluicegate("models", "verify", str(tmp_path), "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["refused"] == 1
    assert sentence in told["models"][0]["error"]


def test_a_sealed_but_truncated_graph_fails_at_load_with_a_sentence(tmp_path: Path) -> None:
    folder = models.pack_perceptron(tmp_path, "m").path
    _truncate(folder)
    (folder / "manifest.json").unlink()
    _native.seal(folder)
    assert sluicegate("models", "verify", str(tmp_path)).returncode == 0, "the bytes are as listed"
    done = sluicegate("models", "verify", str(tmp_path), "--load")
    assert (done.returncode, "not ONNX" in done.stderr) == (1, True)


def test_a_model_whose_rows_depend_on_each_other_is_served_one_row_at_a_time(
    tmp_path: Path, serve: Serve
) -> None:
    mean = helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1)
    graph = _graph(
        tmp_path / "g.onnx",
        [mean, helper.make_node("Add", ["features", "mean"], ["score"])],
        ["n", 32],
        ["n", 32],
    )
    repository = tmp_path / "r"
    pack_graph(graph, "leaky", repository)
    server = serve(repository)
    told = model_status(server, "leaky")
    assert "output 'score'" in told["row_dependence"]
    assert told["max_batch"] == 1
    client, x = connect(server), models.rows(20)
    calls = [client.stub.ModelInfer.future(request("leaky", r[None]), timeout=10) for r in x]
    for row, call in zip(x, calls, strict=True):
        got = np.frombuffer(call.result().raw_output_contents[0], np.float32)
        np.testing.assert_allclose(got, 2 * row, rtol=1e-6)
    assert [size for size, _ in model_status(server, "leaky")["batch_sizes"]] == [1]
    np.testing.assert_allclose(client.infer(request("leaky", x)), 2 * x, rtol=1e-6)


def test_a_graph_that_fails_at_run_time_is_refused_at_load(tmp_path: Path, serve: Serve) -> None:
    beyond = numpy_helper.from_array(np.array([9], np.int64), "beyond")
    node = helper.make_node("Gather", ["features", "beyond"], ["score"], axis=1)
    graph = _graph(tmp_path / "g.onnx", [node], ["n", 4], ["n", 1], [beyond])
    repository = tmp_path / "r"
    pack_graph(graph, "broken", repository)
    models.pack_identity(repository, "echo")
    server = serve(repository)
    assert "fails at run time" in model_status(server, "broken")["error"]
    assert connect(server).infer(request("echo", models.rows(1))).shape == (1, 32)


def test_a_contract_that_does_not_hold_together_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="outputs must match"):
        pack_contract(models.IDENTITY.replace("FP32", "FP64", 1), "m", tmp_path)


def test_listing_shows_names_tensors_and_refusals(tmp_path: Path) -> None:
    models.pack_perceptron(tmp_path, "good")
    _flip(models.pack_perceptron(tmp_path, "bad").path)
    done = sluicegate("models", "list", str(tmp_path), "--json")
    assert done.returncode == 0
    bad, good = json.loads(done.stdout)["models"]
    assert "changed" in bad["error"]
    assert good["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 32]}]
    assert sluicegate("models", "list", str(tmp_path / "good" / "1" / "none")).returncode == 2


def test_help_reads_like_a_manual_and_every_command_has_json() -> None:
    assert "Exit codes" in sluicegate("--help").stdout
    for command in (["serve"], ["pack"], ["status"], ["models", "verify"], ["models", "list"]):
        shown = sluicegate(*command, "--help")
        assert (shown.returncode, "--json" in shown.stdout) == (0, True), command


def test_the_bare_model_needs_no_onnxruntime_package_in_the_process(tmp_path: Path) -> None:
    """The data plane loads the library itself; a second copy would be a second runtime."""
    folder = models.pack_perceptron(tmp_path, "m").path
    code = (
        "import sys; from gateway import _native, runtime; runtime.use_onnxruntime(); "
        "_native.bare(sys.argv[1], 1, 0.01); print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_an_unbatched_model_takes_its_very_shape_and_one_request_at_a_time(
    tmp_path: Path, serve: Serve
) -> None:
    graph = _relu(tmp_path / "g.onnx", [2, 3], [2, 3])
    repository = tmp_path / "r"
    with pytest.raises(PackError, match="or pack the model as unbatched"):
        pack_graph(graph, "m", repository)
    pack_graph(graph, "m", repository, wishes=Wishes(unbatched=True))
    server = serve(repository)
    client = connect(server)
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    calls = [client.stub.ModelInfer.future(request("m", k * x), timeout=10) for k in range(20)]
    for k, call in enumerate(calls):
        np.testing.assert_array_equal(floats(call.result()), np.maximum(k * x, 0))
    config = client.stub.ModelConfig(pb.ModelConfigRequest(name="m"), timeout=5).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [2, 3])
    assert "takes no batch" in client.refusal(request("m", x[None]))[1]


def test_a_graph_with_a_batch_is_not_packed_as_one_without(tmp_path: Path) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 3], ["n", 3])
    with pytest.raises(PackError, match="pack the model as batched"):
        pack_graph(graph, "m", tmp_path / "r", wishes=Wishes(unbatched=True))


def test_a_contract_that_refuses_nan_does(tmp_path: Path, serve: Serve) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 3], ["n", 3])
    pack_graph(graph, "m", tmp_path / "r", wishes=Wishes(non_finite="refuse"))
    client = connect(serve(tmp_path / "r"))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(client.infer(request("m", x)), x)
    for bad in (np.nan, np.inf, -np.inf):
        x[1, 2] = bad
        code, told = client.refusal(request("m", x))
        assert (code.name, "holds a NaN or an infinity" in told) == ("INVALID_ARGUMENT", True)


def test_classes_come_with_their_labels(tmp_path: Path, serve: Serve) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 3], ["n", 3])
    pack_graph(graph, "m", tmp_path / "r", wishes=Wishes(labels={"score": ["no", "may", "yes"]}))
    client = connect(serve(tmp_path / "r"))
    asked = request("m", np.array([[0.25, 3, 2], [1, 0, 0.5]], np.float32))
    asked.outputs.add(name="score").parameters["classification"].int64_param = 2
    answer = client.stub.ModelInfer(asked, timeout=5)
    (output,) = answer.outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [2, 2])
    raw, texts = answer.raw_output_contents[0], []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        texts.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    assert texts == ["3.000000:1:may", "2.000000:2:yes", "1.000000:0:no", "0.500000:2:yes"]


def test_a_fallback_must_fit_the_outputs(tmp_path: Path) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 3], ["n", 3])
    for fallback, sentence in (
        ({"score": [1.0]}, "1 values for 'score', a row has 3"),
        ({}, "lacks output 'score'"),
        ({"score": [0.0] * 3, "other": [1.0]}, "'other', which does not exist"),
    ):
        with pytest.raises(PackError, match=sentence):
            pack_graph(graph, "m", tmp_path / "r", wishes=Wishes(fallback=fallback))


def test_wishes_can_be_said_on_the_command_line(tmp_path: Path) -> None:
    graph = _relu(tmp_path / "g.onnx", ["n", 3], ["n", 3])
    told = sluicegate(
        *("pack", str(graph), "--name", "m", "--out", str(tmp_path / "r")),
        *("--fallback", "score=0,0,1", "--refuse-nan", "--json"),
    )
    contract = Path(json.loads(told.stdout)["path"], "contract.toml").read_text()
    assert 'non_finite = "refuse"' in contract
    assert "[0.0, 0.0, 1.0]" in contract
    wrong = sluicegate("pack", str(graph), "--name", "m", "--out", "r", "--fallback", "score")
    assert (wrong.returncode, "--fallback takes OUTPUT=VALUE" in wrong.stderr) == (2, True)
