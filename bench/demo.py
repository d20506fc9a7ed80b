"""`make demo`: specialists on real data, from rows to decisions over gRPC.

Fits the specialists of bench/specialists.py, packs each, starts the gateway, sends every held-out
row once, one after the other, then most of them many times, with a deadline (open loop, Poisson,
several connections), and compares each decision with the one made offline. Then one of them is
replaced under governance, on live traffic (bench/story.py). Prints tables and writes one HTML page.
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from bench import load, machine, servers, story
from bench.load import LoadError, LoadSpec
from bench.outcome import Load, SpecialistResult
from bench.report import write_report
from bench.servers import Contender, ServerError
from bench.setting import Say
from bench.specialists import SITE_RISK, SPECIALISTS, Fitted, Specialist, pack, requests
from bench.story_desk import StoryError
from bench.story_report import print_story
from bench.table import print_results
from bench.workload import Scores, WorkloadError, collect, read_answers, write_requests
from gateway.cli.status import fetch
from governance.errors import GovernanceError
from trainer.datasets import DataError
from trainer.package_index import FetchError
from trainer.quality import decide, measure
from trainer.tabular import FittedTable

OUT = load.ROOT / "build" / "demo"
CONNECTIONS = 8
# The load is at most this share of what the machine answers one after the other, and a deadline at
# least so many times what a call alone takes: a slow machine is to show serving, not refusing.
LOAD_SHARE = 0.4
CALLS_IN_DEADLINE = 5
LONGEST_S = 30
_ERRORS = (
    FetchError,
    DataError,
    LoadError,
    ServerError,
    WorkloadError,
    StoryError,
    GovernanceError,
)


@contextmanager
def _step(console: Console, of: str, text: str) -> Iterator[Say]:
    """Shows that something is going on, and how far it is, then that it is done."""
    with console.status(f"{of}: {text}") as status:
        yield lambda news: status.update(f"{of}: {news}")
    console.print(f"[green]✓[/] {of}: {text}")


def _serve_rows(specialist: Specialist, fitted: Fitted, server: Contender) -> SpecialistResult:
    """Send the held-out rows once, then round and round; compare every decision."""
    y = fitted.held_out_y
    # Requests hold the rows, posts that name people among them: they are not left lying about.
    with TemporaryDirectory(prefix="sluicegate-demo-") as folder:
        file, responses = Path(folder, "requests.bin"), Path(folder, "responses.bin")
        write_requests(file, requests(specialist, fitted))

        def send(spec: LoadSpec) -> tuple[dict[str, Any], Scores]:
            report = load.run(spec, server.port)
            return report, collect(read_answers(responses), [1] * len(y))

        once = LoadSpec(
            file,
            duration_s=0,
            in_flight=1,
            connections=1,
            warmup_s=0,
            sends=len(y),
            responses=responses,
        )
        alone, scores = send(once)
        report, under_load = send(_load(specialist, alone, once))
    answered = scores.answered
    costs, threshold = fitted.dataset.costs, fitted.threshold
    offline = decide(fitted.held_out_scores, threshold)
    right = decide(scores.values, threshold) == offline
    right_under_load = decide(under_load.values, threshold) == offline
    same = int(np.sum(answered & right & (right_under_load | ~under_load.answered)))
    measured = answered.all()
    gateway = measure(scores.values, y, threshold, costs) if measured else None
    status = next(
        m for m in fetch(f"127.0.0.1:{server.http_port}")["models"] if m["name"] == specialist.name
    )
    notes = [f"The answers carry the model's digest, {status['digest'][:23]}…"]
    if fitted.seen_share:
        notes.append(
            f"{fitted.seen_share:.1%} of the held-out rows occur in the training rows as well"
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


def _load(specialist: Specialist, alone: dict[str, Any], once: LoadSpec) -> LoadSpec:
    """The specialist's load, turned down to what this machine showed that it can do."""
    rate = min(specialist.rate, LOAD_SHARE * float(alone["ok_per_s"]))
    call_ms = float(alone["latency_us"]["p50"]) / 1000
    deadline_ms = max(specialist.deadline_ms, math.ceil(CALLS_IN_DEADLINE * call_ms))
    return replace(
        once,
        rate=rate,
        in_flight=None,
        connections=CONNECTIONS,
        sends=min(specialist.sends, int(rate * LONGEST_S)),
        deadline_us=deadline_ms * 1000,
    )


def main(
    out: Annotated[Path, typer.Option(help="Where models and report go.", metavar="DIR")] = OUT,
) -> None:
    """Fit, pack, serve, load, compare, report."""
    console = Console()
    repository = out / "models"
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir(parents=True)
    try:
        fitted = {s: s.fit(partial(_step, console, s.name)) for s in SPECIALISTS}
        for specialist, model in fitted.items():
            with _step(console, specialist.name, "pack"):
                pack(specialist, model, repository)
        console.print(f"[dim]$ sluicegate serve --models {_short(repository)} --allow-unsigned")
        results = []
        with servers.sluicegate(repository) as server:
            console.print(f"[green]✓[/] gateway ready in {server.ready_s:.2f} s")
            for specialist, model in fitted.items():
                with _step(console, specialist.name, "every held-out row once, then under load"):
                    result = _serve_rows(specialist, model, server)
                results.append(result)
            memory = server.resident_mb()
        console.print()
        print_results(results, console)
        console.print("\n[bold]A model is replaced, and not without people[/]")
        told_story = story.tell(_table(fitted[SITE_RISK]), console)
        console.print()
        print_story(told_story, console)
    except _ERRORS as error:
        console.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from error
    told = machine.describe()
    about = {
        "Machine": f"{told['cpu']}, {told['cores']} cores; server and load generator share them",
        "Gateway": f"{memory:.0f} MB resident, ready in {server.ready_s:.2f} s",
        "Load": f"open loop, Poisson, over {CONNECTIONS} connections",
        "Versions": ", ".join(f"{k} {v}" for k, v in told["packages"].items()),
    }
    page = write_report(out / "report.html", results, about=about, story=told_story)
    console.print(f"\nThe same with plots: {_short(page)}")
    wrong = [r.name for r in results if r.same_decisions < r.offline.rows]
    if wrong:
        console.print(f"[red]error:[/] {', '.join(wrong)}: not every row was decided as offline")
        raise typer.Exit(1)


def _table(fitted: Fitted) -> FittedTable:
    if not isinstance(fitted, FittedTable):
        raise StoryError(f"the story is about a table, and not {type(fitted).__name__}")
    return fitted


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    typer.run(main)
