"""The five phases, each from typed input to typed output, with the reason that the ledger keeps.

They read and write objects of the run's store and nothing else, but for `assess`, which may open
the held-out set, and `propose`, which packs a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trainer.errors import TrainError
from trainer.evaluation import seal as seals
from trainer.evaluation import suite as suites
from trainer.evaluation.bounds import bound
from trainer.evaluation.metrics import measure, scored, scored_rows, threshold_of
from trainer.evaluation.plain import baselines
from trainer.evaluation.suite import Suite
from trainer.examples import Examples, Floats
from trainer.loop import judge
from trainer.loop.diagnose import diagnose as find_clusters
from trainer.loop.prepare import Folder
from trainer.loop.stop import compare, must_stop
from trainer.loop.store import Store
from trainer.loop.types import (
    AssessIn,
    AssessOut,
    Best,
    DiagnoseIn,
    DiagnoseOut,
    EvaluateIn,
    EvaluateOut,
    Planned,
    Report,
    SpecialiseIn,
    SpecialiseOut,
    Spent,
    Tried,
)
from trainer.spec.spec import METRICS, TOLD, Spec
from trainer.specialise.trial import Outcome, Trial

# Is told a trial's place and outcome as soon as it is there.
Done = Callable[[int, Outcome], None]
# Runs a list of trials on the same training cases, as many at once as there is room for.
Fit = Callable[[list[Trial], Examples, Done], None]
# Says how far a phase is.
Say = Callable[[str], None]


class Looks(Protocol):
    """Counts looks at held-out sets; sets and candidates by digest."""

    def others(self, held_out: str, candidate: str) -> int:
        """How many other candidates have looked."""

    def look(self, held_out: str, candidate: str) -> None:
        """Write down that this one looks, before it does."""


@dataclass(frozen=True)
class Desk:
    """What phases work with."""

    spec: Spec
    folder: Folder
    store: Store
    say: Say

    def examples(self, name: str) -> Examples:
        """Cases of the store."""
        return Examples.from_bytes(self.store.get(name))

    def suite(self, name: str) -> Suite:
        """A suite of the store."""
        return suites.from_bytes(self.store.get(name), "the core suite")


def evaluate(desk: Desk, given: EvaluateIn) -> tuple[EvaluateOut, str]:
    """How a model does on core, and which training cases it has wrong by folds."""
    spec, suite = desk.spec, desk.suite(given.core)
    model = desk.store.model(given.model)
    of = scored(model.scores(suite.examples), suite.examples, given.threshold, spec)
    e = spec.evaluate
    found = {
        metric: bound(metric, of, level=e.confidence, resamples=200, seed=spec.seed)
        for metric in TOLD[spec.task]
    }
    train = desk.examples(given.train)
    by_folds = desk.store.array(given.fold_scores)
    known = scored_rows(by_folds)
    folds = scored(by_folds[known], train.take(known), given.threshold, spec)
    wrong = np.zeros(len(train), np.bool_)
    wrong[known] = ~folds.right
    told = judge.slices(spec, suite.examples, of, "core")
    out = EvaluateOut(found, tuple(told), desk.store.put_array(wrong), int(wrong.sum()), len(train))
    first = found[spec.first_metric]
    reason = (
        f"{spec.first_metric} {first.value:.4f} ({first.low:.4f} to {first.high:.4f}) on core; "
        f"{out.failing:,} of {out.cases:,} training cases wrong by folds"
    )
    return out, reason


def diagnose(desk: Desk, given: DiagnoseIn) -> tuple[DiagnoseOut, str]:
    """What the failures have in common, and what counts more in the next round."""
    train = desk.examples(given.train)
    wrong = desk.store.array(given.wrong)
    clusters, weights = find_clusters(train, wrong, given.seed, given.targeted)
    worst = "; ".join(f"{c.name} ({c.failing:,} of {c.cases:,})" for c in clusters[:3])
    out = DiagnoseOut(clusters, desk.store.put_array(weights))
    return out, f"{len(clusters)} clusters: {worst}" if clusters else "failures have no pattern"


def specialise(
    desk: Desk,
    given: SpecialiseIn,
    fit: Fit,
    known: Mapping[int, Tried],
    keep: Callable[[Planned, Tried], None],
) -> tuple[SpecialiseOut, str]:
    """Fit the round's trials; those that are known already are not fitted again.

    Args:
        desk: of the run.
        given: the trials.
        fit: fits.
        known: outcomes by the trial's number.
        keep: is told each outcome as soon as it is there.
    """
    spec, train = desk.spec, desk.examples(given.train)
    weights, even = desk.store.array(given.weights), np.ones(len(train))
    s = spec.specialise
    found: dict[int, Tried] = dict(known)
    left = [one for one in given.trials if one.number not in found]
    wanted = [
        Trial(
            method=one.method,
            parameters=one.parameters,
            weights=weights if one.targeted else even,
            folds=given.folds,
            seed=given.seed,
            cores=s.cores,
            memory_gib=s.memory_gib,
            nice=s.nice,
            seconds=s.trial_seconds,
            base=given.base,
            device=s.device,
            checkpoints=str(desk.folder.root / "checkpoints"),
            workers=s.workers,
        )
        for one in left
    ]

    # Kept one by one, so that a kill loses no more than what runs at that moment.
    def done(place: int, outcome: Outcome) -> None:
        one = left[place]
        tried = _told(desk, one, outcome, train)
        keep(one, tried)
        found[one.number] = tried
        desk.say(
            f"trial {one.number}: {tried.failed or f'{one.method} {tried.score:.4f} by folds'}"
        )

    if left:
        desk.say(f"trials {', '.join(str(one.number) for one in left)}")
        fit(wanted, train, done)
    if missing := [str(one.number) for one in left if one.number not in found]:
        raise TrainError(f"Trials without an outcome: {', '.join(missing)}.")
    trials = tuple(found[one.number] for one in given.trials)
    sign = 1.0 if METRICS[spec.first_metric] else -1.0
    fitted = [i for i, t in enumerate(trials) if t.score is not None]
    best = max(fitted, key=lambda i: sign * (trials[i].score or 0.0), default=-1)
    failed = [f"trial {t.number}: {t.failed}" for t in trials if t.failed]
    if best < 0:
        return SpecialiseOut(trials, -1), "every trial failed: " + "; ".join(failed)
    reason = (
        f"{len(fitted)} of {len(trials)} trials fitted; the best is {trials[best].method} with "
        f"{spec.first_metric} {trials[best].score:.4f} by folds"
    )
    return SpecialiseOut(trials, best), "; ".join([reason, *failed])


def _told(desk: Desk, one: Planned, outcome: Outcome, train: Examples) -> Tried:
    if outcome.fitted is None:
        return Tried(
            one.number,
            one.method,
            one.parameters,
            one.targeted,
            None,
            "",
            "",
            0.0,
            0.0,
            outcome.confined,
            outcome.failed,
            outcome.seconds,
        )
    made = outcome.fitted
    known = scored_rows(made.fold_scores)
    by_folds, cases = made.fold_scores[known], train.take(known)
    threshold = threshold_of(by_folds, cases, desk.spec)
    score = measure(desk.spec.first_metric, scored(by_folds, cases, threshold, desk.spec))
    return Tried(
        one.number,
        one.method,
        one.parameters,
        one.targeted,
        score,
        desk.store.put_model(made.model),
        desk.store.put_array(made.fold_scores),
        threshold,
        made.difference,
        outcome.confined,
        "",
        outcome.seconds,
    )


def assess(desk: Desk, given: AssessIn, train: str, looks: Looks) -> tuple[AssessOut, str]:
    """Whether to go on, to propose, or to stop; opens the held-out set if core and looks allow."""
    spec, suite = desk.spec, desk.suite(given.core)
    core = float("nan")
    if given.tried is not None:
        model = desk.store.model(given.tried.model)
        of = scored(model.scores(suite.examples), suite.examples, given.tried.threshold, spec)
        core = measure(spec.first_metric, of)
    found = compare(spec, given.round, given.best, given.tried, core, given.spent)
    best, spent, why = found.best, found.spent, found.reason
    if best.score is None:
        return _or_on(spec, given.round, best, spent, why, None)
    beside = baselines(desk.examples(train), suite.examples, spec)
    report = _report(desk, given, beside, [suite], best)
    if not report.holds:
        missed = ", ".join(g.metric for g in report.gates if g.holds is False)
        lost = len(report.lost.names)
        more = f"; {lost} cases lost, {report.lost.allowed} allowed" if lost else ""
        b = report.better_than_reference
        behind = (
            f"; {b.value:+.4f} ({b.low:+.4f} to {b.high:+.4f}) beside {given.reference_name}, "
            f"{report.least_lead:+g} asked"
            if report.behind
            else ""
        )
        told = missed or ("lead" if report.behind else "regressions")
        short = f"{why}; core does not hold: {told}{behind}{more}"
        return _or_on(spec, given.round, best, spent, short, report)
    seen = looks.others(given.held_out.digest, best.model)
    if seen >= spec.evaluate.looks:
        reason = (
            f"{why}; core holds, but the held-out set was looked at {seen} times: draw it anew "
            "(train rotate)"
        )
        return AssessOut("stop", f"held-out exposure: {reason}", best, spent, report), reason
    looks.look(given.held_out.digest, best.model)
    held = seals.unseal(given.held_out, desk.folder.key(spec))
    whole = _report(desk, given, beside, [suite, held], best)
    if whole.holds:
        reason = f"target met: {why}; core, held-out and regressions hold in one run"
        return AssessOut("propose", reason, best, spent, whole), reason
    missed = ", ".join(f"{g.metric} on {g.on}" for g in whole.gates if g.holds is False)
    return _or_on(spec, given.round, best, spent, f"{why}; core holds, but not {missed}", whole)


def _or_on(
    spec: Spec, round_: int, best: Best, spent: Spent, why: str, report: Report | None
) -> tuple[AssessOut, str]:
    stop = must_stop(spec, round_, spent)
    if stop is not None:
        reason = f"{stop[0]}: {stop[1]}; {why}"
        return AssessOut("stop", reason, best, spent, report), reason
    return AssessOut("continue", why, best, spent, report), why


def _report(
    desk: Desk,
    given: AssessIn,
    beside: Mapping[str, Floats],
    asked: list[Suite],
    best: Best,
) -> Report:
    return judge.judge(
        desk.spec,
        asked,
        desk.store.model(best.model),
        best.threshold,
        (desk.store.model(given.reference), given.reference_threshold),
        beside,
        given.protected,
    )
