"""One run of everything that is asked: core, held-out where it is looked at, and regressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from trainer.evaluation import fairness
from trainer.evaluation.bounds import bound, difference
from trainer.evaluation.metrics import NO_THRESHOLD, Scored, measure, scored
from trainer.evaluation.suite import Suite
from trainer.examples import Examples, Floats
from trainer.loop.types import Gated, Lost, Report, Told
from trainer.spec.spec import FIRST_METRIC, METRICS, TOLD, Spec
from trainer.specialise.model import Scorer

# A slice of fewer cases tells nothing that its interval would not drown; of many headers most are
# rare, and their intervals say so.
LEAST_SLICE: Mapping[str, int] = {"binary": 50, "shading": 50, "sections": 10}
MOST_VALUES = 12
SLICE_RESAMPLES = 200


def gates(spec: Spec, on: str, of: Scored, seed: int) -> list[Gated]:
    """Every gate on one suite, and the task's other metrics, told only."""
    e = spec.evaluate
    asked = {gate.metric: gate.limit for gate in e.gates if gate.on in (on, "both")}
    found = []
    for metric in dict.fromkeys([*asked, *TOLD[spec.task]]):
        b = bound(metric, of, level=e.confidence, resamples=e.resamples, seed=seed)
        limit = asked.get(metric)
        holds = None
        if limit is not None:
            holds = b.low >= limit if METRICS[metric] else b.high <= limit
        found.append(Gated(metric, on, b, len(of.y), limit, holds))
    return found


def slices(spec: Spec, examples: Examples, of: Scored, on: str) -> list[Told]:
    """The first metric of every slice that is large enough to have one."""
    metric = FIRST_METRIC[spec.task]
    found = []
    for name, values in examples.slices.items():
        column = np.array(values)
        levels, counts = np.unique(column, return_counts=True)
        for level in levels[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            part = of.take(np.flatnonzero(column == level))
            # Only where cases are ranked does it take both classes.
            one_class = spec.task != "sections" and len(np.unique(part.y)) < 2
            if len(part.y) < LEAST_SLICE[spec.task] or one_class:
                continue
            b = bound(
                metric, part, level=spec.evaluate.confidence, resamples=SLICE_RESAMPLES, seed=1
            )
            found.append(
                Told(f"{on}: {name} = {level}", metric, b.value, b.low, b.high, len(part.y))
            )
    return found


def fair(spec: Spec, suite: Suite, of: Scored, protected: Sequence[str]) -> Iterator[fairness.Rate]:
    """How decisions fall on the groups of protected columns; nothing for bids."""
    e = spec.evaluate
    for column in protected if spec.task == "binary" else ():
        groups = suite.examples.slices[column]
        how = {"level": e.confidence, "resamples": e.resamples, "seed": spec.seed}
        yield from fairness.rates(of, suite.name, column, groups, **how)  # type: ignore[arg-type]


def lost(spec: Spec, suite: Suite, model: Scorer, ours: Scored, theirs: Scored) -> Lost:
    """Cases of a suite that the reference has clearly right and the candidate wrong.

    Clearly: the half of what it has right that is farthest from its threshold, or for sections from
    another header; for bids all that it wins. Each case that is wrong is scored again alone,
    `reruns` times: one that is right in every one of those is flaky and not lost, and both are
    told.
    """
    right = theirs.right
    if spec.task != "shading":
        margin = theirs.margin
        clear = right & (margin >= np.median(margin[right])) if right.any() else right
    else:
        clear = right & (theirs.y < theirs.value)
    names: list[str] = []
    flaky: list[str] = []
    for row in np.flatnonzero(clear & ~ours.right):
        one = suite.examples.take([int(row)])
        again = [
            scored(model.scores(one), one, ours.threshold, spec).right[0]
            for _ in range(spec.evaluate.reruns)
        ]
        (flaky if all(again) else names).append(suite.examples.ids[row])
    return Lost(int(clear.sum()), tuple(names), tuple(flaky), spec.evaluate.regressions_allowed)


def judge(
    spec: Spec,
    suites: Sequence[Suite],
    model: Scorer,
    threshold: float,
    reference: tuple[Scorer, float],
    baselines: Mapping[str, Floats],
    protected: Sequence[str] = (),
) -> Report:
    """Everything in one run.

    Args:
        spec: what is asked.
        suites: core, and the held-out set if it is looked at.
        model, threshold: the candidate.
        reference: what it has to be no worse than.
        baselines: others' scores of the core suite.
        protected: names of slices by which fairness is reported.
    """
    found: list[Gated] = []
    told: list[Told] = []
    fair_by: list[fairness.Rate] = []
    for number, suite in enumerate(suites):
        of = scored(model.scores(suite.examples), suite.examples, threshold, spec)
        found += gates(spec, suite.name, of, spec.seed + number)
        told += slices(spec, suite.examples, of, suite.name)
        fair_by += fair(spec, suite, of, protected)
    core = suites[0]
    ours = scored(model.scores(core.examples), core.examples, threshold, spec)
    theirs = scored(reference[0].scores(core.examples), core.examples, reference[1], spec)
    metric = FIRST_METRIC[spec.task]
    better = difference(
        metric,
        ours,
        theirs,
        level=spec.evaluate.confidence,
        resamples=spec.evaluate.resamples,
        seed=spec.seed,
    )
    values = {
        name: measure(metric, scored(scores, core.examples, NO_THRESHOLD, spec))
        for name, scores in baselines.items()
    }
    values["reference"] = measure(metric, theirs)
    balance = {kind: sum(s.balance[kind] for s in suites) for kind in core.balance}
    return Report(
        gates=tuple(found),
        slices=tuple(told),
        lost=lost(spec, core, model, ours, theirs),
        baselines=values,
        better_than_reference=better,
        balance=balance,
        looked=len(suites) > 1,
        fairness=tuple(fair_by),
        least_lead=spec.evaluate.least_lead,
    )
