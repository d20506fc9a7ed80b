"""Asks the serving process over its control socket, and tells it what to do."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 5.0
# A command may load a model beside traffic that leaves little time for it.
COMMAND_SECONDS = 120.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class RefusedError(Exception):
    """The serving process did not do as it was told; the message says why."""


def ask(path: Path, page: str, body: bytes | None = None) -> bytes:
    """One page of the serving process; with a body, its answer to it.

    Raises:
        OSError: it does not answer, or not with that page.
        RefusedError: it refused what it was told to do.

    """
    connection = _UnixConnection(path)
    if body is not None:
        connection.timeout = COMMAND_SECONDS
    try:
        connection.request("GET" if body is None else "POST", page, body)
        answer = connection.getresponse()
        said = answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if answer.status == http.client.CONFLICT:
        raise RefusedError(json.loads(said)["error"])
    if answer.status != http.client.OK:
        raise OSError(f"{page}: {answer.status}")
    return said


def spans(path: Path) -> bytes:
    """The spans since the last question: OTLP's ScopeSpans, encoded."""
    return ask(path, "/spans")


def shadows(path: Path) -> dict[str, Any]:
    """By model: how its shadow fares, and what it has `found` since the last question."""
    told: dict[str, Any] = json.loads(ask(path, "/shadow"))
    return told


def command(path: Path, do: str, **fields: Any) -> dict[str, Any]:
    """Tell the serving process to do something: docs/interfaces.md has the commands.

    Raises:
        OSError: it does not answer.
        RefusedError: it refused, and says why.

    """
    asked = json.dumps({"do": do, **fields}).encode()
    told: dict[str, Any] = json.loads(ask(path, "/command", asked))
    return told


def metrics(path: Path) -> str:
    """The metrics as OpenMetrics text."""
    return ask(path, "/metrics").decode()
