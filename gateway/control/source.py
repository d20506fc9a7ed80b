"""Asks the serving process over its control socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 5.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, page: str) -> bytes:
    """One page of the serving process.

    Raises:
        OSError: it does not answer, or not with that page.

    """
    connection = _UnixConnection(path)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise OSError(f"{page}: {answer.status}")
    return body


def spans(path: Path) -> dict[str, Any]:
    """The traced requests since the last question: `spans` and how many were `dropped`."""
    told: dict[str, Any] = json.loads(ask(path, "/spans"))
    return told


def metrics(path: Path) -> str:
    """The metrics as OpenMetrics text."""
    return ask(path, "/metrics").decode()
