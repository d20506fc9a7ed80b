"""`make demo`: two specialists on real data, from rows to decisions over gRPC.

Fits a pre-bid site-risk filter and a credit-risk scorer, packs each, starts the gateway, sends
every held-out row many times with a deadline (open loop, Poisson, several connections), and
compares each decision with the one made offline. Prints a table and writes one HTML page.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from bench import load, machine, servers
from bench.load import LoadError, LoadSpec
from bench.outcome import Load, SpecialistResult
from bench.report import write_report
from bench.servers import Contender, ServerError
from bench.table import print_results
from bench.workload import WorkloadError, collect, encode_rows, read_answers, write_requests
from gateway.cli.status import fetch
from gateway.packing import Decision, pack_graph
from trainer.datasets import LOADERS, DataError
from trainer.package_index import FetchError
from trainer.quality import decide, measure
from trainer.tabular import FittedTable, fit

OUT = load.ROOT / "build" / "demo"


@dataclass(frozen=True)
class Specialist:
    """One of the demo's models: its name on the wire, its data set, what it decides."""

    name: str
    dataset: str
    task: str
    deadline_ms: int


SPECIALISTS = (
    Specialist("site-risk", "phishing", "Is the site of this bid request safe to buy on?", 10),
    Specialist("credit-risk", "credit", "Is this applicant a good credit risk?", 10),
)


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    """Shows that something is going on, then that it is done."""
    with console.status(text):
        yield
    console.print(f"[green]✓[/] {text}")


def _fit(console: Console, specialist: Specialist) -> FittedTable:
    with _step(console, f"{specialist.name}: fetch the {specialist.dataset} set"):
        dataset = LOADERS[specialist.dataset]()
    with _step(console, f"{specialist.name}: choose a model by cross-validation, fit, export"):
        return fit(dataset)


def _pack(specialist: Specialist, fitted: FittedTable, repository: Path) -> None:
    below, above = fitted.dataset.label_names
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(fitted.onnx)
        decision = Decision("score", fitted.threshold, (below, above))
        pack_graph(graph, specialist.name, repository, decision)


def _serve_rows(
    specialist: Specialist,
    fitted: FittedTable,
    server: Contender,
    rate: float,
    sends: int,
    folder: Path,
) -> SpecialistResult:
    """Send the held-out rows round and round; compare every row's decision with the offline one."""
    requests, responses = folder / "requests.bin", folder / "responses.bin"
    x, y = fitted.held_out_x, fitted.held_out_y
    write_requests(requests, encode_rows(specialist.name, x))
    spec = LoadSpec(
        requests,
        duration_s=0,
        rate=rate,
        sends=sends,
        connections=8,
        deadline_us=specialist.deadline_ms * 1000,
        responses=responses,
    )
    report = load.run(spec, server.port)
    scores = collect(read_answers(responses), [1] * len(x))
    answered = scores.answered
    costs, threshold = fitted.dataset.costs, fitted.threshold
    offline = decide(fitted.held_out_scores, threshold)
    same = int(np.sum(decide(scores.values[answered], threshold) == offline[answered]))
    measured = answered.all()
    gateway = measure(scores.values, y, threshold, costs) if measured else None
    status = next(
        m for m in fetch(f"127.0.0.1:{server.http_port}")["models"] if m["name"] == specialist.name
    )
    notes = [f"The answers carry the model's digest, {status['digest'][:23]}…"]
    if fitted.seen_share:
        notes.append(
            f"{fitted.seen_share:.0%} of the held-out rows occur in the training rows as well"
            + (
                f"; on the others the AUC is {fitted.quality_unseen.auc:.3f}."
                if fitted.quality_unseen
                else "."
            )
        )
    return SpecialistResult(
        name=specialist.name,
        task=specialist.task,
        model=fitted.model,
        labels=fitted.dataset.label_names,
        threshold=threshold,
        costs=costs,
        offline=fitted.quality,
        gateway=gateway,
        same_decisions=same,
        compared=int(np.sum(answered)),
        load=Load.from_json(report),
        batches=tuple((rows, count) for rows, count in status["batch_sizes"]),
        notes=tuple(notes),
    )


def main(
    out: Annotated[Path, typer.Option(help="Where models and report go.", metavar="DIR")] = OUT,
    rate: Annotated[float, typer.Option(help="Requests a second, in the mean.")] = 3000.0,
    sends: Annotated[int, typer.Option(min=1, help="Requests to each specialist.")] = 21_000,
) -> None:
    """Fit, pack, serve, load, compare, report."""
    console = Console()
    repository = out / "models"
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir(parents=True)
    try:
        fitted = {s: _fit(console, s) for s in SPECIALISTS}
        for specialist, model in fitted.items():
            with _step(console, f"{specialist.name}: pack"):
                _pack(specialist, model, repository)
        console.print(f"[dim]$ sluicegate serve --models {_short(repository)} --allow-unsigned")
        results = []
        with servers.sluicegate(repository) as server:
            console.print(f"[green]✓[/] gateway ready in {server.ready_s:.2f} s")
            for specialist, model in fitted.items():
                text = (
                    f"{specialist.name}: {sends:,} requests at {rate:,.0f} a second, "
                    f"deadline {specialist.deadline_ms} ms"
                )
                with _step(console, text):
                    result = _serve_rows(specialist, model, server, rate, sends, out)
                results.append(result)
            memory = server.resident_mb()
    except (FetchError, DataError, LoadError, ServerError, WorkloadError) as error:
        console.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from error
    console.print()
    print_results(results, console)
    told = machine.describe()
    about = {
        "Machine": f"{told['cpu']}, {told['cores']} cores; server and load generator share them",
        "Gateway": f"{memory:.0f} MB resident, ready in {server.ready_s:.2f} s",
        "Load": f"open loop, Poisson, {rate:,.0f} requests a second over 8 connections",
        "Versions": ", ".join(f"{k} {v}" for k, v in told["packages"].items()),
    }
    page = write_report(out / "report.html", results, about=about)
    console.print(f"\nThe same with plots: {_short(page)}")
    wrong = [r.name for r in results if r.same_decisions < r.offline.rows]
    if wrong:
        console.print(f"[red]error:[/] {', '.join(wrong)}: not every row was decided as offline")
        raise typer.Exit(1)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    typer.run(main)
