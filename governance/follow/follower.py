"""Follows what is live elsewhere: fetched, verified here, swapped, acknowledged.

A follower believes its own pin and people's signatures. The service that it follows can tell it
late, or nothing, but cannot make it serve what nobody signed for, nor go further back than to the
model before. While nobody answers it serves on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from governance.dsse import Envelope
from governance.enforce import Gate
from governance.errors import GovernanceError, StatementError
from governance.follow.leader import Leader
from governance.home import Home, Live
from governance.policy_chain import accept
from governance.predicates import Approval, Deployment
from governance.service.fleet import acknowledgement
from governance.service.plane import DataPlane, PlaneError, live
from governance.service.repository import version_of
from governance.signer import Signer
from governance.statements import parse, parse_any

Say = Callable[..., None]


@dataclass
class Follower:
    """One gateway of a fleet. `gateway` is its name in the policy, `signer` has its key."""

    home: Home
    plane: DataPlane
    models: Path
    gateway: str
    signer: Signer
    leader: Leader
    clock: Callable[[], int]
    say: Say
    # What was acknowledged by this process: model to deployment and entry.
    _told: dict[str, tuple[str, int]] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)

    def once(self) -> Any:
        """One round: what the leader told, or None if it did not answer."""
        found: list[Any] = []
        self.attempt("leader", lambda: found.append(self._ask()))
        if not found:
            return None
        told = found[0]
        for line in told.models:
            if line.deployment:
                self.attempt(f"model {line.model}", partial(self._follow, line))
        for model in set(self.home.models()) - {m.model for m in told.models if m.deployment}:
            self.attempt(f"model {model}", partial(self._withdrawn, model))
        return told

    def attempt(self, what: str, act: Callable[[], object]) -> None:
        """Do something; what fails is said once, and tried again in the next round."""
        try:
            act()
        except (GovernanceError, OSError) as error:
            if self._said.get(what) != str(error):
                self.say("failed", what=what, error=f"{type(error).__name__}: {error}")
            self._said[what] = str(error)
        else:
            if self._said.pop(what, None) is not None:
                self.say("recovered", what=what)

    def _ask(self) -> Any:
        told = self.leader.follow(self.home.policy().version)
        for data in told.policies:
            envelope = Envelope.from_json(data)
            policy = accept(envelope, self.home.policy(), None, self.clock())
            self.home.add_policy(envelope, policy.version)
        for digest in sorted(set(told.revocations) - set(self.home.statements())):
            # Whether it holds the gate asks each time.
            self.home.keep(self.leader.statement(digest))
        return told

    def _follow(self, line: Any) -> None:
        now = self.home.live(line.model)
        if now is None or now.deployment != line.deployment:
            self._go(line, now)
        else:
            self._serve(line.model, now.model_digest)
        if self._told.get(line.model) != (line.deployment, line.change):
            message = acknowledgement(self.gateway, line.deployment, line.change)
            self.leader.acknowledge(line, self.gateway, self.signer.sign(message))
            self._told[line.model] = (line.deployment, line.change)
            self.say("follows", model=line.model, candidate=line.candidate)

    def _go(self, line: Any, now: Live | None) -> None:
        """Let what is live there be live here.

        Raises:
            GovernanceError: it may not be, is not in the repository, or the data plane refuses;
                what was live is live.

        """
        said = self._fetch(line.deployment)
        if now is not None and line.deployment != now.previous_deployment:
            before = parse(self.home.statement(now.deployment).payload, Deployment).predicate
            newer = said.effective > before.effective
            next_one = said.effective == before.effective and said.previous == now.model_digest
            if not newer and not next_one:
                raise StatementError(
                    "old_deployment",
                    f"{line.deployment} is older than what is live, and not the one before it",
                    remedy="promote it anew, if it is to be live again",
                )
        gate = Gate(self.home, self.clock)
        gate.check(line.model, line.candidate, line.deployment)
        version = version_of(self.models, line.model, line.candidate)
        back: tuple[str, str] | tuple[None, None] = (None, None)
        if line.previous and line.previous_deployment:
            self._fetch(line.previous_deployment)
            back = line.previous, line.previous_deployment
        # First the folder: the serving process loads only what stands there.
        self.home.set_live(line.model, Live(line.candidate, line.deployment, *back))
        try:
            self.plane.swap(line.model, version)
        except PlaneError as error:
            # A data plane that is away finds in the folder what to serve.
            if error.reason != "plane_away":
                self.home.set_live(line.model, now)
            raise
        self._serve(line.model, line.candidate)

    def _serve(self, model: str, digest: str) -> None:
        """See that it answers; whatever the data plane was started with."""
        answers = live(self.plane, model)
        if answers is None or answers.digest != digest:
            self.plane.swap(model, version_of(self.models, model, digest))
            answers = live(self.plane, model)
        if answers is None or answers.digest != digest:
            raise PlaneError("not_served", f"the data plane does not serve {digest}")

    def _withdrawn(self, model: str) -> None:
        """Nothing is live there any more. Here it goes if a revocation says so, and not else."""
        now = self.home.live(model)
        if now is None:
            return
        try:
            Gate(self.home, self.clock).may_serve(model, now.model_digest)
        except GovernanceError as error:
            self.home.set_live(model, None)
            self.plane.unload(model)
            self.say("withdrawn", model=model, candidate=now.model_digest, why=str(error))

    def _fetch(self, digest: str) -> Deployment:
        """A deployment and what it rests on, kept in the folder."""
        said = parse(self._kept(digest).payload, Deployment).predicate
        for approval in said.approvals:
            read = parse_any(self._kept(approval).payload).predicate
            if isinstance(read, Approval) and read.shadow_report is not None:
                self._kept(read.shadow_report)
        return said

    def _kept(self, digest: str) -> Envelope:
        # Fetched anew each time: signatures may have been added since.
        envelope = self.leader.statement(digest)
        self.home.keep(envelope)
        return envelope
