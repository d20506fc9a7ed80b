"""Compares along: a follower's own pairs, drawn by its own seed, reported to whom it follows."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from typing import Any, Final

from governance.follow.follower import Follower
from governance.home import HomeError
from governance.service.client import CallError
from governance.service.fleet import joining
from governance.service.plane import PlaneError, live
from governance.service.repository import version_of
from governance.service.run import Plan, Run
from governance.shadow.sampling import SHORTEST_SEED, commitment
from governance.statements import Statement

# Between two reports that say nothing decisive.
REPORT_SECONDS: Final = 5


@dataclass
class Comparing:
    """The comparisons of a follower, one a model."""

    follower: Follower
    _runs: dict[str, Run] = field(default_factory=dict)
    _joined: set[str] = field(default_factory=set)
    _reported: dict[str, int] = field(default_factory=dict)

    def once(self, told: Any) -> None:
        """One round, by what the leader told."""
        follower = self.follower
        lines = {line.model: line for line in told.models if line.compared}
        for model in {*self._known(), *lines}:
            what = f"comparison of {model}"
            follower.attempt(what, partial(self._one, model, lines.get(model)))

    def _known(self) -> set[str]:
        folder = self.follower.home.root / "runs"
        kept = {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set()
        return kept | self._runs.keys()

    def _one(self, model: str, line: Any) -> None:
        run = self._runs.get(model) or Run.load(self.follower.home, model)
        if run is not None:
            self._runs[model] = run
            plan = run.plan
            if line is None or (plan.candidate, plan.attempt) != (line.compared, line.attempt):
                self._end(run)
                run = None
        if line is None:
            return
        if run is None:
            run = self._runs[model] = self._begin(line)
        self._join(run, line)
        self._look(run, line)

    def _begin(self, line: Any) -> Run:
        follower, home = self.follower, self.follower.home
        for digest in line.approvals:
            home.keep(follower.leader.statement(digest))
        policy = next((p for p in home.policies() if p.digest == line.policy), None)
        if policy is None:
            raise HomeError("no_policy", f"the comparison is under policy {line.policy}")
        plan = Plan(
            run=f"{line.compared[7:19]}-{line.attempt}-{token_hex(4)}",
            model=line.model,
            candidate=line.compared,
            incumbent=line.candidate,
            version=version_of(follower.models, line.model, line.compared),
            attempt=line.attempt,
            policy=line.policy,
            shadow_policy=dict(policy.risk_class(line.model).shadow),
            gateway=follower.gateway,
            seed=token_hex(SHORTEST_SEED),
            started=follower.clock(),
            share=0.0,
        )
        run = Run(home, plan)
        run.keep()
        return run

    def _join(self, run: Run, line: Any) -> None:
        """Commit to the seed before anything is drawn by it; once a process is often enough."""
        follower, plan = self.follower, run.plan
        if plan.run in self._joined:
            return
        told = commitment(bytes.fromhex(plan.seed))
        message = joining(follower.gateway, plan.model, plan.candidate, plan.attempt, told)
        follower.leader.join(line, told, follower.gateway, follower.signer.sign(message))
        self._joined.add(plan.run)
        follower.say("compares", model=plan.model, candidate=plan.candidate)

    def _look(self, run: Run, line: Any) -> None:
        follower, plan = self.follower, run.plan
        answers = live(follower.plane, plan.model)
        if answers is None or answers.digest != plan.incumbent or line.candidate != plan.incumbent:
            # Whoever looks after what is live puts it right first.
            return
        told, now = follower.plane.shadows().get(plan.model), follower.clock()
        if told is not None and told["run"] == plan.name:
            run.take(told["found"], now)
        else:
            if told is not None:
                follower.plane.end_shadow(plan.model)
                run.next_part()
            elif plan.counted:
                run.next_part()
            follower.plane.shadow(plan.model, plan.version, run.wishes)
        failed = run.judge(now).outcome == "FAIL"
        if failed or now >= self._reported.get(plan.run, 0) + REPORT_SECONDS:
            said = run.signable(follower.home.policy().audience, now, ended=False)
            statement = Statement(plan.model, plan.candidate, said)
            follower.leader.report(statement.envelope(follower.signer))
            self._reported[plan.run] = now

    def _reveal(self, run: Run) -> None:
        """Tell the seed, now that nothing is drawn by it: what was sampled can be drawn again.

        Raises:
            UnreachableError: the leader is away; it is told once it is back.

        """
        follower, plan = self.follower, run.plan
        said = run.signable(follower.home.policy().audience, follower.clock())
        statement = Statement(plan.model, plan.candidate, said)
        try:
            follower.leader.report(statement.envelope(follower.signer))
        except CallError as error:
            # Another time says the same: what nobody joined, or what the leader does not know.
            follower.say("seed_not_told", model=plan.model, error=str(error))

    def _end(self, run: Run) -> None:
        follower, model = self.follower, run.plan.model
        with suppress(PlaneError):
            follower.plane.end_shadow(model)
        self._reveal(run)
        run.close()
        follower.home.set_run(model, None)
        self._runs.pop(model, None)
        follower.say("compared", model=model, candidate=run.plan.candidate)
