"""`python -m bench.gpu_check`: everything that needs a GPU, on a machine that has one.

Each shape on each engine that is there: compared with ONNX Runtime on the CPU, timed bare, and
timed through the whole gateway; JSON in bench/results/gpu_check.json. Where TensorRT is not
installed, or does not run on the GPU, ONNX Runtime's CUDA provider is measured alone; each row says
which engine it is. What could not be run has its reason in place of figures. docs/gpu.md tells how.

`--dry` runs all of it without a GPU: TensorRT on doubles of driver and library, and ONNX Runtime on
the CPU in place of its CUDA provider. Its figures say nothing of any GPU; they lie in
gpu_check_dry.json and say so.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import machine, servers
from bench.gpu_bare import Arrays, Bare, OnnxRuntime, TensorRT, answers, furthest, timed
from bench.gpu_double import on_doubles
from bench.gpu_gateway import Work, add_shares, through_gateway, work_for
from bench.gpu_shapes import GRAPH, Shape, shapes, write_encoder
from bench.load import LoadError
from gateway.engines import Bucket, EngineError
from gateway.engines.tensorrt.driver import device
from gateway.packing import PackError

RESULTS = Path(__file__).with_name("results")
ENGINES = ("tensorrt", "cuda")
NAMES = ("tabular", "encoder", "encoder-tokens", "decoder-0.5b", "decoder-4b")
# Without a GPU.
DRY_ENGINES = ("tensorrt", "cpu")
DRY_NAMES = ("tabular", "encoder", "encoder-tokens", "decoder-tiny")
DRY = "none, dry run"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
# Set in the process that a dry run starts.
AGAIN = "SLUICEGATE_GPU_CHECK_DRY"
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


@dataclass(frozen=True)
class Reference:
    """What ONNX Runtime says on the CPU: for seeded rows, and for the gateway's requests."""

    bucket: Bucket
    outputs: Arrays
    work: list[Work]


def reference_for(shape: Shape) -> Reference:
    """Run the shape on the CPU."""
    model = shape.model("tensorrt")
    few = Bucket(min(4, shape.largest.rows), shape.lengths[-1])
    cpu = OnnxRuntime(model, shape.plain / GRAPH, "CPUExecutionProvider")
    return Reference(few, answers(cpu, model, few), work_for(shape, cpu))


def _open(engine: str, shape: Shape) -> Bare:
    model = shape.model(engine)
    if engine in PROVIDERS:
        return OnnxRuntime(model, shape.folder(engine) / GRAPH, PROVIDERS[engine])
    return TensorRT(model, shape.largest)


def bare_rows(engine: str, shape: Shape, reference: Reference, seconds: float) -> dict[str, Any]:
    """Compare and time one shape on one engine, without a gateway."""
    told: dict[str, Any] = {"shape": shape.name, "engine": engine}
    model = shape.model(engine)
    try:
        with closing(_open(engine, shape)) as bare:
            told["about"] = bare.about
            ran = answers(bare, model, reference.bucket)
            told["furthest_from_cpu"] = furthest(ran, reference.outputs)
            told["bare"] = [
                timed(bare, model, Bucket(rows, length), seconds)
                for rows in sorted({1, min(8, shape.largest.rows), shape.largest.rows})
                for length in shape.lengths
            ]
    except (EngineError, RuntimeError) as error:
        told["not_run"] = str(error)
    return told


def check(
    engine: str, shape: Shape, reference: Reference, folder: Path, seconds: float, gateway: bool
) -> dict[str, Any]:
    """One shape on one engine: bare, then through the gateway."""
    told = bare_rows(engine, shape, reference, seconds)
    if "not_run" in told:
        return told
    if not gateway:
        return told | {"gateway_not_run": "left out (--no-gateway)"}
    try:
        through = through_gateway(engine, shape, reference.work, folder, seconds)
    except (LoadError, servers.ServerError, PackError) as error:
        return told | {"gateway_not_run": str(error)}
    add_shares(through, told["bare"], shape.largest.rows)
    return told | {"gateway": through}


def main(
    engine: Annotated[
        list[str] | None, typer.Option("--engine", help="tensorrt, cuda; both if left out.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", help="tabular, encoder, encoder-tokens, decoder-0.5b, decoder-4b."),
    ] = None,
    largest: Annotated[
        int | None,
        typer.Option("--rows", min=1, help="Of the largest batch, in place of the shape's own."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of each window.")] = 5.0,
    gateway: Annotated[bool, typer.Option(help="Also through the whole gateway.")] = True,
    prepare: Annotated[
        Path | None,
        typer.Option(help="Only write what has to be fetched, for elsewhere.", metavar="DIR"),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(help="What --prepare wrote, for a machine without a network.", metavar="DIR"),
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry", help="Without a GPU, on doubles: whether all of it runs.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Check and time this machine's GPU.

    Exit code 3 without one, 1 if nothing could be run, or in a dry run if something could not.
    """
    if prepare:
        write_encoder(prepare)
        typer.echo(f"written: {prepare}")
        return
    if dry and os.environ.get(AGAIN) != "1":
        raise typer.Exit(_again())
    try:
        about = facts()
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error
    if dry:
        about = {"device": DRY}
        typer.echo("no GPU takes part: a dry run on doubles")
    else:
        typer.echo(f"{about['gpu']}: {about['memory_gb_per_s']:,.0f} GB/s of memory")
    rows = []
    with tempfile.TemporaryDirectory(prefix="sluicegate-gpu-check-") as folder:
        wanted = tuple(shape or (DRY_NAMES if dry else NAMES))
        for each in shapes(wanted, Path(folder), prepared):
            if largest:
                each = replace(each, largest=replace(each.largest, rows=largest))  # noqa: PLW2901
            reference = reference_for(each)
            for name in engine or (DRY_ENGINES if dry else ENGINES):
                place = Path(folder, f"{each.name}-{name}")
                place.mkdir()
                told = check(name, each, reference, place, seconds, gateway)
                if not dry:
                    # Every batch reads every weight once.
                    told["memory_limit_us"] = each.weight_bytes / about["memory_gb_per_s"] / 1e3
                    told["promised"] = PROMISED.get(each.name)
                rows.append(told)
                typer.echo(f"{each.name} on {name}: {_short(told)}")
    title = "gpu_check_dry" if dry else "gpu_check"
    whole = {"name": title, "machine": machine.describe() | about, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{title}.json").write_text(json.dumps(whole, indent=1) + "\n")
    lacking = any("not_run" in row or "gateway_not_run" in row for row in rows) and gateway
    ran = any("bare" in row for row in rows)
    raise typer.Exit(0 if ran and not (dry and lacking) else 1)


def _again() -> int:
    """Run this command on the doubles; its exit code."""
    try:
        with on_doubles() as environment:
            command = [sys.executable, "-m", "bench.gpu_check", *sys.argv[1:]]
            done = subprocess.run(
                command, env={**os.environ, **environment, AGAIN: "1"}, check=False
            )
            return done.returncode
    except LoadError as error:
        typer.echo(f"error: {error}", err=True)
        return 3


def _short(told: dict[str, Any]) -> str:
    if "not_run" in told:
        return f"not run: {told['not_run']}"
    first = told["bare"][0]
    more = told.get("gateway_not_run")
    said = f"{first['p50_us']:.0f} µs for one row bare, {told['furthest_from_cpu']:.2g} off the CPU"
    return said + (f"; gateway not run: {more}" if more else "")


if __name__ == "__main__":
    typer.run(main)
