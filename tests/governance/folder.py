"""A governance folder in which one model was rightly promoted, for tests that then spoil it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from governance.dsse import Envelope
from governance.enforce import Gate
from governance.home import Home, Live
from governance.policy import Policy
from governance.predicates import Approval, Deployment
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    policy,
    report,
    signed,
    signed_policy,
    signer,
)


@dataclass(frozen=True)
class Folder:
    """What stands in the folder, and how to sign more."""

    home: Home
    by: Policy
    model: str = MODEL

    def gate(self, now: int = NOW + 30 * 86_400) -> Gate:
        """The gate a month later: approvals have expired since, and that does not matter."""
        return Gate(self.home, lambda: now)

    def promote(
        self, candidate: str = CANDIDATE, incumbent: str = INCUMBENT, **changes: Any
    ) -> Deployment:
        """Keep report, approval and deployment of a promotion, and make it live."""
        found = report(self.by, candidate=candidate, incumbent=incumbent)
        reported = self.keep(found, GATEWAY)
        agreed: Approval = approval(
            self.by, candidate=candidate, incumbent=incumbent, shadow_report=reported
        )
        approved = self.keep(agreed, *changes.pop("signers", ("dora", "greta")))
        people = ("dora", "greta")
        made = replace(
            Deployment(
                candidate=candidate,
                previous=incumbent,
                audience=AUDIENCE,
                gateway=GATEWAY,
                effective=NOW,
                policy=self.by.digest,
                action="promote",
                approvals=(approved,),
                approvers=tuple(signer(name).public_key.hex() for name in people),
                ledger_index=14,
            ),
            **changes,
        )
        before = self.home.live(self.model)
        deployed = self.keep(made, GATEWAY)
        previous = (before.model_digest, before.deployment) if before else (None, None)
        self.home.set_live(self.model, Live(candidate, deployed, *previous))
        return made

    def lives(self, digest: str = INCUMBENT) -> None:
        """Say that a model is live; why it may be is not looked at."""
        self.home.set_live(self.model, Live(digest, digest_of("its deployment")))

    def keep(self, predicate: Any, *names: str) -> str:
        """Sign and keep a statement about the folder's model."""
        return self.home.keep(self.signed(predicate, *names))

    def signed(self, predicate: Any, *names: str) -> Envelope:
        """A statement about the folder's model."""
        return signed(predicate, *names, model=self.model)


def folder(root: Path, model: str = MODEL, **changes: Any) -> Folder:
    """A folder with a policy and nothing live."""
    by = policy(**changes)
    home = Home(root)
    home.add_policy(signed_policy(by, "rita", "rolf"), 1)
    (root / "pin").write_text(by.digest)
    return Folder(home, by, model)
