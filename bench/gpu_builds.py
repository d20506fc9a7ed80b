"""`python -m bench.gpu_builds`: build the demo's models for GPUs, on a machine without one, twice.

The library is tensorrt_rtx; each build is in a process and a cache of its own. The text encoder
has its published weights and a seeded head. A model that the library refuses is told with its
words.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import machine, models
from gateway.engines import Bucket, EngineError, Model, Tensor
from gateway.engines.tensorrt.building import build
from gateway.engines.tensorrt.cache import Cache
from gateway.engines.tensorrt.flavour import Flavour, flavour
from gateway.engines.tensorrt.ladder import ladder
from gateway.engines.tensorrt.plans import Graph, recipe
from gateway.engines.tensorrt.settings import ModelSays, Settings
from trainer import tabular
from trainer.datasets import LOADERS
from trainer.encoder import Head, to_onnx
from trainer.half import BFLOAT16, FLOAT16
from trainer.minilm import load_encoder
from trainer.precision import FLOAT32, INT8_PER_TOKEN

RESULTS = Path(__file__).with_name("results")
TEXT = (Tensor("input_ids", "INT64", (-1, -1)), Tensor("attention_mask", "INT64", (-1, -1)))
SCORE = (Tensor("score", "FP32", (-1, 1)),)


@dataclass(frozen=True)
class Case:
    """A model to build; `must` if a refusal is a failure, `same` if two builds must be alike."""

    name: str
    model: Model
    largest: Bucket
    must: bool
    same: bool


def _case(name: str, graph: bytes, inputs: tuple[Tensor, ...], must: bool, same: bool) -> Case:
    largest = Bucket(64, 64 if inputs is TEXT else 1)
    return Case(
        name, Model(inputs, SCORE, {"model.onnx": graph}, "model.onnx"), largest, must, same
    )


def cases() -> Iterator[Case]:
    """The demo's models, and the load tests' network."""
    features = (Tensor("features", "FP32", (-1, 32)),)
    yield _case("32-feature network", models.perceptron().SerializeToString(), features, True, True)
    encoder = load_encoder()
    width = encoder.weights["embeddings.word_embeddings.weight"].shape[1]
    weight = np.random.default_rng(0).standard_normal((width, 1)).astype(np.float32)
    head = Head(weight, np.zeros(1, np.float32))
    for precision in (FLOAT32, FLOAT16, BFLOAT16, INT8_PER_TOKEN):
        must = precision is not INT8_PER_TOKEN
        graph = to_onnx(encoder, head, precision)
        yield _case(f"text encoder, {precision.name}", graph, TEXT, must, precision is FLOAT32)
    for name in ("phishing", "credit"):
        if name in LOADERS:
            fitted = tabular.fit(LOADERS[name]())
            columns = fitted.dataset.x.shape[1]
            inputs = (Tensor("features", "FP32", (-1, columns)),)
            yield _case(f"trees, {name}", fitted.onnx, inputs, False, False)


def twice(case: Case, library: Flavour, capability: str) -> dict[str, Any]:
    """Build a case in two caches; what came of it."""
    graph = Graph.of(case.model.files, "model.onnx")
    wanted = recipe(
        case.model,
        graph,
        ladder(case.model.inputs, case.largest),
        ModelSays(),
        Settings(),
        library.name,
        library.version,
        capability,
        "",
    )
    told: dict[str, Any] = {"model": case.name, "compute_capability": capability}
    plans, seconds = [], []
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="sluicegate-plans-") as folder:
            cache = Cache(Path(folder))
            try:
                plans.append(build(cache, wanted, graph))
            except EngineError as error:
                return told | {"refused": str(error)[:400]}
            (entry,) = (each for each in cache.entries() if each.kind == "plan")
            seconds.append(entry.seconds)
    return told | {
        "bytes": len(plans[0]),
        "sha256": [hashlib.sha256(plan).hexdigest() for plan in plans],
        "seconds": seconds,
        "identical": plans[0] == plans[1],
        "bytes_that_differ": _apart(plans[0], plans[1]),
    }


def _apart(one: bytes, other: bytes) -> int | None:
    """How many bytes differ; None if not even the sizes are alike."""
    if len(one) != len(other):
        return None
    return int((np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)).sum())


def main(
    capability: Annotated[str, typer.Option(help="Of the GPU to build for.")] = "8.9",
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Build each model twice; exit code 1 if one that must is refused or differs."""
    library = flavour("tensorrt_rtx")
    rows, ok = [], True
    for case in cases():
        told = twice(case, library, capability)
        rows.append(told)
        ok &= "identical" in told or not case.must
        ok &= told.get("identical", True) or not case.same
        if "refused" in told:
            typer.echo(f"refused  {case.name}: {told['refused']}")
        else:
            took = " and ".join(f"{s:.1f} s" for s in told["seconds"])
            apart = told["bytes_that_differ"]
            same = "identical" if told["identical"] else f"{apart} bytes apart"
            typer.echo(f"{same} {case.name}: {told['bytes']:,} bytes, {took}")
    out.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"name": "gpu_builds", "machine": machine.describe()}
    whole |= {"library": f"{library.name} {library.version}", "rows": rows, "reached": bool(ok)}
    (out / "gpu_builds.json").write_text(json.dumps(whole, indent=1) + "\n")
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
