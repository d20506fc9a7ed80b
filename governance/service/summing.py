"""The verdict on a comparison: of this gateway alone, or of all that compare along, added up.

A gateway joins with a commitment to its seed, which the ledger holds, and reports what it has
counted so far. Each counts once, with its last report; a FAIL of one of them is a FAIL.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from governance.dsse import Envelope
from governance.errors import SignatureError, StatementError
from governance.ledger.kinds import DIGEST
from governance.policy import Policy
from governance.service.authority import Authority, key_of
from governance.service.run import Run
from governance.service_verifier import verify_shadow_report
from governance.shadow import fleet, verdict
from governance.shadow.ends import parse_counts
from governance.shadow.gates import parse_policy
from governance.shadow.statement import counted, verify
from governance.shadow_report import ShadowReport
from governance.statements import Statement, parse
from governance.states.model import TransitionError

# Clocks of gateways may differ by so much.
CLOCKS_SECONDS = 60
# A gateway reports every few seconds: one that has not for so long is told by its name.
SILENT_SECONDS = 60


class Summing:
    """Adds the reports of a fleet up. Whoever calls holds the authority's lock."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def join(self, run: Run, candidate: str, attempt: int, gateway: str, commitment: str) -> None:
        """Let a gateway compare along; again with the same commitment changes nothing.

        Raises:
            TransitionError: it is another comparison (`other_run`), or a canary (`is_canary`).
            StatementError: `already_joined` with another seed, or `bad_commitment`.
            LedgerError: the commitment could not be logged.

        """
        plan = run.plan
        if plan.is_canary:
            raise TransitionError("is_canary", f"{plan.model} has a canary, which is compared here")
        if (plan.candidate, plan.attempt) != (candidate, attempt) or plan.report is not None:
            raise TransitionError("other_run", f"that comparison of {plan.model} does not go on")
        if not DIGEST.fullmatch(commitment):
            raise StatementError("bad_commitment", "a commitment is sha256: and 64 hex digits")
        known = plan.joined.get(gateway)
        if gateway == plan.gateway or known not in (None, commitment):
            # One that may draw again draws until it likes what it gets.
            raise StatementError("already_joined", f"{gateway} has committed to another seed")
        key = key_of("seed", commitment)
        self._authority.record("seed", key, model=plan.model, commitment=commitment)
        run.keep(joined={**plan.joined, gateway: commitment})

    def take(self, run: Run, envelope: Envelope) -> None:
        """Keep what a gateway has counted, in place of what it reported before.

        Raises:
            GovernanceError: it is not signed by a gateway that joined, is of another comparison, or
                takes something back; what was reported before counts still.

        """
        authority, plan = self._authority, run.plan
        policy, now = self._policy(run), authority.clock()
        said = verify_shadow_report(
            envelope,
            policy=policy,
            model=plan.model,
            candidate=plan.candidate,
            incumbent=plan.incumbent,
            audience=policy.audience,
            now=now,
            revocations=authority.revocations(),
        ).predicate
        if plan.joined.get(said.gateway) != said.seed_commitment:
            raise SignatureError("not_joined", f"{said.gateway} did not commit to this seed")
        asked = parse_policy(said.shadow_policy) == parse_policy(plan.shadow_policy)
        if said.attempt != plan.attempt or said.sources or not asked:
            raise StatementError("other_run", "the report is of another comparison")
        if said.started < plan.started - CLOCKS_SECONDS or said.ended > now + CLOCKS_SECONDS:
            raise StatementError("other_window", "the report is not of the time of this comparison")
        verify(said)
        before = plan.reports.get(said.gateway)
        if before == envelope.digest:
            return
        if before is not None and not fleet.goes_on(self._said(before), said):
            raise StatementError(
                "report_went_back", f"{said.gateway} takes back what it had reported"
            )
        authority.home.keep(envelope)
        run.keep(reports={**plan.reports, said.gateway: envelope.digest})
        if before is not None:
            authority.home.discard(before)

    def decided(self, run: Run, now: int) -> str | None:
        """The digest of the signed report by which the comparison ends now; None: it goes on."""
        own, others = run.judge(now), self._others(run)
        if not others or own.outcome == "FAIL":
            return self._sign(run, now) if own.final or own.outcome == "PASS" else None
        for digest, said in others.items():
            if said.verdict == "FAIL":
                return digest
        if not own.final and self._sum(run, now).verdict == "INCONCLUSIVE":
            return None
        others[self._sign(run, now)] = run.signable(self._policy(run).audience, now)
        return self._keep(run, fleet.total(others, run.plan.gateway))

    def told(self, run: Run, now: int) -> dict[str, Any]:
        """What the fleet adds to how a comparison fares; nothing where nobody joined."""
        plan, others = run.plan, self._others(run)
        if not plan.joined:
            return {}
        by = {said.gateway: said for said in others.values()}
        shares: list[dict[str, Any]] = []
        for gateway in sorted(plan.joined):
            told = by.get(gateway)
            n, d, ended = (told.n, told.d, told.ended) if told else (0, 0, 0)
            shares.append({"gateway": gateway, "n": n, "d": d, "ended": ended})
        silent = self._silent(run, by, now)
        if not others:
            own = [(reason.slug, reason.sentence) for reason in run.judge(now).reasons]
            return {"fleet": shares, "reasons": _reasons([*own, *silent])}
        said = self._sum(run, now)
        counts = parse_counts(counted(said))
        reasons = [tuple(reason.split(": ", 1)) for reason in said.reasons]
        return {
            "fleet": shares,
            "verdict": said.verdict,
            "reasons": _reasons([*reasons, *silent]),
            "counts": counts.plain(),
            "gates": [
                dict(gate)
                for gate in verdict.outlook(counts, parse_policy(plan.shadow_policy), plan.attempt)
            ],
        }

    def _silent(self, run: Run, by: Mapping[str, ShadowReport], now: int) -> list[tuple[str, str]]:
        """Of each gateway that joined and is not heard of what that holds up, by its name."""
        after = parse_policy(run.plan.shadow_policy).silent_minutes
        found = []
        for gateway in sorted(run.plan.joined):
            said = by.get(gateway)
            if said is None:
                found.append(("not_reported", f"{gateway} has joined and reported nothing yet"))
                continue
            quiet = now - said.ended
            if quiet <= SILENT_SECONDS:
                continue
            what = f"{gateway} has reported nothing for {quiet // 60} minutes"
            if after is None:
                what += ": the sum's time stands still until it does, or until t_max_hours"
            elif quiet <= 60 * after:
                what += f": the sum's time stands still until it does, for {after} minutes at most"
            else:
                what += ": its pairs count, its time does not (silent_minutes)"
            found.append(("gateway_silent", what))
        return found

    def _sum(self, run: Run, now: int) -> ShadowReport:
        """The sum as it would be signed now; nothing is kept."""
        own = run.signable(self._policy(run).audience, now, ended=False)
        return fleet.total({"own": own, **self._others(run)}, run.plan.gateway)

    def _others(self, run: Run) -> dict[str, ShadowReport]:
        return {digest: self._said(digest) for digest in run.plan.reports.values()}

    def _said(self, digest: str) -> ShadowReport:
        return parse(self._authority.home.statement(digest).payload, ShadowReport).predicate

    def _policy(self, run: Run) -> Policy:
        """The policy that the comparison began under."""
        policies = self._authority.home.policies()
        return next((p for p in policies if p.digest == run.plan.policy), policies[-1])

    def _sign(self, run: Run, now: int) -> str:
        return self._keep(run, run.signable(self._policy(run).audience, now))

    def _keep(self, run: Run, said: ShadowReport) -> str:
        statement = Statement(run.plan.model, run.plan.candidate, said)
        return self._authority.home.keep(statement.envelope(self._authority.signer))


def _reasons(told: Iterable[tuple[str, ...]]) -> list[dict[str, str]]:
    return [{"reason": slug, "sentence": sentence} for slug, sentence in told]
