"""`python -m bench.drift`: how often the alarm is false on quiet traffic, and how soon it is right.

Traffic is drawn with replacement from the rows of the credit table's held-out part; the reference
from its other part, so both are of one population and every alarm on quiet traffic is false. A
shift of s moves that share of requests to another population: those whose last payments were late
(the slice LATE_NOW). What is watched: the features and the score of a plain model.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import typer
from matplotlib.figure import Figure as Plot

from bench import machine
from bench.training import DATA, VARIABLE
from trainer.drift.alarm import Detector
from trainer.drift.look import look
from trainer.evaluation.plain import plain
from trainer.recipes import sources
from trainer.recipes.shipped import recipe

RESULTS = Path(__file__).with_name("results")
# Mean requests between two false alarms: at least this, that is what is promised.
EVERY = 20_000.0
REFERENCE = 3_000
QUIET, SHIFTED_FROM = 10_000, 1_000
SHARES = (0.05, 0.1, 0.2, 0.5)
WATCHED = 12


@dataclass(frozen=True)
class Delays:
    """Requests from the shift to the alarm; None where none came within the run."""

    share: float
    runs: int
    found: int
    median: float | None
    p90: float | None
    false_before: int
    psi: float


@dataclass(frozen=True)
class Traffic:
    """Rows to draw from: float64 [n, c] each, and the columns' names."""

    reference: np.ndarray[Any, np.dtype[np.float64]]
    usual: np.ndarray[Any, np.dtype[np.float64]]
    other: np.ndarray[Any, np.dtype[np.float64]]
    columns: tuple[str, ...]


def traffic() -> Traffic:
    """The credit table with a plain model's score; half of it is reference, half is drawn from."""
    spec = recipe("credit_default", Path(os.environ.get(VARIABLE, DATA)))
    examples = sources.load(spec).examples
    random = np.random.default_rng(spec.seed)
    order = random.permutation(len(examples))
    fit, rest = examples.take(order[:6000]), examples.take(order[6000:])
    scores = plain(fit, spec).model.scores(rest)
    spread = np.argsort(-examples.x.std(axis=0) / (np.abs(examples.x.mean(axis=0)) + 1e-9))
    chosen = np.sort(spread[:WATCHED])
    rows = np.column_stack([scores, rest.x[:, chosen].astype(np.float64)])
    late = np.array(rest.slices["LATE_NOW"]) == "late"
    half = len(rows) // 2
    columns = ("score", *(examples.names[i] for i in chosen))
    return Traffic(rows[:half][~late[:half]], rows[half:][~late[half:]], rows[late], columns)


def stream(
    t: Traffic, random: np.random.Generator, length: int, share: float, begins: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Requests: the usual ones, and from `begins` on a share of the others."""
    rows = t.usual[random.integers(0, len(t.usual), length)]
    moved = (np.arange(length) >= begins) & (random.random(length) < share)
    rows[moved] = t.other[random.integers(0, len(t.other), int(moved.sum()))]
    return rows


def quiet(t: Traffic, runs: int) -> dict[str, Any]:
    """False alarms on quiet traffic, and how many the promise allows on average."""
    alarms = 0
    for number in range(runs):
        random = np.random.default_rng([1, number])
        known = t.reference[random.permutation(len(t.reference))[:REFERENCE]]
        detector = Detector.on(known, t.columns, every=EVERY, seed=number)
        alarms += detector.feed(stream(t, random, QUIET, 0.0, QUIET)) is not None
    allowed = 1 - np.exp(-QUIET / EVERY)
    return {
        "runs": runs,
        "requests_each": QUIET,
        "alarms": alarms,
        "rate": alarms / runs,
        "allowed": min(QUIET / EVERY, 1.0),
        "if_alarms_came_by_chance_at_the_rate": float(allowed),
    }


def delays(t: Traffic, share: float, runs: int, length: int) -> Delays:
    """How long a shift goes unseen."""
    found: list[int] = []
    early, index = 0, 0.0
    for number in range(runs):
        random = np.random.default_rng([2, int(share * 1000), number])
        known = t.reference[random.permutation(len(t.reference))[:REFERENCE]]
        detector = Detector.on(known, t.columns, every=EVERY, seed=number)
        rows = stream(t, random, SHIFTED_FROM + length, share, SHIFTED_FROM)
        alarm = detector.feed(rows)
        if alarm is not None and alarm.at <= SHIFTED_FROM:
            early += 1
        elif alarm is not None:
            found.append(alarm.at - SHIFTED_FROM)
        index = max(index, look(known, rows[SHIFTED_FROM:], t.columns)[0].psi)
    enough = len(found) > runs / 2
    return Delays(
        share,
        runs,
        len(found),
        float(np.median(found)) if enough else None,
        float(np.quantile(found, 0.9)) if len(found) >= 0.9 * runs else None,
        early,
        index,
    )


def one_path(t: Traffic, share: float, length: int) -> list[float]:
    """The evidence, every 50 requests, of one run with a shift."""
    random = np.random.default_rng([3, int(share * 1000)])
    known = t.reference[random.permutation(len(t.reference))[:REFERENCE]]
    detector = Detector.on(known, t.columns, every=EVERY)
    rows = stream(t, random, length, share, SHIFTED_FROM)
    path = []
    for at in range(0, length, 50):
        detector.feed(rows[at : at + 50])
        path.append(detector.evidence())
    return path


def draw(paths: dict[float, list[float]], found: list[Delays], path: Path) -> None:
    """The evidence over time for each share, and the delays."""
    mpl.rcParams["svg.hashsalt"] = "drift"
    plot = Plot(figsize=(8, 3.4), layout="constrained")
    left, right = plot.subplots(1, 2)
    for share, values in paths.items():
        label = f"{share:.0%} of requests" if share else "quiet"
        left.plot(np.arange(len(values)) * 50, values, label=label, linewidth=1.2)
    left.axhline(EVERY, color="black", linestyle="--", linewidth=0.8)
    left.axvline(SHIFTED_FROM, color="grey", linewidth=0.8)
    left.set_yscale("log")
    left.set_xlabel("requests (line: the shift begins)")
    left.set_title(f"evidence (dashed: alarm, at most 1 in {EVERY:,.0f})", fontsize=9)
    left.legend(fontsize=7)
    shares = [d.share for d in found if d.median is not None]
    right.plot(shares, [d.median for d in found if d.median is not None], "o-", label="median")
    late = [d for d in found if d.p90 is not None]
    right.plot([d.share for d in late], [d.p90 for d in late], "s--", label="p90")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("share of requests that are of another kind")
    right.set_title("requests from the shift to the alarm", fontsize=9)
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    plot.savefig(path, metadata={"Date": None})


def main(
    runs: Annotated[int, typer.Option(help="Runs of each kind.")] = 100,
    out: Annotated[Path, typer.Option(help="Where results go.", metavar="DIR")] = RESULTS,
) -> None:
    """Measure; exit code 1 if false alarms come more often than stated."""
    t = traffic()
    still = quiet(t, runs)
    found = [delays(t, share, max(runs // 2, 1), 6000) for share in SHARES]
    # Of n runs the promise allows a share on average; three standard deviations are chance.
    allowed = still["allowed"]
    most = allowed + 3 * np.sqrt(allowed * (1 - allowed) / runs)
    told = {
        "name": "drift",
        "machine": machine.describe(),
        "every": EVERY,
        "watched": list(t.columns),
        "reference_rows": REFERENCE,
        "quiet": still,
        "delays": [asdict(d) for d in found],
        "reached": bool(still["rate"] <= most),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "drift.json").write_text(json.dumps(told, indent=1) + "\n")
    paths = {share: one_path(t, share, 4000) for share in (0.0, *SHARES)}
    draw(paths, found, out / "drift.svg")
    typer.echo(
        f"quiet: {still['alarms']} of {runs} runs of {QUIET:,} requests alarm, "
        f"at most {allowed:.0%} promised"
    )
    for d in found:
        median = f"{d.median:,.0f}" if d.median is not None else "not within the run"
        late = f", p90 {d.p90:,.0f}" if d.p90 is not None else ""
        typer.echo(f"{d.share:.0%} of requests: alarm after {median}{late}; {d.found} of {d.runs}")
    raise typer.Exit(0 if told["reached"] else 1)


if __name__ == "__main__":
    typer.run(main)
