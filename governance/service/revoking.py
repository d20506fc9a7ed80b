"""Revocations take effect: what is live by a thing that is revoked is pulled back."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from governance.dsse import Envelope, verified_keys
from governance.errors import GovernanceError
from governance.home import Live
from governance.ledger.errors import LedgerError
from governance.predicates import Revocation
from governance.service.authority import Authority, key_of
from governance.service.plane import PlaneError
from governance.service.rollback import Rollback
from governance.service_verifier import verify_for_serving
from governance.states.model import TransitionError
from governance.states.table import FINAL
from governance.verifier import verify_revocation


@dataclass(frozen=True)
class Affected:
    """A model that was live by what is revoked. `pulled_back`: the model before is live again.

    Else nothing may be served in its place. `unloaded`: nothing answers for it any more, and
    callers get UNAVAILABLE until another is promoted. Neither: the data plane did not do it, and is
    told again every few seconds.
    """

    model: str
    candidate: str
    pulled_back: bool
    unloaded: bool = False


class Revoking:
    """Takes revocations in."""

    def __init__(self, authority: Authority, rollback: Rollback) -> None:
        self._authority, self._rollback = authority, rollback

    def revoke(self, envelope: Envelope) -> list[Affected]:
        """Keep a revocation, pull back what is live by it, log it; again changes nothing.

        Raises:
            GovernanceError: it does not count, or it took effect and could not be logged.

        """
        authority = self._authority
        with authority.lock:
            policy = authority.home.policy()
            before = authority.revocations()
            said, quorum = verify_revocation(
                [envelope],
                policy=policy,
                audience=policy.audience,
                now=authority.clock(),
                revocations=before,
            )
            authority.home.keep(envelope)
            signed = verified_keys(envelope, quorum.keys)
            signers = [
                {"key": policy.by_public[public].key_id, "role": role}
                for public in sorted(signed)
                if (role := quorum.persons.get(policy.by_public[public].person, ""))
            ]
            affected = [
                self._pull_back(model, now, envelope.digest, signers)
                for model in authority.home.models()
                if (now := authority.home.live(model)) is not None and self._falls(model, now)
            ]
            self._log(said, envelope.digest, signers)
            return affected

    def _falls(self, model: str, now: Live) -> bool:
        """Whether what is live may no longer be served."""
        authority = self._authority
        try:
            verify_for_serving(
                now.model_digest,
                authority.home.statement(now.deployment),
                authority.home.policy(),
                authority.revocations(),
                model=model,
                datasets=authority.datasets(model, now.model_digest),
            )
        except GovernanceError:
            return True
        return False

    def _pull_back(
        self, model: str, now: Live, revocation: str, signers: list[dict[str, str]]
    ) -> Affected:
        authority = self._authority
        try:
            self._rollback.previous(model, now)
        except GovernanceError:
            # Nothing to go back to: nothing answers, also after a restart, and the ledger has it.
            authority.home.set_live(model, None)
            for digest in (now.model_digest, now.previous_model):
                if digest is not None:
                    with suppress(LedgerError, TransitionError):
                        self._log_model(model, digest, revocation, signers)
            unloaded = False
            with suppress(PlaneError):
                authority.plane.unload(model)
                unloaded = True
            return Affected(model, now.model_digest, pulled_back=False, unloaded=unloaded)
        body = _revoke(model, now.model_digest, revocation, signers)
        owed = {"kind": "revoke", "at": authority.clock(), **body}
        self._rollback.go_back(model, now, owed)
        return Affected(model, now.model_digest, pulled_back=True)

    def _log_model(
        self, model: str, candidate: str, revocation: str, signers: list[dict[str, str]]
    ) -> None:
        body = _revoke(model, candidate, revocation, signers)
        self._authority.record("revoke", body.pop("key"), model=model, **body)

    def _log(self, said: Revocation, revocation: str, signers: list[dict[str, str]]) -> None:
        authority = self._authority
        key = key_of(f"{said.what}_revoked", revocation)
        if said.what == "model":
            for model, state in authority.registry.models.items():
                known = state.candidates.get(said.target)
                if known is not None and known.state not in FINAL:
                    self._log_model(model, said.target, revocation, signers)
            return
        told: dict[str, Any] = {said.what: said.target, "revocation": revocation}
        authority.record(f"{said.what}_revoked", key, **told)


def _revoke(
    model: str, candidate: str, revocation: str, signers: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """The event's body. A revocation has no nonce: its digest and the model stand for one."""
    key = key_of("revoke", model, candidate, revocation)
    approval = {"head": 0, "nonce": key[7:39], "signers": list(signers), "statement": revocation}
    return {
        "key": key,
        "candidate": candidate,
        "revocation": revocation,
        "approvals": [approval],
    }
