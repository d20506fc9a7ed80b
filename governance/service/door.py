"""The door: mutual TLS, one identity, a role for every method, an audit line before every act.

The identity is the one URI in the client certificate's subject alternative names; its roles are
those of the signed policy. Names in the subject, and metadata, are not looked at.
"""

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
from cryptography import x509
from google.protobuf import unknown_fields
from google.protobuf.message import Message

from governance.errors import GovernanceError
from governance.ledger.errors import LedgerUnavailableError, WitnessError
from governance.service.audit import Audit, Denials
from governance.service.plane import PlaneError
from governance.service.rounds import say
from governance.service.rules import RULES, Access
from governance.service.telemetry import NOBODY, Seen, unseen

MOST_STREAMS = 16
REASON = "sluicegate-reason"
Alive = Callable[[], bool]
Unary = Callable[[Any], Any]
Stream = Callable[[Any, Alive], Iterator[Any]]


class BusyError(GovernanceError):
    """The service has too much to do."""


class DeniedError(Exception):
    """A call was denied at the door."""

    def __init__(self, reason: str, sentence: str) -> None:
        self.reason, self.sentence = reason, sentence
        super().__init__(sentence)


@dataclass(frozen=True)
class Door:
    """What every call passes. `roles` gives an identity's roles by the policy of now; `seen` is
    told of each call once it has ended.
    """

    roles: Callable[[str], frozenset[str]]
    audit: Audit
    denials: Denials
    clock: Callable[[], int]
    seen: Seen = unseen
    streams: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MOST_STREAMS)
    )

    @contextmanager
    def _one_of_few(self) -> Iterator[None]:
        """A stream holds a thread: those that are left are for acts, a rollback above all."""
        if not self.streams.acquire(blocking=False):
            raise BusyError(
                "too_many_streams", f"{MOST_STREAMS} streams are open; end one, or ask again later"
            )
        try:
            yield
        finally:
            self.streams.release()

    def unary(self, method: str, act: Unary) -> Callable[[Any, Any], Any]:
        """Guard a method with one answer. KeyError: it has no rule."""
        access = RULES[method]

        def guarded(request: Message, context: Any) -> Any:
            with _Call(self, method, access, request, context):
                return act(request)

        return guarded

    def stream(self, method: str, act: Stream) -> Callable[[Any, Any], Iterator[Any]]:
        """Guard a method with many answers."""
        access = RULES[method]

        def guarded(request: Message, context: Any) -> Iterator[Any]:
            with _Call(self, method, access, request, context), self._one_of_few():
                yield from act(request, context.is_active)

        return guarded


class _Call:
    """One call from the door to its outcome."""

    def __init__(
        self, door: Door, method: str, access: Access, request: Message, context: Any
    ) -> None:
        self._door, self._method, self._access = door, method, access
        self._request, self._context = request, context
        self._id = secrets.token_hex(8)
        self._who, self._role = "", NOBODY
        self._since = time.monotonic()

    def __enter__(self) -> None:
        try:
            self._who = identity(self._context.auth_context())
            self._admit()
        except DeniedError as denied:
            self._deny(denied)
        if self._access.acts:
            try:
                self._write(phase="asked", about=_about(self._request))
            except OSError as error:
                if not self._access.unwritten:
                    text = f"the audit log cannot be written, so nothing is done: {error}"
                    self._abort(grpc.StatusCode.UNAVAILABLE, "no_audit", text)
                say("audit_failed", method=self._method, error=str(error))

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if self._access.acts:
            reason = error.reason if isinstance(error, GovernanceError) else None
            outcome = "done" if error is None else reason or "failed"
            with suppress(OSError):
                self._write(phase="ended", outcome=outcome)
        if isinstance(error, GovernanceError):
            self._abort(_code(error), error.reason, str(error))
        if isinstance(error, sqlite3.Error):
            self._abort(grpc.StatusCode.UNAVAILABLE, "ledger_failed", str(error))
        if isinstance(error, OSError):
            self._abort(grpc.StatusCode.UNAVAILABLE, "folder_failed", str(error))
        status = grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN
        # A stream whose client has gone is closed from outside.
        self._seen(grpc.StatusCode.CANCELLED if isinstance(error, GeneratorExit) else status)

    def _admit(self) -> None:
        held = self._door.roles(self._who)
        if not held & self._access.roles:
            what = "no role" if not held else "none of the roles that may"
            raise DeniedError("role_denied", f"{self._who} has {what} call {self._method}")
        self._role = min(held & self._access.roles)
        if _unknown(self._request):
            raise DeniedError("unknown_field", "the request has fields that this gateway lacks")

    def _deny(self, denied: DeniedError) -> NoReturn:
        if self._door.denials.add(_slug(self._method), denied.reason):
            with suppress(OSError):
                self._write(phase="denied", outcome=denied.reason)
        code = grpc.StatusCode.PERMISSION_DENIED
        if denied.reason == "unknown_field":
            code = grpc.StatusCode.INVALID_ARGUMENT
        self._abort(code, denied.reason, denied.sentence)

    def _abort(self, code: grpc.StatusCode, reason: str, sentence: str) -> NoReturn:
        self._seen(code)
        self._context.set_trailing_metadata(((REASON, reason),))
        # Status messages are headers: a long one would be cut by who knows whom.
        self._context.abort(code, sentence[:1000])
        raise AssertionError("abort raises")

    def _seen(self, status: grpc.StatusCode) -> None:
        self._door.seen(self._method, status.name, self._role, time.monotonic() - self._since)

    def _write(self, **fields: Any) -> None:
        self._door.audit.write(
            at=self._door.clock(), call=self._id, method=self._method, who=self._who, **fields
        )


def identity(context: Any) -> str:
    """SPIFFE ID of the client: the only URI among its certificate's alternative names.

    Raises:
        DeniedError: `no_certificate`, `no_identity` or `several_identities`.

    """
    presented = context.get("x509_pem_cert", ())
    if len(presented) != 1:
        raise DeniedError("no_certificate", "the client showed no certificate")
    certificate = x509.load_pem_x509_certificate(presented[0])
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    if not uris:
        raise DeniedError("no_identity", "the certificate has no URI among its alternative names")
    if len(uris) > 1:
        raise DeniedError("several_identities", "the certificate has more than one URI")
    return uris[0]


def credentials(folder: Path) -> grpc.ServerCredentials:
    """Server credentials from server.pem, server.key and ca.pem, read anew when they change.

    A client has to show a certificate of that authority. TLS 1.2 at least; 1.3 where both can.

    Raises:
        OSError: a file cannot be read.

    """
    names = ("server.key", "server.pem", "ca.pem")

    def read() -> tuple[bytes, ...]:
        return tuple((folder / name).read_bytes() for name in names)

    def configuration(files: tuple[bytes, ...]) -> grpc.ServerCertificateConfiguration:
        key, chain, roots = files
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

    last = read()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        try:
            found = read()
        except OSError as error:
            say("certificates_not_read", error=str(error))
            return None
        if found == last:
            return None
        last = found
        return configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        configuration(last), renewed, require_client_authentication=True
    )


def _unknown(message: Message) -> bool:
    """Whether a message, or one in it, has fields that this version does not know."""
    if len(unknown_fields.UnknownFieldSet(message)):
        return True
    for known, value in message.ListFields():
        if known.message_type is None or known.message_type.GetOptions().map_entry:
            continue
        for item in [value] if isinstance(value, Message) else value:
            if _unknown(item):
                return True
    return False


def _about(request: Message) -> dict[str, str]:
    """What a request is about, without its statements: those are kept by their digests."""
    names = ("model", "candidate", "deployment")
    return {name: str(getattr(request, name)) for name in names if hasattr(request, name)}


def _code(error: GovernanceError) -> grpc.StatusCode:
    if isinstance(error, BusyError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, PlaneError | LedgerUnavailableError | WitnessError):
        return grpc.StatusCode.UNAVAILABLE
    return grpc.StatusCode.FAILED_PRECONDITION


def _slug(method: str) -> str:
    """A method's name as the ledger has it: Admin's StartShadow is admin_start_shadow."""
    service, name = method.rsplit("/", 1)
    words = re.sub("(?<=.)(?=[A-Z])", "_", name).lower()
    return f"{service.rsplit('.', 1)[1].lower()}_{words}"
