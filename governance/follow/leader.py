"""The service that is followed, as a follower asks it."""

from typing import Any, Protocol

from governance.dsse import Envelope
from governance.errors import StatementError
from governance.service.client import Client
from governance.wire import admin_pb2, governance_pb2


class Leader(Protocol):
    """What a follower asks. Every method raises GovernanceError: refused, or nobody answers."""

    def follow(self, version: int) -> Any:
        """What is live and compared; policies after a version. A FollowResponse."""

    def statement(self, digest: str) -> Envelope:
        """The statement of that digest."""

    def acknowledge(self, line: Any, gateway: str, signature: bytes) -> None:
        """Say that a gateway serves what a FollowModel says is live."""

    def join(self, line: Any, commitment: str, gateway: str, signature: bytes) -> None:
        """Say that a gateway compares along."""

    def report(self, envelope: Envelope) -> None:
        """Hand a report in."""


class Remote:
    """A leader behind its admin door."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def follow(self, version: int) -> Any:
        """As `Leader.follow`."""
        return self._client.call(admin_pb2.FollowRequest(policy_version=version), "Follow")

    def statement(self, digest: str) -> Envelope:
        """As `Leader.statement`; another than was asked for is refused."""
        asked = governance_pb2.GetStatementRequest(digest=digest)
        envelope = Envelope.from_json(self._client.call(asked, "GetStatement").envelope)
        if envelope.digest != digest:
            raise StatementError("statement_changed", f"asked for {digest}, got {envelope.digest}")
        return envelope

    def acknowledge(self, line: Any, gateway: str, signature: bytes) -> None:
        """As `Leader.acknowledge`."""
        request = admin_pb2.AcknowledgeDeploymentRequest(
            model=line.model,
            candidate=line.candidate,
            deployment=line.deployment,
            change=line.change,
            gateway=gateway,
            signature=signature,
        )
        self._client.call(request, "AcknowledgeDeployment")

    def join(self, line: Any, commitment: str, gateway: str, signature: bytes) -> None:
        """As `Leader.join`."""
        request = admin_pb2.JoinShadowRequest(
            model=line.model,
            candidate=line.compared,
            attempt=line.attempt,
            commitment=commitment,
            gateway=gateway,
            signature=signature,
        )
        self._client.call(request, "JoinShadow")

    def report(self, envelope: Envelope) -> None:
        """As `Leader.report`."""
        request = admin_pb2.SubmitReportRequest(envelope=envelope.to_json())
        self._client.call(request, "SubmitReport")
