"""`python -m bench.gpu_builds`: build the demo's models for GPUs, on a machine without one, twice.

The library is tensorrt_rtx; each build is in a process and a cache of its own. The text encoder
has its published weights and a seeded head. Where the graph is written out for the library's parser
first, ONNX Runtime's outputs of both forms are compared on the set's held-out rows, or on seeded
tokens. A model that the library refuses is told with its words.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray

from bench import machine, models
from bench.specialists import CREDIT_RISK, SENSITIVE_CONTENT, SITE_RISK
from gateway.engines import Bucket, EngineError, Model, Tensor
from gateway.engines.tensorrt.building import build
from gateway.engines.tensorrt.cache import Cache
from gateway.engines.tensorrt.flavour import Flavour, flavour
from gateway.engines.tensorrt.ladder import ladder
from gateway.engines.tensorrt.lowering import lower
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
# Of sums of 80 float32 numbers, in another order.
ROUNDING = 1e-6
SCORE = (Tensor("score", "FP32", (-1, 1)),)


@dataclass(frozen=True)
class Case:
    """A model to build; `same` if two builds must be alike, `demo` if it is one of the demo's."""

    name: str
    model: Model
    largest: Bucket
    rows: dict[str, NDArray[Any]]
    same: bool
    demo: bool


def _case(
    name: str,
    graph: bytes,
    inputs: tuple[Tensor, ...],
    rows: dict[str, NDArray[Any]],
    same: bool = True,
    demo: bool = False,
) -> Case:
    largest = Bucket(64, 64 if inputs is TEXT else 1)
    model = Model(inputs, SCORE, {"model.onnx": graph}, "model.onnx")
    return Case(name, model, largest, rows, same, demo)


def cases() -> Iterator[Case]:
    """The demo's models, the load tests' network, and the encoder in other precisions."""
    for specialist, dataset in ((SITE_RISK, "phishing"), (CREDIT_RISK, "credit")):
        fitted = tabular.fit(LOADERS[dataset]())
        x = fitted.held_out_x
        inputs = (Tensor("features", "FP32", (-1, x.shape[1])),)
        what = f"{specialist.name}: {fitted.model}"
        yield _case(what, fitted.onnx, inputs, {"features": x}, demo=True)
    network = models.perceptron().SerializeToString()
    features = (Tensor("features", "FP32", (-1, 32)),)
    yield _case("32-feature network", network, features, {"features": models.rows(64)})
    chance = np.random.default_rng(1)
    tokens = {
        "input_ids": chance.integers(1, 30_000, (32, 64)),
        "attention_mask": (np.arange(64) < chance.integers(1, 65, (32, 1))).astype(np.int64),
    }
    encoder = load_encoder()
    width = encoder.weights["embeddings.word_embeddings.weight"].shape[1]
    weight = np.random.default_rng(0).standard_normal((width, 1)).astype(np.float32)
    head = Head(weight, np.zeros(1, np.float32))
    for precision in (INT8_PER_TOKEN, FLOAT32, FLOAT16, BFLOAT16):
        graph = to_onnx(encoder, head, precision)
        demo = precision is INT8_PER_TOKEN
        name = f"{SENSITIVE_CONTENT.name}: text encoder" if demo else "text encoder"
        same = precision in (INT8_PER_TOKEN, FLOAT32)
        yield _case(f"{name}, {precision.name}", graph, TEXT, tokens, same, demo)


def written_out(case: Case) -> dict[str, Any]:
    """How far the form that the parser gets is from the source, by ONNX Runtime on real rows."""
    source = case.model.files["model.onnx"]
    lowered = lower(source, ["score"])
    if lowered is None:
        return {"written_out": False}

    def scores(graph: bytes) -> NDArray[np.float32]:
        running = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        found: NDArray[np.float32] = running.run(["score"], case.rows)[0]
        return found

    apart = np.abs(scores(lowered) - scores(source))
    return {"written_out": True, "rows_compared": len(apart), "furthest": float(apart.max())}


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
    told: dict[str, Any] = {"model": case.name, "demo": case.demo}
    told |= {"compute_capability": capability} | written_out(case)
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
    """Build each model twice; exit code 1 if one is refused, or differs and must not."""
    library = flavour("tensorrt_rtx")
    rows, ok = [], True
    for case in cases():
        told = twice(case, library, capability)
        rows.append(told)
        ok &= "identical" in told and (told["identical"] or not case.same)
        ok &= told.get("furthest", 0.0) <= ROUNDING
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
