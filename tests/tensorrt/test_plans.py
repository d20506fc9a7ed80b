"""Plans: what they are keyed by, and which ones are read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.engines import Bucket, EngineError, Tensor
from gateway.engines.tensorrt.cache import Cache, key_of
from gateway.engines.tensorrt.ladder import ladder, profile_index, profiles
from gateway.engines.tensorrt.plans import Recipe
from tests.tensorrt.conftest import Machine

RECIPE = Recipe("a" * 64, "tensorrt", "11.4.0", "9.0", "13.0", [])
START = """
import json, os, sys
from pathlib import Path
from gateway.engines import Bucket, find
from tests.tensorrt import programs as p
opened = find("tensorrt")
cache = Path(os.environ["XDG_CACHE_HOME"]) / "sluicegate" / "engines"
def plan(): return next(cache.glob("*.plan"))
def open_and_close(model=None):
    opened(model or p.perceptron(), Bucket(4), 0).close()
"""


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "b" * 64},
        {"flavour": "tensorrt_rtx"},
        {"version": "11.4.1"},
        {"compute_capability": "8.9"},
        {"driver": "13.1"},
        {"profiles": [{"x": ((1, 2), (1, 2), (1, 2))}]},
        {"tf32": True},
        {"refit": True},
        {"workspace_mib": 2048},
        {"optimization_level": 5},
    ],
)
def test_whatever_changes_a_plan_changes_its_key(change: dict[str, object]) -> None:
    other = replace(RECIPE, **change)  # type: ignore[arg-type]
    assert key_of(other.about()) != key_of(RECIPE.about())
    assert key_of(replace(RECIPE).about()) == key_of(RECIPE.about())


def test_a_plan_is_built_once_and_found_again(machine: Machine) -> None:
    code = START + "\nopen_and_close(); print(plan().stat().st_mtime_ns)"
    first = machine.run(code)
    # A second builder would fail.
    assert machine.run(code, TENSORRT_DOUBLE_FAIL="build") == first
    modes = {path.stat().st_mode & 0o077 for path in machine.cache.iterdir() if path.is_file()}
    names = {path.suffix for path in machine.cache.iterdir()}
    assert modes - {0o044} == {0}
    assert {".plan", ".timing", ".reference", ".json"} <= names


def test_a_plan_of_another_version_is_not_read(machine: Machine) -> None:
    code = START + "\nopen_and_close(); print(len(list(cache.glob('*.plan'))))"
    assert machine.run(code) == "1\n"
    assert machine.run(code, TENSORRT_DOUBLE_VERSION="11.5.0") == "2\n"


@pytest.mark.parametrize("change", ["bytes", "receipt", "seal", "swapped"])
def test_a_plan_that_this_gateway_did_not_write_is_built_anew(
    machine: Machine, change: str
) -> None:
    machine.run(START + "\nopen_and_close()")
    (plan,) = machine.cache.glob("*.plan")
    receipt = plan.with_name(plan.name + ".json")
    whole, told = plan.read_bytes(), json.loads(receipt.read_bytes())
    if change == "bytes":
        plan.write_bytes(whole.replace(b"tensor", b"sensor", 1) + b"x")
    if change == "receipt":
        told["receipt"]["seconds"] += 1
    if change == "seal":
        told["seal"] = "0" * 64
    if change == "swapped":
        told["receipt"]["about"]["version"] = "0"
    receipt.write_text(json.dumps(told))
    code = START + "\nprint(p.refusal(open_and_close))"
    assert "no tactic" in machine.run(code, TENSORRT_DOUBLE_FAIL="build")
    assert machine.run(code) == "no error\n"
    assert plan.read_bytes() == whole


SHIPPED = """
open_and_close()
whole = plan().read_bytes()
for each in cache.glob("*.plan*"):
    each.unlink()
said = '[[plans]]\\nfile = "my.plan"\\nflavour = "tensorrt"\\nversion = "{}"\\n'
said += 'compute_capability = "9.0"\\n'
os.environ["TENSORRT_DOUBLE_FAIL"] = "build"
for version in ("11.4.0.106", "10.3.0"):
    files = {"engine.toml": p.toml(said.format(version)), "my.plan": whole}
    print(p.refusal(lambda: open_and_close(p.perceptron(**files))))
print(p.refusal(lambda: p.perceptron and open_and_close(
    p.perceptron(**{"engine.toml": p.toml(said.format("1"))}))))
"""


def test_a_plan_in_the_models_manifest_is_read_if_it_is_for_this_machine(
    machine: Machine,
) -> None:
    mine, older, missing = machine.run(START + SHIPPED).splitlines()
    assert mine == "no error"
    assert "no tactic" in older
    assert missing == "failed: engine.toml: plans must be a file of the model"


TOLERANCE = """
for said in ("", "[tolerance]\\nabsolute = 0.5", "tolerance = 3", "[tolerance]\\nabsolute = -1"):
    model = p.perceptron(**{"engine.toml": p.toml(said)})
    print(p.refusal(lambda: open_and_close(model)))
"""


def test_how_far_numbers_may_be_is_the_models_to_say(machine: Machine) -> None:
    told = machine.run(START + TOLERANCE, TENSORRT_DOUBLE_SCALE="1.05").splitlines()
    assert "is not that of ONNX Runtime: it is" in told[0]
    assert "allowed are 0.001 and 0.01 of the value" in told[0]
    assert told[1] == "no error"
    assert told[2] == "failed: engine.toml: tolerance must be a table"
    assert told[3] == "failed: engine.toml: tolerance.absolute must be a number, 0 or more"


REFERENCE = """
from dataclasses import replace
model = p.perceptron()
other = p.perceptron(**{"engine.toml": p.toml('reference = "plain.onnx"'),
                        "plain.onnx": model.files["model.onnx"]})
print(p.refusal(lambda: open_and_close(other)))
broken = {**other.files, "plain.onnx": b"none"}
print(p.refusal(lambda: open_and_close(replace(other, files=broken))))
"""


def test_another_graph_may_be_what_outputs_are_compared_with(machine: Machine) -> None:
    fine, broken = machine.run(START + REFERENCE).splitlines()
    assert fine == "no error"
    assert broken == "failed: the graph is no ONNX file"


def test_a_cache_that_several_write_is_never_half_there(tmp_path: Path) -> None:
    one, other = Cache(tmp_path), Cache(tmp_path)
    key = one.put("plan", {"n": 1}, b"plan")
    assert other.get("plan", {"n": 1}) == b"plan"
    assert other.get("plan", {"n": 2}) is None
    (tmp_path / f"{key}.plan").unlink()
    assert other.get("plan", {"n": 1}) is None
    assert [each.defect for each in one.entries()] == ["its receipt stands alone"]
    with pytest.raises(EngineError, match="the cache of plans"):
        Cache(tmp_path / f"{key}.plan.json")


def test_the_ladder_holds_every_batch_in_its_least_rung() -> None:
    text = (Tensor("ids", "INT64", (-1, -1)),)
    rungs = ladder(text, Bucket(20, 50))
    assert (rungs.rows, rungs.lengths) == ((1, 2, 4, 8, 16, 20), (16, 32, 50))
    assert rungs.rung_for(Bucket(5, 33)) == Bucket(8, 50)
    assert not rungs.holds(Bucket(21, 1))
    wished = ladder(text, Bucket(20, 50), (1, 7, 99), (40,))
    assert (wished.rows, wished.lengths) == ((1, 7, 20), (40, 50))
    fixed = (Tensor("x", "FP32", (3, 4)),)
    assert ladder(fixed, Bucket(1)).rungs == (Bucket(1),)
    assert profiles(fixed, ladder(fixed, Bucket(1))) == []


def test_profiles_cover_every_rung() -> None:
    inputs = (Tensor("ids", "INT64", (-1, -1)), Tensor("x", "FP32", (-1, 7)))
    for largest in (Bucket(1, 8), Bucket(2, 16), Bucket(8, 64), Bucket(9, 20), Bucket(256, 128)):
        rungs = ladder(inputs, largest)
        made = profiles(inputs, rungs)
        assert len(profiles(inputs, rungs, one=True)) == 1
        for rung in rungs.rungs:
            chosen = made[profile_index(rungs, rung.rows)]
            for tensor in inputs:
                least, best, most = chosen[tensor.name]
                shape = tensor.batch_shape(rung)
                for a, b, c, d in zip(least, shape, most, best, strict=True):
                    assert a <= b <= c
                    assert a <= d <= c
