"""What the serving process asks before it loads a model: was this rightly promoted?

The gateway believes no service, no database and no file name: at every load it reads the statements
themselves and checks the people's signatures under the policy of their time. So whoever can write
the folder, and even whoever has the gateway's own key, cannot make it serve what nobody signed for.
It needs nothing but the folder; the governance service may be down.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from governance.attestations import Provenance
from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.home import Home
from governance.policy import Policy
from governance.predicates import Approval, BreakGlass, Deployment, Predicate, Revocation
from governance.revocations import Revocations
from governance.service_verifier import verify_for_serving, verify_shadow_report
from governance.statements import parse, parse_any
from governance.verifier import verify_approvals, verify_break_glass, verify_revocation
from governance.vocabulary import Action

P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Gate:
    """Answers for the folder at `home`; `clock` gives seconds since 1970 UTC."""

    home: Home
    clock: Callable[[], int] = lambda: int(time.time())
    # By digest: what a statement says never changes, and a rollback waits for no thousand of them.
    _said: dict[str, tuple[str, Predicate]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def live(self, model: str) -> str | None:
        """The digest that should answer for a model by governance's record, or None."""
        live = self.home.live(model)
        return live.model_digest if live else None

    def may_serve(self, model: str, digest: str) -> None:
        """Refuse a model that is not what was promoted, nor what was before it.

        Raises:
            GovernanceError: the reason says why: `not_deployed`, or one of the verifier.

        """
        live = self.home.live(model)
        deployments = {}
        if live:
            deployments[live.model_digest] = live.deployment
            if live.previous_model and live.previous_deployment:
                deployments.setdefault(live.previous_model, live.previous_deployment)
        if digest not in deployments:
            raise StatementError(
                "not_deployed",
                f"nobody signed that {digest} may answer for '{model}'",
                expected=", ".join(deployments) or "a deployment",
                remedy="have it promoted, or serve what was",
            )
        self.check(model, digest, deployments[digest])

    def check(self, model: str, digest: str, deployment: str) -> None:
        """Refuse a model that a deployment statement, and all it rests on, does not make live.

        Raises:
            GovernanceError: the reason says why.

        """
        policies = self.home.policies()
        envelope = self.home.statement(deployment)
        revocations = self._revoked(policies[-1], self.clock())
        found = verify_for_serving(
            digest,
            envelope,
            policies[-1],
            revocations,
            model=model,
            datasets=self._datasets(model, digest),
        )
        self._check_people(model, found.predicate, policies, revocations)

    def may_shadow(self, model: str, digest: str) -> None:
        """Refuse a candidate whose shadowing nobody with the right signed for, or no longer.

        Raises:
            GovernanceError: the reason says why: `not_approved`, or one of the verifier.

        """
        self._agreed(model, digest, "shadow", "may see traffic of")

    def may_canary(self, model: str, digest: str) -> None:
        """Refuse a candidate whose promotion nobody with the right signed for, or no longer.

        A canary answers callers, so it takes the signatures of a promotion.

        Raises:
            GovernanceError: the reason says why: `not_approved`, or one of the verifier.

        """
        self._agreed(model, digest, "promote", "may answer for")

    def _agreed(self, model: str, digest: str, action: Action, may: str) -> None:
        """Refuse what the approvals that are kept do not allow now.

        Those count together that name the same incumbent, report and evidence; the incumbent has to
        be what is live. One that expired, or is of another policy or incumbent, stands in no
        other's way: it is looked at only where nothing fits, so that the refusal says what differs.
        """
        policy, now, live = self.home.policy(), self.clock(), self.live(model)
        about = [
            (envelope, said)
            for envelope, name, said in self._kept(Approval)
            if (name, said.candidate, said.action) == (model, digest, action)
            # Both stand beside what is live: approvals of a first model are for neither.
            and said.incumbent is not None
        ]
        fits = [
            (envelope, said)
            for envelope, said in about
            if (said.policy, said.incumbent) == (policy.digest, live) and now < said.expires
        ]
        groups: dict[tuple[str | None, str | None, str | None], list[Envelope]] = {}
        for envelope, said in fits or about:
            one = said.incumbent, said.shadow_report, said.evidence
            groups.setdefault(one, []).append(envelope)
        last: GovernanceError = StatementError(
            "not_approved", f"nobody signed that {digest} {may} '{model}'"
        )
        revocations = self._revoked(policy, now)
        for envelopes in groups.values():
            try:
                self._verify(envelopes, policy, action, model, live, now, revocations)
            except GovernanceError as error:
                last = error
            else:
                return
        raise last

    def _kept(self, kind: type[P]) -> Iterator[tuple[Envelope, str, P]]:
        """Every statement of a kind that is kept: its envelope as the file has it now, its name."""
        for digest in self.home.statements():
            if digest not in self._said:
                found = parse_any(self.home.statement(digest).payload)
                self._said[digest] = found.name, found.predicate
            name, said = self._said[digest]
            if isinstance(said, kind):
                yield self.home.statement(digest), name, said

    def _datasets(self, model: str, digest: str) -> list[str]:
        """Digests of what a model was made from, where its provenance is kept here."""
        if not any(self._kept(Revocation)):
            return []
        return [
            data
            for envelope, name, said in self._kept(Provenance)
            if name == model and parse(envelope.payload, Provenance).digest == digest
            for data in said.datasets
        ]

    def _revoked(self, policy: Policy, now: int) -> Revocations:
        """Every revocation that is kept and holds; one that does not hold revokes nothing."""
        found = []
        for envelope, _, _ in self._kept(Revocation):
            try:
                said, _ = verify_revocation(
                    [envelope],
                    policy=policy,
                    audience=policy.audience,
                    now=now,
                    revocations=Revocations(),
                )
            except GovernanceError:
                continue
            found.append(said)
        return Revocations.of(found)

    def _check_people(
        self,
        model: str,
        said: Deployment,
        policies: tuple[Policy, ...],
        revocations: Revocations,
    ) -> None:
        """The signatures that a deployment rests on, as of when it took effect."""
        then = next((p for p in policies if p.digest == said.policy), None)
        if then is None:
            raise StatementError("unknown_policy", f"no policy of the chain is {said.policy}")
        envelopes = [self.home.statement(digest) for digest in said.approvals]
        first = parse_any(envelopes[0].payload).predicate
        if not isinstance(first, Approval | BreakGlass):
            raise StatementError("wrong_predicate", "a deployment rests on something else")
        if (first.candidate, first.incumbent) != (said.candidate, said.previous):
            raise StatementError("wrong_candidate", "the approvals are about other models")
        if isinstance(first, BreakGlass):
            verify_break_glass(
                envelopes,
                policy=then,
                action=first.action,
                model=model,
                candidate=first.candidate,
                incumbent=first.incumbent,
                audience=then.audience,
                now=said.effective,
                proposer="",
                trainer_keys=(),
                used_nonces=(),
                revocations=revocations,
            )
            return
        action = said.action if said.action != "break_glass" else "promote"
        self._verify(envelopes, then, action, model, said.previous, said.effective, revocations)

    def _verify(
        self,
        envelopes: Sequence[Envelope],
        policy: Policy,
        action: Action,
        model: str,
        incumbent: str | None,
        now: int,
        revocations: Revocations,
    ) -> None:
        """Put approvals before the verifier, with the report that they name.

        But for the incumbent all has to be as the first of them says.

        Raises:
            GovernanceError: they do not allow the action.

        """
        said = parse(envelopes[0].payload, Approval).predicate
        report = None
        # Where nothing was live there was nothing to compare with.
        if said.shadow_report is not None and incumbent is not None:
            report = verify_shadow_report(
                self.home.statement(said.shadow_report),
                policy=policy,
                model=model,
                candidate=said.candidate,
                incumbent=incumbent,
                audience=policy.audience,
                now=now,
                revocations=revocations,
            )
        verify_approvals(
            envelopes,
            policy=policy,
            action=action,
            model=model,
            candidate=said.candidate,
            incumbent=incumbent,
            shadow_report=report,
            evidence_digest=said.evidence,
            audience=policy.audience,
            now=now,
            proposer="",
            trainer_keys=(),
            used_nonces=(),
            revocations=revocations,
        )


def gate(home: Path) -> Gate:
    """The gate of a governance folder.

    Raises:
        GovernanceError: the folder has no policy that holds.

    """
    found = Gate(Home(home))
    found.home.policies()
    return found
