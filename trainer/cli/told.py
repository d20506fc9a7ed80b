"""What `train status` and `train explain` show, read from the ledger alone."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.output import REFUSED, emit, say
from trainer.codec import to_plain
from trainer.drift.watch import WANTED, watch_folder
from trainer.errors import InputError
from trainer.loop.ledger import Ledger, Step, output_of
from trainer.loop.prepare import Folder
from trainer.loop.types import AssessOut, DiagnoseOut, Prepared, Proposed
from trainer.spec.spec import Spec

T = TypeVar("T")
# What a person would do after a stop, by the condition that was reached.
NEXT = {
    "patience": "bring cases of the worst clusters, another method, or a limit that can be met",
    "rounds": "raise stop.rounds, if the last round still improved",
    "trials": "raise stop.trials, if the last round still improved",
    "seconds": "raise stop.seconds, or give the trials more cores",
    "held-out exposure": "sluicegate train rotate, or newer data, and lock again",
    "divergence": "look at the data of the last round: something in it makes fits worse",
    "leak": "take the leaked cases out of the training data and lock again",
    "target met": "hand the candidate in: sluicegate candidate submit",
}


def _open(folder: Folder) -> tuple[Ledger, str]:
    if not folder.ledger.exists():
        raise InputError(f"Nothing was run yet: {folder.ledger} is not there.")
    ledger = Ledger(folder.ledger)
    run = ledger.last_run()
    if run is None:
        ledger.close()
        raise InputError(f"Nothing was run yet: {folder.ledger} has no events.")
    return ledger, run


def show_status(spec: Spec, folder: Folder, as_json: bool) -> None:
    """Phases done, each with its reason. Raises InputError."""
    ledger, run = _open(folder)
    steps, ended = ledger.steps(run), ledger.ended(run)
    ready = _last(steps, "prepare", Prepared)
    looks = ledger.looks(ready.held_out.digest) if ready else 0
    ledger.close()
    if as_json:
        told = [
            {"round": s.round, "phase": s.phase, "reason": s.reason, "seconds": s.seconds}
            for s in steps
        ]
        emit({"model": spec.name, "run": run, "steps": told, "ended": ended, "looks": looks})
        return
    table = Table("round", "phase", "seconds", "why", title=f"{spec.name}, run {run}")
    for s in steps:
        if s.phase != "trial":
            table.add_row(str(s.round), s.phase, f"{s.seconds:.1f}", s.reason)
    Console().print(table)
    typer.echo(f"looks at the held-out set: {looks} of {spec.evaluate.looks}")
    typer.echo(f"{ended[0]}: {ended[1]}" if ended else "not ended; train run goes on from here")


def show_why(spec: Spec, folder: Folder, as_json: bool) -> None:
    """Why it ended, what failed where, what would come next. Raises InputError."""
    ledger, run = _open(folder)
    steps, ended = ledger.steps(run), ledger.ended(run)
    ledger.close()
    assessed = _last(steps, "assess", AssessOut)
    found = _last(steps, "diagnose", DiagnoseOut)
    made = _last(steps, "propose", Proposed)
    reason = ended[1] if ended else "it has not ended"
    condition = reason.partition(":")[0]
    following = NEXT.get(condition, "sluicegate train run: it goes on where it was")
    if made is not None and not spec.served:
        following = f"read the evidence: {made.evidence}; no gateway serves an adapter yet"
    if as_json:
        emit(
            {
                "model": spec.name,
                "run": run,
                "outcome": ended[0] if ended else None,
                "reason": reason,
                "clusters": to_plain(found.clusters) if found else [],
                "report": to_plain(assessed.report) if assessed and assessed.report else None,
                "next": following,
                "proposed": to_plain(made) if made else None,
            }
        )
        return
    typer.echo(f"{spec.name}, run {run}: {ended[0] if ended else 'not ended'}\n{reason}\n")
    if assessed and assessed.report:
        table = Table("figure", "value", "interval", "asked", "")
        for gate in assessed.report.gates:
            verdict = {None: "told only", True: "[green]holds", False: "[red]missed"}[gate.holds]
            limit = "" if gate.limit is None else f"{gate.limit:g}"
            b = gate.bound
            table.add_row(
                f"{gate.metric} on {gate.on}",
                f"{b.value:.4f}",
                f"{b.low:.4f} to {b.high:.4f}",
                limit,
                verdict,
            )
        Console().print(table)
        for name, value in assessed.report.baselines.items():
            typer.echo(f"  {name}: {value:.4f}")
        lost = assessed.report.lost
        typer.echo(f"  {len(lost.names)} of {lost.cases} cases lost, {lost.allowed} allowed")
        for rate in (r for r in assessed.report.fairness if r.measure == "impact"):
            word = "below four fifths" if rate.unequal else "within four fifths"
            b, favoured = rate.bound, spec.decide.labels[0]
            typer.echo(
                f"  {rate.named}: {favoured} {b.value:.3f} times as often as the group with the "
                f"most ({b.low:.3f} to {b.high:.3f}), {word}"
            )
    for cluster in found.clusters if found else ():
        typer.echo(f"  fails alike: {cluster.name}, {cluster.failing:,} of {cluster.cases:,}")
    typer.echo(f"\nnext: {following}")


def show_watched(
    spec: Spec, folder: Folder, log: Path, reference: int, every: float, as_json: bool
) -> None:
    """What the decision log tells of drift; ends with exit code 1 after an alarm.

    Raises:
        InputError: the log cannot be used.
    """
    found = watch_folder(log, spec.name, reference=reference, every=every, out=folder.root)
    if as_json:
        emit(to_plain(found))
    else:
        table = Table("column", "PSI", "KS", "p", title="to look at, not to act on")
        for one in found.columns[:10]:
            table.add_row(one.column, f"{one.psi:.3f}", f"{one.ks:.3f}", f"{one.p:.2g}")
        Console().print(table)
    if found.alarm is None:
        say(f"quiet: evidence {found.evidence:,.1f} of {every:,.0f} after {found.watched:,}")
        return
    say(
        f"alarm: {found.alarm.column} changed about {found.alarm.since:,} requests before the "
        f"{found.alarm.at:,}th; {found.labelled:,} labelled since; {folder.root / WANTED}"
    )
    raise typer.Exit(REFUSED)


def _last(steps: list[Step], phase: str, kind: type[T]) -> T | None:
    done = [s for s in steps if s.phase == phase]
    return output_of(done[-1], kind) if done else None
