"""Makes a model live, in two phases: decided in the ledger, then done or taken back.

promote_intent → witness → the gateway's own deployment statement → the folder says what is live →
the data plane swaps → it is seen to serve → promote_done. Whatever fails in between, the model
before is live again, by the folder and by the data plane, and promote_failed says why. What a crash
leaves open is settled by what the data plane serves. A canary stands between decision and swap.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.home import Live
from governance.ledger.errors import LedgerError, WitnessError
from governance.predicates import Deployment
from governance.service import unfinished
from governance.service.authority import Authority, key_of
from governance.service.plane import PlaneError, live
from governance.service.repository import version_of
from governance.service.shadowing import Shadowing
from governance.service.unfinished import Note, live_after
from governance.service_verifier import verify_for_serving
from governance.statements import Statement
from governance.states.model import TransitionError
from governance.states.recorder import resolve
from governance.verifier import Approved

Step = Callable[[str], None]


@dataclass(frozen=True)
class Promoted:
    """What is live now. `repeated`: it had been done before by the same approvals.

    `canary`: it answers a share of the callers, and is live for all once that has passed;
    `deployment` is empty until then.
    """

    model: str
    candidate: str
    version: int
    deployment: str
    repeated: bool
    canary: bool = False


@dataclass(frozen=True)
class Intended:
    """A promotion that is decided and logged at `index`.

    `before` is what the folder calls live, `back` the digest that answers again if it fails.
    """

    approved: Approved
    version: int
    index: int
    before: Live | None
    back: str | None


class GoingLive:
    """From a decision to what answers. `step` is told each step as it begins, for tests that end
    there; `shadowing` runs the canaries, without it there are none.
    """

    def __init__(
        self, authority: Authority, step: Step = lambda _: None, shadowing: Shadowing | None = None
    ) -> None:
        self._authority, self._step, self._shadowing = authority, step, shadowing

    def intend(
        self,
        approved: Approved,
        version: int,
        told: list[dict[str, Any]],
        body: dict[str, Any],
        head: int,
    ) -> Intended:
        """Log that a model goes live; nothing is touched yet.

        `told` are its approvals as the ledger has them, `body` what else the entry says, `head` the
        ledger's size before.

        Raises:
            GovernanceError: it is not possible now, or could not be logged or witnessed.

        """
        authority, model, candidate = self._authority, approved.model, approved.candidate
        authority.usable(model, candidate)
        before = authority.home.live(model)
        # Of a first model governance has none before; the gateway may have served one unsigned.
        answered = live(authority.plane, model)
        back = approved.incumbent or (answered.digest if answered else None)
        glass = approved.action == "break_glass"
        kind = "break_glass" if glass else "promote_intent"
        self._step("intent")
        try:
            receipt = authority.record(
                kind,
                key_of(kind, *sorted(approved.statements)),
                model=model,
                candidate=candidate,
                incumbent=approved.incumbent,
                approvals=told,
                **body,
            )
        except WitnessError:
            # It is in the ledger, and nobody outside has seen it: it did not happen.
            self._failed(model, candidate, head, "not_witnessed")
            raise
        self._step("intended")
        return Intended(approved, version, receipt.index, before, back)

    def begin_canary(self, intended: Intended, share: float) -> Promoted:
        """Let what was decided answer a share of the callers first.

        Raises:
            GovernanceError: it did not begin; the promotion is taken back.

        """
        approved = intended.approved
        model, candidate = approved.model, approved.candidate

        def decided(verdict: str) -> None:
            if verdict == "PASS":
                self.make_live(intended)
            elif verdict not in ("FAIL", "INCONCLUSIVE"):
                # With a verdict the promotion has its end in the ledger already.
                self._failed(model, candidate, intended.index, verdict)

        try:
            if self._shadowing is not None:
                self._shadowing.canary(approved, intended.version, share, decided)
        except GovernanceError as error:
            self._failed(model, candidate, intended.index, error.reason)
            raise
        return Promoted(model, candidate, intended.version, "", repeated=False, canary=True)

    def make_live(self, intended: Intended) -> Promoted:
        """Swap to what was decided.

        Raises:
            GovernanceError: it was not possible; the model before is live.

        """
        authority, approved, index = self._authority, intended.approved, intended.index
        model, candidate, version = approved.model, approved.candidate, intended.version
        before, back = intended.before, intended.back
        try:
            digest = authority.home.keep(self._deployment(approved, index))
            unfinished.keep(authority.home, model, Note(digest, before, back))
            self._step("kept")
            authority.home.set_live(model, live_after(candidate, digest, before))
            self._step("recorded")
            authority.plane.swap(model, version)
            self._step("swapped")
            answers = live(authority.plane, model)
            if answers is None or answers.digest != candidate:
                raise PlaneError("not_served", "the gateway does not serve it after the swap")
            self._step("served")
        except (GovernanceError, OSError) as error:
            reason = error.reason if isinstance(error, GovernanceError) else "folder_not_writable"
            self._take_back(model, candidate, back, before, index, reason)
            if isinstance(error, GovernanceError):
                raise
            raise StatementError(
                reason, f"the governance folder cannot be written: {error}"
            ) from error
        try:
            self.done(model, candidate, digest)
        except LedgerError as error:
            # One that only lacks its witness is done and logged: the same call again shows it.
            if not isinstance(error, WitnessError):
                self._take_back(model, candidate, back, before, index, error.reason)
            raise
        self._step("done")
        unfinished.forget(authority.home, model)
        return Promoted(model, candidate, version, digest, repeated=False)

    def _deployment(self, approved: Approved, index: int) -> Envelope:
        authority = self._authority
        policy = authority.home.policy()
        action: Literal["promote", "break_glass"] = (
            "break_glass" if approved.action == "break_glass" else "promote"
        )
        said = Deployment(
            candidate=approved.candidate,
            previous=approved.incumbent,
            audience=policy.audience,
            gateway=authority.gateway,
            effective=authority.clock(),
            policy=policy.digest,
            action=action,
            approvals=tuple(sorted(approved.statements)),
            approvers=tuple(sorted(key.hex() for key in approved.keys)),
            ledger_index=index,
        )
        statement = Statement(approved.model, approved.candidate, said)
        envelope = statement.envelope(authority.signer)
        # What a restart would refuse to serve must not become live.
        verify_for_serving(
            approved.candidate,
            envelope,
            policy,
            authority.revocations(),
            model=approved.model,
        )
        return envelope

    def done(self, model: str, candidate: str, deployment: str) -> None:
        """Log that a model is live; again changes nothing. Raises LedgerError."""
        self._authority.record(
            "promote_done",
            key_of("promote_done", deployment),
            model=model,
            candidate=candidate,
            deployment=deployment,
        )

    def _failed(self, model: str, candidate: str, intent: int, cause: str) -> None:
        """Log that a promotion was taken back, if the ledger can be written; else a tick does."""
        authority = self._authority
        with suppress(LedgerError, TransitionError):
            authority.record(
                "promote_failed",
                key_of("promote_failed", model, candidate, intent),
                model=model,
                candidate=candidate,
                cause=cause[:40],
            )
            unfinished.forget(authority.home, model)

    def _take_back(
        self,
        model: str,
        candidate: str,
        back: str | None,
        before: Live | None,
        intent: int,
        cause: str,
    ) -> None:
        """The model before is live again; the outcome is logged once the data plane serves it."""
        authority = self._authority
        with suppress(OSError):
            authority.home.set_live(model, before)
        try:
            self._serve(model, back)
        except GovernanceError:
            # The intent stays open: `settle` goes on when the data plane answers.
            return
        self._failed(model, candidate, intent, cause)

    def _serve(self, model: str, digest: str | None) -> None:
        """Let the data plane serve a digest, if it does not."""
        if digest is None:
            return
        answers = live(self._authority.plane, model)
        if answers is None or answers.digest != digest:
            self._authority.plane.swap(model, version_of(self._authority.models, model, digest))

    def settle(self, model: str) -> None:
        """Bring a promotion to its end that a crash or a silent data plane left open.

        Raises:
            PlaneError, LedgerError: later again.

        """
        authority = self._authority
        with authority.lock:
            _ = authority.ledger
            state = authority.state(model)
            if self._shadowing is not None and self._shadowing.in_canary(model):
                return
            if state.intent is None:
                unfinished.forget(authority.home, model)
                self._align(model, state.incumbent)
                return
            answers = live(authority.plane, model)
            note = unfinished.find(authority.home, model)
            # Before the note nothing was touched; after it the data plane's word decides.
            reported = answers.digest if answers and note else None
            found = resolve(authority.registry, model, reported)
            if found is None:
                return
            if state.candidates[found.candidate].state == "canary":
                # An earlier process began it; the data plane may have it still.
                with suppress(PlaneError):
                    authority.plane.end_canary(model)
            if found.kind == "promote_done" and note is not None:
                now = live_after(found.candidate, note.deployment, note.before)
                authority.home.set_live(model, now)
                self.done(model, found.candidate, note.deployment)
                unfinished.forget(authority.home, model)
                return
            if note is not None:
                authority.home.set_live(model, note.before)
            self._serve(model, note.back if note is not None else found.live)
            self._failed(model, found.candidate, state.intent.index, "interrupted")

    def _align(self, model: str, incumbent: str | None) -> None:
        """The gateway serves what the ledger says, whatever it was started with."""
        authority, now = self._authority, self._authority.home.live(model)
        if incumbent is None and now is None:
            answers = live(authority.plane, model)
            known = authority.state(model).candidates.get(answers.digest) if answers else None
            if known is not None and known.state in ("revoked", "rolled_back"):
                # It was to be unloaded, and the data plane was away.
                authority.plane.unload(model)
            return
        if incumbent is not None and now is not None and now.model_digest == incumbent:
            self._serve(model, incumbent)
