"""`python -m bench.gpu_check`: everything that needs a GPU, on a machine that has one.

Each shape on each engine that is there: compared with ONNX Runtime on the CPU, timed bare, and
timed through the whole gateway; JSON in bench/results/gpu_check.json. Where TensorRT is not
installed, or does not run on the GPU, ONNX Runtime's CUDA provider is measured alone; each row says
which engine it is. What could not be run has its reason in place of figures. docs/gpu.md tells how.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import machine, servers
from bench.gpu_bare import Bare, OnnxRuntime, TensorRT, furthest, timed
from bench.gpu_shapes import Shape, shapes
from bench.load import LoadError, LoadSpec, run
from bench.workload import encode_rows, encode_texts, write_requests
from gateway.engines import Bucket, EngineError
from gateway.engines.tensorrt.driver import device
from gateway.packing import PackError, Text, Wishes, pack_graph

RESULTS = Path(__file__).with_name("results")
ENGINES = ("tensorrt", "cuda")
NAMES = ("tabular", "encoder", "decoder-0.5b")
COPIED = 1 << 30
# What was promised of a GPU.
PROMISED = {"encoder": ("p99 at batch 1, 32 tokens", 2000.0), "decoder-4b": ("p99", 10_000.0)}


def facts() -> dict[str, Any]:
    """The GPU, its driver, and how fast its memory is read and written.

    Raises:
        EngineError: there is none.

    """
    gpu = device(0)
    told: dict[str, Any] = {"gpu": gpu.name, "compute_capability": gpu.capability}
    told |= {"cuda_of_the_driver": gpu.driver, "memory_gb": gpu.memory / 1e9}
    size = min(COPIED, gpu.memory // 8)
    with gpu.current():
        cuda = gpu.cuda
        one, other = cuda.mem_alloc(size), cuda.mem_alloc(size)
        start, end = cuda.Event(), cuda.Event()
        cuda.memcpy_dtod(one, other, size)
        start.record()
        for _ in range(10):
            cuda.memcpy_dtod_async(one, other, size)
        end.record()
        end.synchronize()
        seconds = max(start.time_till(end) / 1000, 1e-9)
        one.free()
        other.free()
        del start, end
    # Each byte is read and written.
    return told | {"memory_gb_per_s": 10 * 2 * size / seconds / 1e9}


@contextmanager
def _opened(engine: str, shape: Shape, folder: Path) -> Iterator[Bare]:
    place = folder / engine
    place.mkdir(exist_ok=True)
    bare: Bare
    if engine == "cuda":
        bare = OnnxRuntime(shape.model, place, "CUDAExecutionProvider")
    else:
        bare = TensorRT(shape.model, shape.largest)
    try:
        yield bare
    finally:
        bare.close()


def bare_rows(engine: str, shape: Shape, folder: Path, seconds: float) -> dict[str, Any]:
    """Compare and time one shape on one engine, without a gateway."""
    told: dict[str, Any] = {"shape": shape.name, "engine": engine}
    cpu = folder / "cpu"
    cpu.mkdir(exist_ok=True)
    try:
        with _opened(engine, shape, folder) as bare:
            reference = OnnxRuntime(shape.model, cpu, "CPUExecutionProvider")
            few = Bucket(min(4, shape.largest.rows), shape.lengths[-1])
            told["about"] = bare.about
            told["furthest_from_cpu"] = furthest(bare, reference, shape.model, few)
            told["bare"] = [
                timed(bare, shape.model, Bucket(rows, length), seconds)
                for rows in sorted({1, min(8, shape.largest.rows), shape.largest.rows})
                for length in shape.lengths
            ]
    except (EngineError, RuntimeError) as error:
        told["not_run"] = str(error)
    return told


def _requests(shape: Shape, length: int) -> list[bytes]:
    if shape.tokenizer is not None:
        # Two of the tokens are the special ones around a text.
        return encode_texts(shape.name, ["the " * (length - 2)] * 64)
    features = shape.model.inputs[0].shape[1]
    chance = np.random.default_rng(3)
    return encode_rows(shape.name, chance.standard_normal((256, features)).astype(np.float32))


def through_gateway(
    engine: str, shape: Shape, folder: Path, seconds: float, bare: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One call after the other, and as many as fill the largest batch, through the gateway."""
    repository = folder / f"models-{engine}"
    repository.mkdir(exist_ok=True)
    graph = folder / "graph.onnx"
    graph.write_bytes(shape.model.files["model.onnx"])
    text = None
    if shape.tokenizer is not None:
        text = Text(shape.tokenizer, max_tokens=shape.lengths[-1], max_bytes=8192)
    wishes = Wishes(text=text, engine="tensorrt" if engine == "tensorrt" else "onnxruntime")
    pack_graph(graph, shape.name, repository, wishes=wishes)
    provider = 'provider = "cuda"\n' if engine == "cuda" else ""
    config = f"[model.{shape.name}]\nmax_batch = {shape.largest.rows}\n{provider}"
    found = []
    with servers.sluicegate(repository, config=config) as server:
        for length in shape.lengths:
            requests = folder / "requests.bin"
            write_requests(requests, _requests(shape, length))
            alone = run(LoadSpec(requests, seconds, in_flight=1, connections=1), server.port)
            many = run(LoadSpec(requests, seconds, in_flight=4 * shape.largest.rows), server.port)
            rate = many["ok_per_s"]
            full = [b for b in bare if (b["rows"], b["length"]) == (shape.largest.rows, length)]
            share = rate / full[0]["rows_per_s"] if full else None
            found.append(
                {"length": length, "alone_us": alone["latency_us"], "rows_per_s": rate}
                | {"of_the_bare_engine": share}
            )
    return found


def check(engine: str, shape: Shape, folder: Path, seconds: float, gateway: bool) -> dict[str, Any]:
    """One shape on one engine: bare, then through the gateway."""
    told = bare_rows(engine, shape, folder, seconds)
    if "not_run" in told:
        return told
    if not gateway:
        return told | {"gateway_not_run": "left out (--no-gateway)"}
    if len(shape.model.files) > 1:
        why = "its weights lie beside the graph, which the gateway's packing does not take"
        return told | {"gateway_not_run": why}
    try:
        told["gateway"] = through_gateway(engine, shape, folder, seconds, told["bare"])
    except (LoadError, servers.ServerError, PackError) as error:
        told["gateway_not_run"] = str(error)
    return told


def main(
    engine: Annotated[
        list[str] | None, typer.Option("--engine", help="tensorrt, cuda; both if left out.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", help="tabular, encoder, decoder-0.5b, decoder-4b [not the last]."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of each window.")] = 5.0,
    gateway: Annotated[bool, typer.Option(help="Also through the whole gateway.")] = True,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Check and time this machine's GPU; exit code 3 without one, 1 if nothing could be run."""
    try:
        about = facts()
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error
    typer.echo(f"{about['gpu']}: {about['memory_gb_per_s']:,.0f} GB/s of memory")
    rows = []
    with tempfile.TemporaryDirectory(prefix="sluicegate-gpu-check-") as folder:
        for number, each in enumerate(shapes(tuple(shape or NAMES), Path(folder))):
            limit = each.weight_bytes / about["memory_gb_per_s"] / 1e3
            for name in engine or ENGINES:
                place = Path(folder, f"{number}-{name}")
                place.mkdir()
                told = check(name, each, place, seconds, gateway)
                # Every batch reads every weight once.
                rows.append(told | {"memory_limit_us": limit, "promised": PROMISED.get(each.name)})
                typer.echo(f"{each.name} on {name}: {_short(told)}")
    whole = {"name": "gpu_check", "machine": machine.describe() | about, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu_check.json").write_text(json.dumps(whole, indent=1) + "\n")
    raise typer.Exit(0 if any("bare" in row for row in rows) else 1)


def _short(told: dict[str, Any]) -> str:
    if "not_run" in told:
        return f"not run: {told['not_run']}"
    first = told["bare"][0]
    more = told.get("gateway_not_run")
    said = f"{first['p50_us']:.0f} µs for one row bare, {told['furthest_from_cpu']:.2g} off the CPU"
    return said + (f"; gateway not run: {more}" if more else "")


if __name__ == "__main__":
    typer.run(main)
