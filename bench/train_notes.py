"""What the loop makes of the recipe `clinical_notes`: locked, fitted, judged, proposed or not.

The figures are those of the loop's own report, on core and, if core held, on the held-out set, with
what stands beside them. The run lies in build/train_notes until it has ended: begun again, it goes
on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from governance.keys import create
from governance.signer import FileSigner
from trainer.cli.progress import folder_of, follow
from trainer.codec import to_plain
from trainer.errors import InputError, LockError
from trainer.evaluation import lock as locks
from trainer.evaluation import suite as suites
from trainer.loop import prepare
from trainer.loop.engine import Ended
from trainer.loop.types import Gated, Report
from trainer.spec.spec import METRICS, Spec

FOLDER = Path("build/train_notes")
PASSPHRASE = b"a key of this run alone"


def notes(s: Scenario, spec: Spec, say: Callable[[str], None]) -> Result:
    """Run the recipe's loop; the figures of its report.

    Raises:
        TrainError: the loop could not run, or nothing was fitted.
    """
    root = FOLDER.resolve()
    told = replace(spec.propose, repository=str(root / "adapters"))
    spec = replace(spec, propose=told)
    runs, seals = root / "runs", root / "seals"
    key = _key(root)
    folder = folder_of(spec, runs, seals)
    try:
        locks.check(folder.lock, spec, key.public_key)
    except LockError:
        prepare.lock(spec, folder, key)
    say(f"{s.name}: the loop")
    ended = follow(spec, key, runs, seals, ray=False)
    if ended.assessed is None or ended.assessed.report is None:
        raise InputError(f"{spec.name}: {ended.reason}")
    result = _result(s, spec, ended, ended.assessed.report, suites.read(folder.core).balance)
    shutil.rmtree(root)
    return result


def _key(root: Path) -> FileSigner:
    file = root / "key.pem"
    if not file.exists():
        root.mkdir(parents=True, exist_ok=True)
        create(file, PASSPHRASE)
    return FileSigner.open(file, PASSPHRASE)


def _result(
    s: Scenario, spec: Spec, ended: Ended, report: Report, balance: dict[str, int] | Any
) -> Result:
    asked = {(g.metric, g.on): g for g in report.gates}
    better = report.better_than_reference
    figures = [
        *(_figure(gate) for gate in asked.values()),
        Figure(
            "header_accuracy on core less TF-IDF's, paired",
            "",
            (better.low, better.value, better.high),
        ),
        *(
            Figure(f"header_accuracy on core, {name}", "", (value,))
            for name, value in report.baselines.items()
            if name != "reference"
        ),
    ]
    conditions = {
        "recipe": s.model,
        "data": spec.data.source,
        "seed": spec.seed,
        "interval": f"{spec.evaluate.confidence:.0%}, percentile bootstrap over sections, "
        f"{spec.evaluate.resamples} resamples",
        "spread": "low end, value, high end",
        "parameters": dict(spec.specialise.parameters),
        "outcome": ended.outcome,
        "reason": ended.reason,
        "core": dict(balance),
        "lost": len(report.lost.names),
        "slices": [to_plain(one) for one in report.slices],
        "seconds_of_fitting": round(ended.assessed.spent.seconds) if ended.assessed else 0,
    }
    bars = tuple(Bar(f.what, f.value) for f in figures if "header_accuracy" in f.what)
    return Result(s.name, s.title, conditions, tuple(figures), bars, "")


def _figure(gate: Gated) -> Figure:
    b = gate.bound
    return Figure(
        f"{gate.metric} on {gate.on}", "", (b.low, b.value, b.high), at_least=METRICS[gate.metric]
    )
