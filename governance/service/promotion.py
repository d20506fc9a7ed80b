"""Makes a model live, in two phases: decided in the ledger, then done or taken back.

promote_intent → witness → the gateway's own deployment statement → the folder says what is live →
the data plane swaps → it is seen to serve → promote_done. Whatever fails in between, the model
before is live again, by the folder and by the data plane, and promote_failed says why. What a crash
leaves open is settled by what the data plane serves.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from governance.binding import Verified
from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.home import Live
from governance.ledger.errors import LedgerError, WitnessError
from governance.policy import Policy
from governance.predicates import BreakGlass, Deployment
from governance.service import approvals, evidence, unfinished
from governance.service.approvals import About
from governance.service.authority import Authority, approvals_of, key_of
from governance.service.plane import PlaneError, live
from governance.service.repository import version_of
from governance.service.unfinished import Note, live_after
from governance.service_verifier import verify_for_serving, verify_shadow_report
from governance.shadow.statement import verify as recompute
from governance.shadow_report import ShadowReport
from governance.statements import Statement, parse
from governance.states.model import Candidate, TransitionError
from governance.states.recorder import resolve
from governance.verifier import Approved, verify_approvals, verify_break_glass

Step = Callable[[str], None]


@dataclass(frozen=True)
class Promoted:
    """What is live now. `repeated`: it had been done before by the same approvals."""

    model: str
    candidate: str
    version: int
    deployment: str
    repeated: bool


class Promotion:
    """Promotions of a gateway. `step` is told each step as it begins, for tests that end there."""

    def __init__(self, authority: Authority, step: Step = lambda _: None) -> None:
        self._authority, self._step = authority, step

    def promote(self, model: str, candidate: str, given: Sequence[Envelope] = ()) -> Promoted:
        """Make a candidate live by the approvals given, or by all that are kept for it.

        A break-glass statement in place of approvals makes it live for a while without a report.

        Raises:
            GovernanceError: refused; the reason says why. What was live is live.

        """
        authority = self._authority
        with authority.lock:
            # Also finds out whether the ledger can be opened at all.
            head = authority.ledger.reader.size
            if (done := self._repeated(model, candidate, given)) is not None:
                return done
            known = authority.candidate(model, candidate)
            policy = authority.home.policy()
            version = version_of(authority.models, model, candidate)
            if given and _is_break_glass(given[0]):
                approved = self._glass(model, candidate, known, given, policy)
                envelopes = list(given)
                body: dict[str, Any] = {
                    "expires": approved.expires,
                    "justification": approved.statements[0],
                }
            else:
                approvals.check_incumbent(authority, model, candidate, given)
                report = self._report(model, candidate, known, policy)
                bundle = evidence.require(
                    authority.home, policy, model, candidate, known, "promote"
                )
                about = About(
                    "promote",
                    model,
                    candidate,
                    authority.state(model).incumbent,
                    report.digest if report else None,
                    bundle,
                )
                envelopes = approvals.find(authority, about, given)
                approved = self._approved(about, known, report, envelopes, policy)
                body = {
                    "bundle": bundle,
                    "policy": policy.digest,
                    "report": report.digest if report else None,
                }
            for envelope in envelopes:
                authority.home.keep(envelope)
            told = approvals_of(approved, envelopes, policy)
            return self._make_live(approved, version, told, body, head)

    def _repeated(self, model: str, candidate: str, given: Sequence[Envelope]) -> Promoted | None:
        """The promotion that these very approvals have made already, if it still stands."""
        now = self._authority.home.live(model)
        if not given or now is None or now.model_digest != candidate:
            return None
        deployment = self._authority.home.statement(now.deployment)
        said = parse(deployment.payload, Deployment).predicate
        if not set(said.approvals) <= {envelope.digest for envelope in given}:
            return None
        # Shows the head to the witnesses again, if they have not taken it.
        self._done(model, candidate, now.deployment)
        version = version_of(self._authority.models, model, candidate)
        return Promoted(model, candidate, version, now.deployment, repeated=True)

    def _report(
        self, model: str, candidate: str, known: Candidate, policy: Policy
    ) -> Verified[ShadowReport] | None:
        """The report of the run that passed, verified anew, its verdict computed again."""
        authority = self._authority
        incumbent = authority.state(model).incumbent
        if incumbent is None or known.report is None:
            return None
        found = verify_shadow_report(
            authority.home.statement(known.report),
            policy=policy,
            model=model,
            candidate=candidate,
            incumbent=incumbent,
            audience=policy.audience,
            now=authority.clock(),
            revocations=authority.revocations(),
        )
        recompute(found.predicate)
        return found

    def _approved(
        self,
        about: About,
        known: Candidate,
        report: Verified[ShadowReport] | None,
        envelopes: Sequence[Envelope],
        policy: Policy,
    ) -> Approved:
        authority = self._authority
        proposer, keys = authority.proposer(known.trainer, policy)
        approved = verify_approvals(
            envelopes,
            policy=policy,
            action="promote",
            model=about.model,
            candidate=about.candidate,
            incumbent=about.incumbent,
            shadow_report=report,
            evidence_digest=about.evidence,
            audience=policy.audience,
            now=authority.clock(),
            proposer=proposer,
            trainer_keys=keys,
            used_nonces=authority.registry.nonces,
            revocations=authority.revocations(),
            clock_floor=authority.clock_floor(),
        )
        if report is not None and len(approved.heads) < len(approved.statements):
            raise StatementError(
                "no_ledger_head",
                "an approval does not say which head of the ledger its signer saw",
                remedy="sign again with --ledger SIZE:sha256:HEX from `sluicegate candidate show`",
            )
        authority.check_heads(approved.heads)
        return approved

    def _glass(
        self,
        model: str,
        candidate: str,
        known: Candidate,
        given: Sequence[Envelope],
        policy: Policy,
    ) -> Approved:
        authority = self._authority
        proposer, keys = authority.proposer(known.trainer, policy)
        approved = verify_break_glass(
            given,
            policy=policy,
            action="promote",
            model=model,
            candidate=candidate,
            incumbent=authority.state(model).incumbent,
            audience=policy.audience,
            now=authority.clock(),
            proposer=proposer,
            trainer_keys=keys,
            used_nonces=authority.registry.nonces,
            revocations=authority.revocations(),
            clock_floor=authority.clock_floor(),
        )
        return replace(approved, action="break_glass")

    def _make_live(
        self,
        approved: Approved,
        version: int,
        told: list[dict[str, Any]],
        body: dict[str, Any],
        head: int,
    ) -> Promoted:
        authority, model, candidate = self._authority, approved.model, approved.candidate
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
        try:
            digest = authority.home.keep(self._deployment(approved, receipt.index))
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
            self._take_back(model, candidate, back, before, receipt.index, reason)
            if isinstance(error, GovernanceError):
                raise
            raise StatementError(
                reason, f"the governance folder cannot be written: {error}"
            ) from error
        try:
            self._done(model, candidate, digest)
        except LedgerError as error:
            # One that only lacks its witness is done and logged: the same call again shows it.
            if not isinstance(error, WitnessError):
                self._take_back(model, candidate, back, before, receipt.index, error.reason)
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

    def _done(self, model: str, candidate: str, deployment: str) -> None:
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
            if found.kind == "promote_done" and note is not None:
                now = live_after(found.candidate, note.deployment, note.before)
                authority.home.set_live(model, now)
                self._done(model, found.candidate, note.deployment)
                unfinished.forget(authority.home, model)
                return
            if note is not None:
                authority.home.set_live(model, note.before)
            self._serve(model, note.back if note is not None else found.live)
            self._failed(model, found.candidate, state.intent.index, "interrupted")

    def _align(self, model: str, incumbent: str | None) -> None:
        """The gateway serves what the ledger says, whatever it was started with."""
        now = self._authority.home.live(model)
        if incumbent is not None and now is not None and now.model_digest == incumbent:
            self._serve(model, incumbent)


def _is_break_glass(envelope: Envelope) -> bool:
    try:
        parse(envelope.payload, BreakGlass)
    except GovernanceError:
        return False
    return True
