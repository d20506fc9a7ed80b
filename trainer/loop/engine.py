"""The loop itself: what comes after what, each phase done once and kept.

A phase is keyed by the digest of its input (and of the code's version of it). What the ledger has
is read; what it lacks is done and added. So the run is a function of its input that is played
again from the ledger after a kill, up to the phase that was not done yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from trainer import codec
from trainer.evaluation.lock import Lock
from trainer.loop import phases
from trainer.loop.ledger import Ledger, Step, output_of
from trainer.loop.phases import Desk, Fit
from trainer.loop.prepare import prepare
from trainer.loop.types import (
    AssessIn,
    AssessOut,
    Best,
    DiagnoseIn,
    DiagnoseOut,
    EvaluateIn,
    EvaluateOut,
    Planned,
    Prepared,
    Proposed,
    ProposeIn,
    SpecialiseIn,
    SpecialiseOut,
    Spent,
    Tried,
)
from trainer.propose.candidate import Signing
from trainer.propose.candidate import propose as make_proposal
from trainer.recipes.blocks import Blocks, one_by_one
from trainer.specialise.methods import method
from trainer.specialise.methods import propose as parameters_for

T = TypeVar("T")
# Raised when a phase's meaning changes, so that an old ledger is not read as a new one.
VERSION = 2


@dataclass(frozen=True)
class Ended:
    """How a run ended: what it proposed, or why there is nothing."""

    run: str
    outcome: str
    reason: str
    proposed: Proposed | None
    assessed: AssessOut | None


@dataclass
class Loop:
    """One run.

    Attributes:
        desk: the spec, the folder, the store, and who is told.
        ledger: of the folder.
        fit: runs trials.
        signing: signs what is proposed.
        locked: the thresholds.
        version: of the held-out set.
        base: the base model's folder, "" for none.
        blocks: reads files of cases.
    """

    desk: Desk
    ledger: Ledger
    fit: Fit
    signing: Signing
    locked: Lock
    version: int
    base: str
    blocks: Blocks = one_by_one

    @property
    def run_id(self) -> str:
        """The run's name: the digest of what it follows from, but for bounds on time and place."""
        spec = self.desk.spec
        told = replace(spec, propose=replace(spec.propose, repository=""), folder="")
        return codec.digest("run", VERSION, told, self.locked.digest, self.version)[7:23]

    def go(self) -> Ended:
        """Run to the end, from wherever the ledger is.

        Raises:
            TrainError: a phase cannot be done; it is tried again by the next call.
        """
        spec = self.desk.spec
        ready = self._step(0, "prepare", Prepared, self.run_id, self._prepare)
        if ready.leaked:
            # Before time is spent: whatever is fitted on these cases could not be judged.
            reason = f"leak: {ready.leaked} cases of the suites are in the training data"
            self.ledger.end(self.run_id, "stopped", reason)
            return Ended(self.run_id, "stopped", reason, None, None)
        best, spent = Best(), Spent()
        number = 0
        clusters: DiagnoseOut | None = None
        looking = (ready.plain, ready.plain_folds, self._plain_threshold(ready))
        while True:
            clusters = self._diagnosed(number, ready, looking)
            plan = self._plan(number, spent, best)
            asked = SpecialiseIn(
                ready.train, clusters.weights, plan, spec.specialise.folds, spec.seed, self.base
            )
            made = self._step(
                number, "specialise", SpecialiseOut, asked, partial(self._specialise, asked)
            )
            spent = replace(
                spent,
                trials=spent.trials + len(made.trials),
                seconds=spent.seconds + sum(t.seconds for t in made.trials),
            )
            tried = made.trials[made.best] if made.best >= 0 else None
            judged = AssessIn(
                number,
                ready.core,
                ready.held_out,
                ready.reference,
                ready.reference_name,
                ready.reference_threshold,
                best,
                tried,
                spent,
                ready.lock,
                ready.protected,
            )
            out = self._step(
                number,
                "assess",
                AssessOut,
                judged,
                partial(phases.assess, self.desk, judged, ready.train, _Looks(self)),
            )
            best, spent = out.best, out.spent
            if out.next == "continue":
                number += 1
                looking = (best.model, best.fold_scores, best.threshold)
                continue
            return self._end(ready, clusters, out)

    def _diagnosed(
        self, number: int, ready: Prepared, looking: tuple[str, str, float]
    ) -> DiagnoseOut:
        model, folds, threshold = looking
        asked = EvaluateIn(number, ready.train, ready.core, model, folds, threshold)
        found = self._step(
            number, "evaluate", EvaluateOut, asked, lambda: phases.evaluate(self.desk, asked)
        )
        spec = self.desk.spec
        causes = DiagnoseIn(
            ready.train, found.wrong, folds, spec.seed, spec.specialise.targeted and number > 0
        )
        return self._step(
            number, "diagnose", DiagnoseOut, causes, lambda: phases.diagnose(self.desk, causes)
        )

    def _end(self, ready: Prepared, clusters: DiagnoseOut, out: AssessOut) -> Ended:
        if out.next == "stop" or out.report is None:
            self.ledger.end(self.run_id, "stopped", out.reason)
            return Ended(self.run_id, "stopped", out.reason, None, out)
        looks = self.ledger.looks(ready.held_out.digest)
        asked = ProposeIn(out.best, out.report, ready, clusters.clusters, self.run_id, looks)
        made = self._step(
            out.best.round,
            "propose",
            Proposed,
            asked,
            lambda: make_proposal(self.desk, asked, self.signing, self.locked),
        )
        self.ledger.end(self.run_id, "proposed", out.reason)
        return Ended(self.run_id, "proposed", out.reason, made, out)

    def _prepare(self) -> tuple[Prepared, str]:
        desk = self.desk
        made = prepare(desk.spec, desk.folder, desk.store, self.locked, self.version, self.blocks)
        return made, (
            f"data, suites and thresholds are those that were locked ({self.locked.digest[:19]}…); "
            f"{made.dropped:,} equal cases dropped, {made.leaked:,} leaked"
        )

    def _plain_threshold(self, ready: Prepared) -> float:
        from trainer.evaluation.metrics import threshold_of  # noqa: PLC0415

        train = self.desk.examples(ready.train)
        return threshold_of(self.desk.store.array(ready.plain_folds), train, self.desk.spec)

    def _plan(self, number: int, spent: Spent, best: Best) -> tuple[Planned, ...]:
        spec = self.desk.spec
        s = spec.specialise
        room = max(1, min(s.trials, spec.stop.trials - spent.trials))
        found = []
        for place in range(room):
            total = spent.trials + place
            name = s.methods[total % len(s.methods)]
            # The first of each method as known to work; later ones drawn.
            draw = total // len(s.methods)
            chosen = parameters_for(method(name), draw, spec.seed, s.parameters)
            # Half of the later trials weigh failures more, the others are what they are set beside.
            found.append(Planned(total, name, chosen, s.targeted and number > 0 and place % 2 == 0))
        return tuple(found)

    def _specialise(self, asked: SpecialiseIn) -> tuple[SpecialiseOut, str]:
        known: dict[int, Tried] = {}
        keys = {
            one.number: codec.digest(
                "trial",
                VERSION,
                asked.train,
                asked.weights,
                one,
                asked.folds,
                asked.seed,
                asked.base,
                self.desk.spec.specialise.workers,
            )
            for one in asked.trials
        }
        for one in asked.trials:
            done = self.ledger.done(keys[one.number])
            if done is not None:
                known[one.number] = output_of(done, Tried)

        def keep(one: Planned, tried: Tried) -> None:
            reason = tried.failed or f"{tried.method}: {tried.score:.4f} by folds"
            step = Step(
                keys[one.number],
                self.run_id,
                -1,
                "trial",
                codec.to_json(one),
                codec.to_json(tried),
                reason,
                time.time(),
                tried.seconds,
            )
            self.ledger.finish(step)

        return phases.specialise(self.desk, asked, self.fit, known, keep)

    def _step(
        self,
        number: int,
        phase: str,
        kind: type[T],
        asked: object,
        do: Callable[[], tuple[T, str]],
    ) -> T:
        key = codec.digest(phase, VERSION, self.run_id, asked)
        done = self.ledger.done(key)
        if done is not None:
            return output_of(done, kind)
        self.desk.say(f"round {number}, {phase}")
        self.ledger.begin(self.run_id, phase, f"round {number}: its input is new")
        begun, clock = time.time(), time.monotonic()
        found, reason = do()
        step = Step(
            key,
            self.run_id,
            number,
            phase,
            asked if isinstance(asked, str) else codec.to_json(asked),
            codec.to_json(found),
            reason,
            begun,
            time.monotonic() - clock,
        )
        self.ledger.finish(step)
        self.desk.say(f"round {number}, {phase}: {reason}")
        # As it will be read after a restart.
        return output_of(step, kind)


class _Looks:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def others(self, held_out: str, candidate: str) -> int:
        return self._loop.ledger.others(held_out, candidate)

    def look(self, held_out: str, candidate: str) -> None:
        self._loop.ledger.look(held_out, candidate, self._loop.run_id)
