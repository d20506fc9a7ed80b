"""What commands that call the governance service share: where it is, who asks, how it ends."""

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import UNREACHABLE, USAGE, emit, fail, say
from governance.cli.outcome import refuse
from governance.errors import GovernanceError

if TYPE_CHECKING:
    from governance.service.client import Client

Admin = Annotated[
    str,
    typer.Option(envvar="SLUICEGATE_ADMIN", metavar="HOST:PORT", help="The governance service."),
]
Cert = Annotated[
    Path,
    typer.Option(envvar="SLUICEGATE_CERT", metavar="FILE", help="Your certificate, PEM."),
]
Key = Annotated[Path, typer.Option(envvar="SLUICEGATE_KEY", metavar="FILE", help="Its key, PEM.")]
Ca = Annotated[
    Path,
    typer.Option(envvar="SLUICEGATE_CA", metavar="FILE", help="The service's authority, PEM."),
]
Approvals = Annotated[
    list[Path] | None,
    typer.Option(
        "--approval",
        metavar="FILE",
        help="A signed statement; may be repeated. Without: those submitted.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json")]
ADMIN = "127.0.0.1:8003"


@dataclass(frozen=True)
class Where:
    """The service, and who asks it."""

    admin: str
    cert: Path
    key: Path
    ca: Path


def _where(*, admin: Admin = ADMIN, cert: Cert, key: Key, ca: Ca) -> Where:
    return Where(admin, cert, key, ca)


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `where` the options that say which service, and who asks it."""
    options = inspect.signature(_where).parameters

    @functools.wraps(command)
    def asking(**given: Any) -> None:
        command(where=_where(**{name: given.pop(name) for name in options}), **given)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "where"]
    taken = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *options.values())]
    # What typer reads options from.
    asking.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    asking.__annotations__ = {p.name: p.annotation for p in taken}
    return asking


@contextmanager
def connected(where: Where, as_json: bool) -> Iterator["Client"]:
    """A client; refusals and silence end the command with their exit codes."""
    # grpc takes a tenth of a second: not for --help.
    from governance.service.client import (  # noqa: PLC0415
        Client,
        Credentials,
        UnreachableError,
    )

    try:
        with Client(where.admin, Credentials(where.cert, where.key, where.ca)) as client:
            yield client
    except UnreachableError as error:
        fail(str(error), UNREACHABLE, as_json)
    except GovernanceError as error:
        refuse(error, as_json)
    except OSError as error:
        fail(f"{error.filename or ''}: {error.strerror}", USAGE, as_json)


def read_files(paths: Sequence[Path] | None, as_json: bool) -> list[bytes]:
    """Contents of files, or the end of the command."""
    found = []
    for path in paths or ():
        try:
            found.append(path.read_bytes())
        except OSError as error:
            fail(f"{path}: {error.strerror}", USAGE, as_json)
    return found


def plain(message: Any) -> dict[str, Any]:
    """A message as JSON has it; every field is there, numbers are numbers."""
    from google.protobuf.descriptor import FieldDescriptor  # noqa: PLC0415

    told: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence and not message.HasField(field.name):
            value = None
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = dict(sorted(value.items()))
        elif field.is_repeated:
            nested = field.type == FieldDescriptor.TYPE_MESSAGE
            value = [plain(item) if nested else item for item in value]
        elif field.type == FieldDescriptor.TYPE_BYTES:
            value = _document(value)
        told[field.name] = value
    return told


def _document(data: bytes) -> Any:
    """Bytes in these messages are JSON documents."""
    return json.loads(data) if data else None


def short(digest: str) -> str:
    """A digest for a table."""
    return digest[:19] + "…" if digest.startswith("sha256:") else digest


def tell(message: Any, text: str, as_json: bool) -> None:
    """Say a sentence; with --json the whole answer."""
    if as_json:
        emit(plain(message))
    say(text)
