"""`python -m bench.gpu_driver`: the TensorRT backend on a real GPU and driver, without TensorRT.

The library's place is taken by kernels of our own for the 32-feature network. All around it is
what serves: streams, CUDA graphs for each bucket, pinned memory, events, lanes, padding. So this
measures and checks everything of the backend but what NVIDIA's library does.
JSON in bench/results/gpu_driver.json.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import machine
from bench.gpu_check import facts
from bench.gpu_double import on_library_double, run_program
from bench.load import LoadError
from gateway.engines import EngineError

RESULTS = Path(__file__).with_name("results")
KERNELS = {"TENSORRT_DOUBLE_KERNELS": "1"}
WAYS = {
    "CUDA graph, asleep": "",
    "CUDA graph, spinning": 'wait = "spin"',
    "call by call, asleep": "cuda_graphs = false",
}


def _run(program: str, count: int, settings: str = "") -> dict[str, Any]:
    with on_library_double(settings) as environment:
        return run_program(program, count, environment | KERNELS)


def main(
    batches: Annotated[int, typer.Option(help="Of each bucket, to time.")] = 5000,
    soak: Annotated[int, typer.Option(help="Batches of random rows on three lanes.")] = 100_000,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Check and time the backend on this machine's GPU; exit code 3 without one, 1 if it failed."""
    try:
        about = facts()
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error
    told: dict[str, Any] = {
        "name": "gpu_driver",
        "title": "The TensorRT backend on a real driver, kernels of our own in the library's place",
        "machine": machine.describe() | about,
    }
    try:
        told["times"] = {way: _run("whole", batches, said) for way, said in WAYS.items()}
        for way, each in told["times"].items():
            one, most = each["buckets"]["1"], each["buckets"]["64"]
            typer.echo(
                f"{way}: one row {one['p50'] / 1000:.1f} µs p50, {one['p99'] / 1000:.1f} µs p99; "
                f"64 rows {most['p50'] / 1000:.1f} µs p50"
            )
        told["ticks"] = _run("ticks", 500)
        typer.echo(
            f"batches of 5 ms beside which Python went on: {told['ticks']['went_on']} of 500"
        )
        told["soak"] = _run("soak", soak)
    except LoadError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    done = told["soak"]
    typer.echo(
        f"{done['batches']:,} batches, {done['rows']:,} rows, {done['wrong_rows']} wrong, "
        f"left on the device: {done['left']}"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu_driver.json").write_text(json.dumps(told, indent=1) + "\n")
    held = not done["wrong_rows"] and not any(done["left"].values())
    raise typer.Exit(0 if held and told["ticks"]["went_on"] == 500 else 1)


if __name__ == "__main__":
    typer.run(main)
