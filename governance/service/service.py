"""The governance service as a gRPC server on a port of its own. No reflection."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import message_factory

from governance.errors import GovernanceError
from governance.service.admin import Admin
from governance.service.audit import Audit, Denials
from governance.service.door import Door, credentials
from governance.service.intake import Intake
from governance.service.parts import Parts
from governance.service.telemetry import Seen, unseen
from governance.wire import admin_pb2, governance_pb2

SERVICES: Final = (
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
    governance_pb2.DESCRIPTOR.services_by_name["Governance"],
)
# An evidence bundle comes in one message.
MOST_BYTES: Final = 64 << 20
# Streams hold a thread each.
THREADS: Final = 32


def methods() -> list[str]:
    """Every method by its full name, as gRPC has it."""
    return [f"/{s.full_name}/{m.name}" for s in SERVICES for m in s.methods]


class Server:
    """A running server. `port` is where it listens; 0 was asked for any."""

    def __init__(self, parts: Parts, address: str, tls: Path, seen: Seen = unseen) -> None:
        """Listen at HOST:PORT with the certificates of a folder; `seen` is told of each call.

        Raises:
            OSError: a certificate cannot be read, or the address cannot be had.

        """
        authority = parts.authority
        self.denials = Denials()

        def roles(identity: str) -> frozenset[str]:
            try:
                return authority.home.policy().admin_roles(identity)
            except GovernanceError:
                # Without a policy nobody has a role.
                return frozenset()

        audit = Audit(authority.home.root / "audit.jsonl")
        door = Door(roles, audit, self.denials, authority.clock, seen)
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="rpc"),
            handlers=[_handlers(door, s, o) for s, o in zip(SERVICES, _owners(parts), strict=True)],
            options=[
                ("grpc.max_receive_message_length", MOST_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        try:
            self.port = self._server.add_secure_port(address, credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        self._server.start()

    def stop(self, grace: float = 5.0) -> None:
        """Take no more calls; those that run have so many seconds."""
        self._server.stop(grace).wait()


def _owners(parts: Parts) -> tuple[Any, ...]:
    return Admin(parts), Intake(parts)


def _handlers(door: Door, service: Any, owner: Any) -> grpc.GenericRpcHandler:
    """Every method of a service, guarded. One without a rule or without code stops the start."""
    found = {}
    for method in service.methods:
        name = f"/{service.full_name}/{method.name}"
        act = getattr(owner, re.sub("(?<=.)(?=[A-Z])", "_", method.name).lower())
        reader = message_factory.GetMessageClass(method.input_type).FromString
        if method.server_streaming:
            found[method.name] = grpc.unary_stream_rpc_method_handler(
                door.stream(name, act), reader, _encoded
            )
        else:
            found[method.name] = grpc.unary_unary_rpc_method_handler(
                door.unary(name, act), reader, _encoded
            )
    return grpc.method_handlers_generic_handler(service.full_name, found)


def _encoded(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
