"""The Admin service: each method decodes, calls the part that acts, encodes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.ledger.kinds import parse_body
from governance.ledger.read import Reader, reading
from governance.service import deciding, evidence
from governance.service.door import Alive
from governance.service.fleet import Fleet, quietly
from governance.service.parts import Parts
from governance.service.plane import PlaneError, Served
from governance.service.repository import RepositoryError, version_of
from governance.shadow.statement import counted
from governance.shadow_report import ShadowReport
from governance.statements import parse
from governance.states.model import TransitionError
from governance.wire import admin_pb2 as pb

MILLION = 1_000_000
WATCH_SECONDS = 1.0


class Admin:
    """Methods by their names in proto/admin.proto, in small letters."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._authority = parts, parts.authority
        self._fleet = Fleet(parts.authority, parts.shadowing)

    def status(self, _asked: pb.StatusRequest) -> pb.StatusResponse:
        """What is live, by every account of it."""
        authority = self._authority
        policy = authority.home.policy()
        told = pb.StatusResponse(
            gateway=authority.gateway,
            audience=policy.audience,
            policy=policy.digest,
            policy_version=policy.version,
            policy_expires=policy.expires,
            draining=self._parts.draining,
        )
        try:
            _ = authority.ledger
        except GovernanceError as error:
            told.ledger_error = str(error)
        served: Sequence[Served] = ()
        try:
            served = authority.plane.status()
        except PlaneError as error:
            told.gateway_error = str(error)
        known: set[str] = set(authority.home.models())
        try:
            known |= set(authority.registry.models)
        except GovernanceError as error:
            told.ledger_error = told.ledger_error or str(error)
        for model in sorted(known):
            self._live(told.models.add(), model, served)
        for member in quietly(self._fleet):
            told.fleet.add(**asdict(member))
        return told

    def _live(self, line: pb.LiveModel, model: str, served: Sequence[Served]) -> None:
        authority = self._authority
        line.model = model
        if (recorded := authority.home.live(model)) is not None:
            line.recorded, line.deployment = recorded.model_digest, recorded.deployment
            line.previous = recorded.previous_model or ""
        for answers in served:
            if answers.model == model and answers.current:
                line.served, line.version = answers.digest, answers.version
        try:
            state = authority.state(model)
            line.incumbent, line.review_due = state.incumbent or "", state.review_due or 0
        except GovernanceError:
            # Told once, as `ledger_error`.
            line.incumbent = ""
        line.canary = self._parts.shadowing.in_canary(model)
        line.shadowing = model in self._parts.shadowing.models and not line.canary
        line.rollback_owed = model in self._parts.rollback.owed()

    def list_models(self, asked: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """Every candidate with its state."""
        told = pb.ListModelsResponse()
        for model, state in sorted(self._authority.registry.models.items()):
            if asked.model not in ("", model):
                continue
            for digest, candidate in sorted(state.candidates.items()):
                try:
                    version = version_of(self._authority.models, model, digest)
                except RepositoryError:
                    version = 0
                told.candidates.add(
                    model=model,
                    digest=digest,
                    state=candidate.state,
                    version=version,
                    bundle=evidence.digest(self._authority.home, model, digest, candidate) or "",
                    report=candidate.report or "",
                    attempt=candidate.attempt,
                )
        return told

    def start_shadow(self, asked: pb.StartShadowRequest) -> pb.ShadowStatusResponse:
        """Begin a comparison."""
        self._not_draining()
        given = _envelopes(asked.approvals)
        share = asked.share_ppm / MILLION
        return _status(self._parts.shadowing.start(asked.model, asked.candidate, given, share))

    def stop_shadow(self, asked: pb.StopShadowRequest) -> pb.StopShadowResponse:
        """End one without a verdict."""
        self._parts.shadowing.stop(asked.model)
        return pb.StopShadowResponse()

    def shadow_status(self, asked: pb.ShadowStatusRequest) -> pb.ShadowStatusResponse:
        """How one fares."""
        return _status(self._parts.shadowing.told(asked.model))

    def watch_shadow(
        self, asked: pb.ShadowStatusRequest, alive: Alive
    ) -> Iterator[pb.ShadowStatusResponse]:
        """How one fares, until it ends."""
        last = self.shadow_status(asked)
        while alive():
            yield last
            time.sleep(WATCH_SECONDS)
            try:
                last = self.shadow_status(asked)
            except TransitionError:
                yield self._ended(last)
                return

    def _ended(self, last: pb.ShadowStatusResponse) -> pb.ShadowStatusResponse:
        """The last word: verdict and counts as they were signed and logged."""
        last.ended = True
        kind = "canary_result" if last.canary else "shadow_result"
        with reading(self._authority.home.ledger) as reader:
            bodies = [parse_body(row.body) for row in reader.rows() if row.kind == kind]
        for body in reversed(bodies):
            if (body["model"], body["candidate"]) != (last.model, last.candidate):
                continue
            said = parse(self._authority.home.statement(body["report"]).payload, ShadowReport)
            if (said.predicate.attempt, said.predicate.started) == (last.attempt, last.started):
                last.verdict, last.report = body["verdict"], body["report"]
                counts = counted(said.predicate)
                last.counts.update({k: v for k, v in counts.items() if isinstance(v, int)})
                if said.predicate.labels is not None:
                    last.log10_e_mcnemar = said.predicate.labels.log10_e
            break
        return last

    def set_sampling(self, asked: pb.SetSamplingRequest) -> pb.SetSamplingResponse:
        """Mirror another share."""
        self._parts.shadowing.share(asked.model, asked.share_ppm / MILLION)
        return pb.SetSamplingResponse()

    def promote(self, asked: pb.PromoteRequest) -> pb.PromoteResponse:
        """Make a candidate live."""
        self._not_draining()
        given = _envelopes(asked.approvals)
        canary = asked.canary_ppm / MILLION
        done = self._parts.promotion.promote(asked.model, asked.candidate, given, canary)
        return pb.PromoteResponse(
            candidate=done.candidate,
            version=done.version,
            deployment=done.deployment,
            repeated_call=done.repeated,
            canary=done.canary,
        )

    def rollback(self, asked: pb.RollbackRequest) -> pb.RollbackResponse:
        """Go back to the model before."""
        done = self._parts.rollback.roll_back(asked.model, _envelopes(asked.approvals))
        return pb.RollbackResponse(
            candidate=done.candidate, version=done.version, logged=done.logged
        )

    def decide(self, asked: pb.DecideRequest) -> pb.DecideResponse:
        """Log what people decided beside what is live."""
        given = _envelopes(asked.approvals)
        done = deciding.decide(self._authority, asked.action, asked.model, asked.candidate, given)
        return pb.DecideResponse(state=done.state, index=done.index)

    def drain(self, _: pb.DrainRequest) -> pb.DrainResponse:
        """Begin nothing more, and end comparisons."""
        self._parts.draining = True
        stopped = self._parts.shadowing.models
        for model in stopped:
            self._parts.shadowing.stop(model, "drained")
        return pb.DrainResponse(stopped_shadows=stopped)

    def events(self, asked: pb.EventsRequest, alive: Alive) -> Iterator[pb.Event]:
        """Entries of the ledger; with `follow`, new ones as they come."""
        start = asked.start
        while alive():
            with reading(self._authority.home.ledger) as reader:
                told = list(_events(reader, start, asked.model))
                start = max(start, reader.size)
            yield from told
            if not asked.follow:
                return
            time.sleep(WATCH_SECONDS)

    def acknowledge_deployment(
        self, asked: pb.AcknowledgeDeploymentRequest
    ) -> pb.AcknowledgeDeploymentResponse:
        """Log that a gateway of the fleet serves a deployment."""
        gateways = self._fleet.acknowledge(
            asked.model,
            asked.candidate,
            asked.deployment,
            asked.change,
            asked.gateway,
            asked.signature,
        )
        return pb.AcknowledgeDeploymentResponse(gateways=gateways)

    def follow(self, asked: pb.FollowRequest) -> pb.FollowResponse:
        """What a follower has to know."""
        home = self._authority.home
        newer = (home.signed_policy(p.version) for p in home.policies()[asked.policy_version :])
        told = pb.FollowResponse(
            gateway=self._authority.gateway,
            policies=[envelope.to_json() for envelope in newer],
            revocations=self._fleet.revocations(),
        )
        for model in sorted({*home.models(), *self._parts.shadowing.models}):
            line, now = told.models.add(model=model), home.live(model)
            if now is not None:
                line.candidate, line.deployment = now.model_digest, now.deployment
                line.previous = now.previous_model or ""
                line.previous_deployment = now.previous_deployment or ""
                line.change = self._fleet.change(model)
            if (compared := self._fleet.compared(model)) is not None:
                line.compared, line.attempt = compared.candidate, compared.attempt
                line.policy = compared.policy
                line.approvals.extend(compared.approvals)
        return told

    def join_shadow(self, asked: pb.JoinShadowRequest) -> pb.JoinShadowResponse:
        """Let a gateway compare along."""
        self._fleet.join(
            asked.model,
            asked.candidate,
            asked.attempt,
            asked.commitment,
            asked.gateway,
            asked.signature,
        )
        return pb.JoinShadowResponse()

    def submit_report(self, asked: pb.SubmitReportRequest) -> pb.SubmitReportResponse:
        """Count what a gateway that joined has reported."""
        envelope = Envelope.from_json(asked.envelope)
        self._fleet.report(envelope)
        return pb.SubmitReportResponse(digest=envelope.digest)

    def _not_draining(self) -> None:
        if self._parts.draining:
            raise TransitionError("draining", "this gateway drains: nothing new is begun")


def _envelopes(given: Sequence[bytes]) -> list[Envelope]:
    return [Envelope.from_json(data) for data in given]


def _events(reader: Reader, start: int, model: str) -> Iterator[pb.Event]:
    for row in reader.rows(start):
        if model in ("", parse_body(row.body).get("model")):
            yield pb.Event(index=row.index, kind=row.kind, key=row.key, body=row.body)


def _status(told: dict[str, Any]) -> pb.ShadowStatusResponse:
    counts = {k: v for k, v in told["counts"].items() if isinstance(v, int)}
    return pb.ShadowStatusResponse(
        model=told["model"],
        candidate=told["candidate"],
        incumbent=told["incumbent"],
        attempt=told["attempt"],
        started=told["started"],
        verdict=told["verdict"],
        reasons=[pb.Reason(**reason) for reason in told["reasons"]],
        gates=[pb.Gate(**gate) for gate in told["gates"]],
        counts={**counts, "over_cap": told["over_cap"]},
        share_ppm=round(told["share"] * MILLION),
        fleet=[pb.Share(**share) for share in told["fleet"]],
        alpha=told["alpha"],
        log10_e_mcnemar=told["log10_e_mcnemar"],
        canary=told["canary"],
    )
