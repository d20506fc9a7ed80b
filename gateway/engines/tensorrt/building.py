"""Starts the builder's process, waits for it and keeps what it made."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from threading import Timer
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.cache import Cache, key_of
from gateway.engines.tensorrt.engine import Weights, digest_of
from gateway.engines.tensorrt.plans import Graph, Recipe
from gateway.engines.tensorrt.reference import checked_buckets, packed, samples, unpacked

# (stage, done, of): how a build goes on; `of` is 0 where that is not known.
Say = Callable[[str, int, int], None]


def _silent(stage: str, done: int, of: int) -> None:
    """Nobody listens."""


def _work(job: dict[str, Any], seconds: float, say: Say) -> dict[str, Any]:
    """Run a job in a process of its own.

    Raises:
        EngineError: it refused, died or took too long.

    """
    command = [sys.executable, "-m", "gateway.engines.tensorrt.worker"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        ender = Timer(seconds, process.kill)
        ender.daemon = True
        ender.start()
        told: dict[str, Any] = {}
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101
            # The pipe stays open: the worker ends when it closes.
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                told = json.loads(line)
                if "stage" in told:
                    say(told["stage"], told["done"], told["of"])
        except (BrokenPipeError, ValueError):
            told = {}
        finally:
            timely = ender.is_alive()
            ender.cancel()
            code = process.wait()
    if "made" in told:
        made: dict[str, Any] = told["made"]
        return made
    if "error" in told:
        raise EngineError(told["error"])
    if not timely:
        raise EngineError(f"the builder was ended after {seconds:g} s (build_seconds)")
    raise EngineError(f"the builder's process died (exit code {code})")


def build(
    cache: Cache,
    recipe: Recipe,
    graph: Graph,
    seconds: float = 3600,
    say: Say = _silent,
    beside_traffic: bool = False,
) -> bytes:
    """The plan of a recipe: from the cache, or built now and kept.

    Raises:
        EngineError: it cannot be built.

    """
    about = recipe.about()
    with cache.building(key_of(about)):
        if (found := cache.get("plan", about)) is not None:
            return found
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=cache.folder, prefix=".build-") as folder:
            files = {name: Path(folder, name) for name in ("out", "timing")}
            files["graph"] = _written(graph, Path(folder))
            if (timing := cache.get("timing", recipe.timing())) is not None:
                files["timing"].write_bytes(timing)
            job = {"do": "build", "nice": beside_traffic}
            job |= asdict(recipe) | {name: str(path) for name, path in files.items()}
            _work(job, seconds, say)
            plan = files["out"].read_bytes()
            if files["timing"].exists():
                cache.put("timing", recipe.timing(), files["timing"].read_bytes())
        cache.put("plan", about, plan, time.monotonic() - started)
        return plan


def _written(graph: Graph, folder: Path) -> Path:
    """The graph and its weights in a folder of their own, which nobody else can write."""
    place = folder / "graph"
    place.mkdir()
    return graph.write(place)


def reference(
    cache: Cache,
    model: Model,
    graph: Graph,
    largest: Bucket,
    extra: Weights,
    weights: Weights,
    seconds: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Seeded inputs and the graph's outputs for them by ONNX Runtime, by `b.NAME`; kept.

    Raises:
        EngineError: ONNX Runtime refuses the graph.

    """
    buckets = checked_buckets(largest)
    given = {
        f"{index}.{tensor.name}": array
        for index, bucket in enumerate(buckets)
        for tensor, array in zip(model.inputs, samples(model, bucket), strict=True)
    }
    about = {
        "format": "sluicegate.reference/1",
        "graph": graph.digest,
        "inputs": digest_of(given),
        "extra": digest_of(extra),
        "weights": digest_of(weights),
        "outputs": [tensor.name for tensor in model.outputs],
    }
    held = cache.get("reference", about)
    if held is None:
        with tempfile.TemporaryDirectory(dir=cache.folder, prefix=".reference-") as folder:
            files = {name: Path(folder, name) for name in ("out", "inputs")}
            files["graph"] = _written(graph, Path(folder))
            more = {f"extra.{n}": v for n, v in extra.items()}
            more |= {f"weights.{n}": v for n, v in weights.items()}
            files["inputs"].write_bytes(packed(given | more))
            job = {"do": "reference", "outputs": about["outputs"], "nice": True}
            _work(job | {name: str(path) for name, path in files.items()}, seconds, _silent)
            held = files["out"].read_bytes()
        cache.put("reference", about, held)
    return given, unpacked(held, "the reference")
