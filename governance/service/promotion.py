"""Whether a model may be made live: by the approvals of people, and the comparison behind them.

How it then goes live is `going_live`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from governance.binding import Verified
from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.policy import Policy
from governance.predicates import BreakGlass, Deployment
from governance.service import approvals, evidence
from governance.service.approvals import About
from governance.service.authority import Authority, approvals_of
from governance.service.going_live import GoingLive, Promoted, Step
from governance.service.repository import version_of
from governance.service.shadowing import Shadowing
from governance.service_verifier import verify_shadow_report
from governance.shadow.statement import verify as recompute
from governance.shadow_report import ShadowReport
from governance.statements import parse
from governance.states.model import Candidate
from governance.verifier import Approved, verify_approvals, verify_break_glass

# More would be no small share.
MOST_CALLERS: Final = 0.5


class Promotion:
    """Promotions of a gateway. `step` is told each step as it begins, for tests that end there."""

    def __init__(
        self,
        authority: Authority,
        step: Step = lambda _: None,
        shadowing: Shadowing | None = None,
    ) -> None:
        """`shadowing` runs the canaries; without it there are none."""
        self._authority, self._canaries = authority, shadowing is not None
        self._going = GoingLive(authority, step, shadowing)

    def promote(
        self, model: str, candidate: str, given: Sequence[Envelope] = (), canary: float = 0.0
    ) -> Promoted:
        """Make a candidate live by the approvals given, or by all that are kept for it.

        A break-glass statement in place of approvals makes it live for a while without a report.
        With `canary`, more than 0 and at most 0.5, it first answers that share of the callers, and
        is live for all by itself once those answers pass the same comparison again.

        Raises:
            GovernanceError: refused; the reason says why. What was live is live.

        """
        authority = self._authority
        if canary and not (self._canaries and 0 < canary <= MOST_CALLERS):
            raise StatementError(
                "bad_share",
                f"a canary of {canary}",
                expected=f"more than 0, {MOST_CALLERS} at most",
            )
        with authority.lock:
            # Also finds out whether the ledger can be opened at all.
            head = authority.ledger.reader.size
            if (done := self._repeated(model, candidate, given)) is not None:
                return done
            known = authority.candidate(model, candidate)
            policy = authority.home.policy()
            version = version_of(authority.models, model, candidate)
            if given and _is_break_glass(given[0]):
                if canary:
                    raise StatementError(
                        "glass_has_no_canary", "a broken glass swaps at once; it has no canary"
                    )
                approved = self._glass(model, candidate, known, given, policy)
                envelopes = list(given)
                body: dict[str, Any] = {
                    "expires": approved.expires,
                    "justification": approved.statements[0],
                }
            else:
                approvals.check_incumbent(authority, model, candidate, given)
                report = self._report(model, candidate, known, policy)
                incumbent = authority.state(model).incumbent
                bundle = evidence.require(
                    authority.home, policy, model, candidate, known, "promote", incumbent
                )
                about = About(
                    "promote",
                    model,
                    candidate,
                    incumbent,
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
            if canary and approved.incumbent is None:
                raise StatementError(
                    "no_incumbent", "a canary stands beside a model that is live; there is none"
                )
            told = approvals_of(approved, envelopes, policy)
            intended = self._going.intend(approved, version, told, body, head)
            if canary:
                return self._going.begin_canary(intended, canary)
            return self._going.make_live(intended)

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
        self._going.done(model, candidate, now.deployment)
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

    def settle(self, model: str) -> None:
        """As `GoingLive.settle`."""
        self._going.settle(model)


def _is_break_glass(envelope: Envelope) -> bool:
    try:
        parse(envelope.payload, BreakGlass)
    except GovernanceError:
        return False
    return True
