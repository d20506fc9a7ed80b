"""Runs comparisons: from an operator's signature to a signed report in the ledger; canaries too.

The data plane is asked every half second. Whatever ends in between (this process, the data plane,
the ledger's disk), the attempt stays spent and no pair is counted twice.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.ledger.errors import LedgerError
from governance.policy import Policy
from governance.service import approvals, evidence
from governance.service.approvals import About
from governance.service.authority import Authority, approvals_of, key_of
from governance.service.plane import PlaneError, live
from governance.service.repository import version_of
from governance.service.run import Plan, Run
from governance.service.summing import Summing
from governance.shadow.gates import parse_policy
from governance.shadow.sampling import SHORTEST_SEED, commitment
from governance.shadow_report import ShadowReport
from governance.statements import parse
from governance.states.model import TransitionError
from governance.verifier import Approved, verify_approvals


class Shadowing:
    """The comparisons of a gateway, one a model."""

    def __init__(self, authority: Authority) -> None:
        self._authority, self._summing = authority, Summing(authority)
        self._runs: dict[str, Run] = {}
        # What a canary's verdict leads to; a canary does not outlive the process.
        self._decided: dict[str, Callable[[str], None]] = {}
        folder = authority.home.root / "runs"
        for path in folder.glob("*.json") if folder.is_dir() else ():
            found = Run.load(authority.home, path.stem)
            if found is not None:
                self._runs[path.stem] = found

    @property
    def models(self) -> list[str]:
        """Models with a comparison that goes on."""
        return sorted(self._runs)

    def start(
        self, model: str, candidate: str, given: Sequence[Envelope] = (), share: float = 0.0
    ) -> dict[str, Any]:
        """Begin to compare a candidate with what is live, by an operator's approval.

        Raises:
            GovernanceError: it is not approved, not possible now, or not with these two models.

        """
        authority = self._authority
        with authority.lock:
            if model in self._runs:
                raise TransitionError("already_shadowing", f"{model} has a comparison already")
            state = authority.state(model)
            trainer = authority.usable(model, candidate)
            if state.incumbent is None:
                raise TransitionError("no_incumbent", f"nothing of {model} is live to compare with")
            answers = live(authority.plane, model)
            if answers is None or answers.digest != state.incumbent:
                raise PlaneError(
                    "incumbent_not_served",
                    f"the gateway serves {answers.digest if answers else 'nothing'} for {model}",
                    expected=state.incumbent,
                )
            version = version_of(authority.models, model, candidate)
            policy = authority.home.policy()
            bundle = evidence.require(authority.home, policy, model, candidate, trainer, "shadow")
            about = About("shadow", model, candidate, state.incumbent, None, bundle)
            envelopes = approvals.find(authority, about, given)
            proposer, keys = authority.proposer(trainer.trainer, policy)
            approved = verify_approvals(
                envelopes,
                policy=policy,
                action="shadow",
                model=model,
                candidate=candidate,
                incumbent=state.incumbent,
                shadow_report=None,
                evidence_digest=bundle,
                audience=policy.audience,
                now=authority.clock(),
                proposer=proposer,
                trainer_keys=keys,
                used_nonces=authority.registry.nonces,
                revocations=authority.revocations(),
                clock_floor=authority.clock_floor(),
            )
            authority.check_heads(approved.heads)
            attempt = state.attempts.get(state.incumbent, 0) + 1
            plan = self._plan(policy, approved, version, attempt, share)
            return self._begin(plan, approved, envelopes, policy)

    def in_canary(self, model: str) -> bool:
        """Whether a candidate answers some of a model's callers by this process's word."""
        return model in self._decided

    def canary(
        self, approved: Approved, version: int, share: float, decided: Callable[[str], None]
    ) -> None:
        """Let a candidate whose promotion is decided answer a share of the callers first.

        Its answers are compared as in a shadow, under the same limits. `decided` is told the
        verdict once it is logged, or the cause for which the canary ended without one.

        Raises:
            GovernanceError: it did not begin.

        """
        authority = self._authority
        with authority.lock:
            policy = authority.home.policy()
            attempt = authority.candidate(approved.model, approved.candidate).attempt
            plan = replace(self._plan(policy, approved, version, attempt, 0.0), callers=share)
            run = Run(authority.home, plan)
            run.keep()
            try:
                told = commitment(bytes.fromhex(plan.seed))
                authority.record("seed", key_of("seed", told), model=plan.model, commitment=told)
                authority.record(
                    "canary",
                    key_of("canary", plan.run),
                    model=plan.model,
                    candidate=plan.candidate,
                    share=f"{share:.6f}".rstrip("0"),
                )
                salt = secrets.token_bytes(16)
                authority.plane.canary(plan.model, version, share, salt, run.wishes)
            except GovernanceError:
                self._forget(run)
                raise
            self._runs[plan.model], self._decided[plan.model] = run, decided

    def _plan(
        self, policy: Policy, approved: Approved, version: int, attempt: int, share: float
    ) -> Plan:
        if not 0.0 <= share <= 1.0:
            raise StatementError("bad_share", f"share is {share}", expected="from 0 to 1")
        shadow_policy = dict(policy.risk_class(approved.model).shadow)
        limits = parse_policy(shadow_policy)
        if limits.seed_commitment is not None:
            raise StatementError(
                "seed_in_policy",
                "the policy commits to a seed, and this gateway draws its own for each run",
                remedy="leave seed_commitment out of the policy: the ledger holds it",
            )
        return Plan(
            run=f"{approved.candidate[7:19]}-{attempt}-{secrets.token_hex(4)}",
            model=approved.model,
            candidate=approved.candidate,
            incumbent=str(approved.incumbent),
            version=version,
            attempt=attempt,
            policy=policy.digest,
            shadow_policy=shadow_policy,
            gateway=self._authority.gateway,
            seed=secrets.token_hex(SHORTEST_SEED),
            started=self._authority.clock(),
            share=share,
        )

    def _begin(
        self, plan: Plan, approved: Approved, envelopes: Sequence[Envelope], policy: Policy
    ) -> dict[str, Any]:
        authority = self._authority
        for envelope in envelopes:
            authority.home.keep(envelope)
        run = Run(authority.home, plan)
        run.keep()
        try:
            told = commitment(bytes.fromhex(plan.seed))
            authority.record("seed", key_of("seed", told), model=plan.model, commitment=told)
            authority.record(
                "shadow",
                key_of("shadow", *approved.statements),
                model=plan.model,
                candidate=plan.candidate,
                incumbent=plan.incumbent,
                policy=plan.policy,
                attempt=plan.attempt,
                approvals=approvals_of(approved, envelopes, policy),
            )
        except GovernanceError:
            self._forget(run)
            self._close_attempt(plan, "not_logged")
            raise
        self._runs[plan.model] = run
        try:
            authority.plane.shadow(plan.model, plan.version, run.wishes)
        except PlaneError as error:
            if error.reason == "plane_refused":
                self.stop(plan.model, "plane_refused")
            raise
        return run.told(authority.clock())

    def stop(self, model: str, cause: str = "stopped") -> None:
        """End a comparison without a verdict; the attempt stays spent.

        A canary's promotion is taken back with it.

        Raises:
            TransitionError: there is none.
            LedgerError: it could not be logged; the comparison goes on.

        """
        with self._authority.lock:
            run = self.run(model)
            if run.plan.is_canary:
                self._end(run)
                self._decide(model, cause)
                return
            self._close_attempt(run.plan, cause, strict=True)
            self._end(run)

    def share(self, model: str, share: float) -> None:
        """Mirror another share of the traffic from now on; pairs are chosen all the same.

        Raises:
            GovernanceError: there is no comparison, or the share is none.

        """
        if not 0.0 <= share <= 1.0:
            raise StatementError("bad_share", f"share is {share}", expected="from 0 to 1")
        with self._authority.lock:
            run = self.run(model)
            if run.plan.is_canary:
                raise TransitionError("is_canary", f"{model} has a canary: its share is fixed")
            run.keep(share=share)
            with suppress(PlaneError):
                self._authority.plane.end_shadow(model)
            # The next look finds it gone and begins it anew.

    def told(self, model: str) -> dict[str, Any]:
        """How a comparison fares.

        Raises:
            TransitionError: there is none.

        """
        with self._authority.lock:
            run, now = self.run(model), self._authority.clock()
            return run.told(now) | self._summing.told(run, now)

    def join(self, model: str, candidate: str, attempt: int, who: str, commitment: str) -> None:
        """Let another gateway of the fleet compare along. Raises GovernanceError."""
        with self._authority.lock:
            self._summing.join(self.run(model), candidate, attempt, who, commitment)

    def take(self, model: str, envelope: Envelope) -> None:
        """Count what a gateway that joined has reported. Raises GovernanceError."""
        with self._authority.lock:
            self._summing.take(self.run(model), envelope)

    def run(self, model: str) -> Run:
        """The comparison of a model that goes on.

        Raises:
            TransitionError: there is none.

        """
        found = self._runs.get(model)
        if found is None:
            raise TransitionError("no_shadow", f"no comparison of {model} goes on")
        return found

    def tick(self) -> None:
        """Ask the data plane, count, judge; log and end what is decided.

        Raises:
            GovernanceError, OSError: of the first comparison that had to be left for later.

        """
        with self._authority.lock:
            if not self._runs:
                return
            shadows = self._authority.plane.shadows()
            failed: list[Exception] = []
            for run in list(self._runs.values()):
                # What was found is told once: one model's trouble must not lose another's pairs.
                try:
                    if self._stands(run):
                        self._look(run, shadows.get(run.plan.model))
                except (GovernanceError, OSError) as error:
                    failed.append(error)
            if failed:
                raise failed[0]

    def _stands(self, run: Run) -> bool:
        """Whether the registry still has the attempt; a promotion or a refusal ends it."""
        plan = run.plan
        state = self._authority.state(plan.model)
        known = state.candidates.get(plan.candidate)
        if plan.is_canary:
            if known is not None and known.state == "canary" and self.in_canary(plan.model):
                return True
        elif known is not None and (known.state, known.attempt, known.report) == (
            "shadowing",
            plan.attempt,
            None,
        ):
            return True
        self._end(run)
        self._decided.pop(plan.model, None)
        return False

    def _look(self, run: Run, told: Any) -> None:
        plane, plan = self._authority.plane, run.plan
        if plan.report is not None:
            self._log_result(run)
            return
        if told is not None and told["run"] == plan.name:
            run.take(told["found"], self._authority.clock())
        elif plan.is_canary:
            # The data plane was started anew: it serves what is live, and that alone.
            self.stop(plan.model, "canary_lost")
            return
        else:
            answers = live(plane, plan.model)
            if answers is None or answers.digest != plan.incumbent:
                # Whoever looks after what is live puts it right first.
                return
            if told is not None:
                plane.end_shadow(plan.model)
            run.next_part()
            try:
                plane.shadow(plan.model, plan.version, run.wishes)
            except PlaneError as error:
                if error.reason == "plane_refused":
                    self.stop(plan.model, "plane_refused")
                raise
        report = self._summing.decided(run, self._authority.clock())
        if report is not None:
            run.keep(report=report)
            self._log_result(run)

    def _log_result(self, run: Run) -> None:
        plan, report = run.plan, str(run.plan.report)
        envelope = self._authority.home.statement(report)
        # From what was signed, so that the two cannot differ.
        verdict = parse(envelope.payload, ShadowReport).predicate.verdict
        about: dict[str, Any] = {
            "model": plan.model,
            "candidate": plan.candidate,
            "report": report,
            "verdict": verdict,
        }
        if plan.is_canary:
            self._authority.record("canary_result", key_of("canary_result", report), **about)
            try:
                # First, so that the candidate is resident still when it goes live.
                self._decide(plan.model, verdict)
            finally:
                self._end(run)
            return
        about |= {"incumbent": plan.incumbent, "attempt": plan.attempt}
        self._authority.record("shadow_result", key_of("shadow_result", report), **about)
        self._end(run)

    def _decide(self, model: str, verdict: str) -> None:
        decided = self._decided.pop(model, None)
        if decided is not None:
            decided(verdict)

    def _end(self, run: Run) -> None:
        plane, model = self._authority.plane, run.plan.model
        with suppress(PlaneError):
            if run.plan.is_canary:
                plane.end_canary(model)
            else:
                plane.end_shadow(model)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.plan.model, None)
        run.close()
        self._authority.home.set_run(run.plan.model, None)

    def _close_attempt(self, plan: Plan, cause: str, strict: bool = False) -> None:
        """Log that a run ends without a verdict, if the ledger has its beginning."""
        try:
            self._authority.record(
                "stop_shadow",
                key_of("stop_shadow", plan.run),
                model=plan.model,
                candidate=plan.candidate,
                cause=cause,
            )
        except (LedgerError, TransitionError):
            if strict:
                raise
