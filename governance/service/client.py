"""A client of the governance service: calls by name, refusals as errors with their reasons."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from governance.errors import GovernanceError
from governance.service.door import REASON
from governance.wire import admin_pb2, governance_pb2

SECONDS = 150.0
# A bundle of evidence is sent whole.
MOST_BYTES = 64 << 20


class CallError(GovernanceError):
    """The service refused; the reason and the sentence are its own."""


class UnreachableError(GovernanceError):
    """Nobody answers, or the two do not accept each other's certificates."""

    REMEDY: ClassVar[str] = (
        "look at --admin, --cert, --key and --ca; a service that does not accept a certificate "
        "closes the connection without a word"
    )


@dataclass(frozen=True)
class Credentials:
    """Files in PEM: the client's certificate and key, and the authority of the server's."""

    certificate: Path
    key: Path
    authority: Path

    def channel(self) -> grpc.ChannelCredentials:
        """For a channel.

        Raises:
            OSError: a file cannot be read.

        """
        return grpc.ssl_channel_credentials(
            self.authority.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes()
        )


class Client:
    """A connection to the service at HOST:PORT."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        """Connect when first asked. Raises OSError: a file cannot be read."""
        self._address = address
        self._channel = grpc.secure_channel(
            address,
            credentials.channel(),
            options=[
                ("grpc.max_send_message_length", MOST_BYTES),
                ("grpc.max_receive_message_length", MOST_BYTES),
            ],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(self, request: Message, method: str) -> Any:
        """One answer to a method of the service that takes this request.

        Raises:
            CallError: refused.
            UnreachableError: nobody answers.

        """
        path, answer = _method(request, method)
        ask = self._channel.unary_unary(path, _encoded, answer.FromString)
        with self._told():
            return ask(request, timeout=SECONDS)

    def stream(self, request: Message, method: str) -> Iterator[Any]:
        """Answers as they come. Raises as `call`."""
        path, answer = _method(request, method)
        ask = self._channel.unary_stream(path, _encoded, answer.FromString)
        with self._told():
            yield from ask(request)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            if (reason := trailing.get(REASON)) is not None:
                raise CallError(str(reason), str(error.details())) from None
            raise UnreachableError(
                "unreachable",
                f"no governance service at {self._address}: {error.details()}",
            ) from None


def _method(request: Message, name: str) -> tuple[str, Any]:
    for file in (admin_pb2.DESCRIPTOR, governance_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            method = service.methods_by_name.get(name)
            if method is not None and method.input_type.full_name == request.DESCRIPTOR.full_name:
                return (
                    f"/{service.full_name}/{name}",
                    message_factory.GetMessageClass(method.output_type),
                )
    raise ValueError(f"{name} does not take a {request.DESCRIPTOR.full_name}")


def _encoded(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data
