"""Downloads one named file of a package from the index that pip is configured for.

`pip download` cannot be used: for a source distribution it runs the package's build code to
learn its metadata. So pip's own session (index address, certificates, proxy, time-outs and
credentials as configured for pip) reads the index page and the file, and nothing is run.
The page formats are PEP 503 (HTML) and PEP 691 (JSON).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

TRIES = 3

_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)

T = TypeVar("T")
Timeouts = type[Exception] | tuple[type[Exception], ...]


class FetchError(Exception):
    """A file could not be had; the message is one sentence for a person."""


class UnreachableError(FetchError):
    """The package index did not answer."""


class FileNotInIndexError(FetchError):
    """The package index does not list the file."""


def download(project: str, filename: str, max_bytes: int) -> bytes:
    """The bytes of `filename`, a file of `project` in the configured package index.

    Args:
        project: the project's name.
        filename: a wheel's or source distribution's exact file name.
        max_bytes: the most that it may have; what is longer is not read to its end.

    Raises:
        UnreachableError: no index answered, after two further tries on a time-out; or pip,
            whose session is used, is not installed or is set to use no index.
        FileNotInIndexError: every index answered, and none lists the file.
        FetchError: the file is over `max_bytes`.
    """
    try:
        commands = importlib.import_module("pip._internal.commands")
        faults = importlib.import_module("pip._internal.exceptions")
        requests = importlib.import_module("pip._vendor.requests.exceptions")
        command = commands.create_command("download")
    except (ImportError, AttributeError) as error:
        raise UnreachableError(
            f"{filename} cannot be fetched because this Python has no pip that can be used "
            "(python -m ensurepip installs one)."
        ) from error
    # A time-out within a file reaches us as ConnectionError; newer pips have a type of their own.
    timeouts = (
        requests.Timeout,
        requests.ConnectionError,
        getattr(faults, "ConnectionTimeoutError", requests.Timeout),
    )
    with command.main_context():
        # Time-outs are counted here, so that one in the middle of a file counts as well.
        options, _ = command.parse_args(["--retries", "0"])
        if options.no_index:
            raise UnreachableError(f"{filename} cannot be fetched: pip is set to use no index.")
        session = command.get_default_session(options)
        for index in (options.index_url, *options.extra_index_urls):
            try:
                found = from_index(session, index, project, filename, max_bytes, timeouts)
            except (requests.RequestException, faults.PipError) as error:
                raise UnreachableError(
                    f"{filename} cannot be fetched: the package index that pip is configured for "
                    f"does not answer ({type(error).__name__})."
                ) from error
            if found is not None:
                return found
    raise FileNotInIndexError(f"{filename} is not in the package index that pip is configured for.")


def from_index(
    session: Any, index: str, project: str, filename: str, max_bytes: int, timeout: Timeouts
) -> bytes | None:
    """Like `download`, from one index through a requests-like `session`.

    Returns:
        The file's bytes; None if this index lists no such project or file.

    Raises:
        FetchError: the file is over `max_bytes`.
        Exception: whatever the session raises; `timeout` only after `TRIES` tries.
    """
    folder = re.sub(r"[-_.]+", "-", project).lower()
    page_url = urljoin(index.rstrip("/") + "/", folder + "/")
    if page_url.startswith("file:"):
        page_url += "index.html"  # As pip does for an index that is a folder.
    page = again(lambda: session.get(page_url, headers={"Accept": _ACCEPT}), timeout)
    if page.status_code == 404:
        return None
    page.raise_for_status()
    links = page_links(page.content, page.headers.get("Content-Type", ""), page.url)
    if filename not in links:
        return None
    return again(lambda: _read(session, links[filename], filename, max_bytes), timeout)


def page_links(content: bytes, content_type: str, base: str) -> dict[str, str]:
    """File name to absolute address, from a project's page in either format."""
    if content_type.partition(";")[0].strip().endswith("+json"):
        return {f["filename"]: urljoin(base, f["url"]) for f in json.loads(content)["files"]}
    parser = _Anchors()
    parser.feed(content.decode("utf-8"))
    urls = (urldefrag(urljoin(base, href)).url for href in parser.hrefs)
    return {unquote(PurePosixPath(urlsplit(url).path).name): url for url in urls}


def again(action: Callable[[], T], timeout: Timeouts) -> T:
    """The result of `action`, tried up to `TRIES` times as long as it raises `timeout`."""
    for _ in range(TRIES - 1):
        try:
            return action()
        except timeout:
            continue
    return action()


def _read(session: Any, url: str, filename: str, max_bytes: int) -> bytes:
    # Identity: a .tar.gz must arrive as it is stored, not unpacked on the way.
    answer = session.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
    answer.raise_for_status()
    data = bytearray()
    for chunk in answer.iter_content(64 * 1024):
        data += chunk
        if len(data) > max_bytes:
            raise FetchError(f"{filename} is over {max_bytes} bytes, so it is not the file meant.")
    return bytes(data)


class _Anchors(HTMLParser):
    """Collects the addresses of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps an anchor's href."""
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]
