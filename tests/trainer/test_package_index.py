"""Finding a file in a package index, through a session that stands in for the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainer.package_index import (
    TRIES,
    FetchError,
    FileNotInIndexError,
    UnreachableError,
    download,
    from_index,
    page_links,
)

MAX_BYTES = 1000
BASE = "https://index.invalid/simple/some-package/"


@dataclass
class Reply:
    content: bytes = b""
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    url: str = BASE

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise OSError(f"status {self.status_code}")

    def iter_content(self, size: int) -> Iterator[bytes]:
        for start in range(0, len(self.content), size):
            yield self.content[start : start + size]


@dataclass
class Session:
    replies: dict[str, Any]
    timeouts: int = 0
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, **_: object) -> Any:
        self.asked.append(url)
        if self.timeouts:
            self.timeouts -= 1
            raise TimeoutError
        return self.replies.get(url, Reply(status_code=404))


def index(files: dict[str, bytes]) -> dict[str, Any]:
    page = {"files": [{"filename": name, "url": f"../../files/{name}"} for name in files]}
    kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
    replies = {BASE: Reply(json.dumps(page).encode(), headers=kind)}
    for name, data in files.items():
        replies[f"https://index.invalid/files/{name}"] = Reply(data)
    return replies


def find(session: Session, filename: str = "a-1.whl", max_bytes: int = MAX_BYTES) -> bytes | None:
    simple = "https://index.invalid/simple"
    return from_index(session, simple, "Some_Package", filename, max_bytes, TimeoutError)


def test_the_file_of_exactly_that_name_is_downloaded() -> None:
    session = Session(index({"a-1.whl": b"one", "a-1.whl.asc": b"no", "a-2.whl": b"two"}))
    assert find(session, "a-2.whl") == b"two"


def test_the_project_is_asked_for_by_its_normalised_name() -> None:
    session = Session(index({"a-1.whl": b"one"}))
    find(session)
    assert session.asked[0] == BASE


def test_a_file_or_project_that_the_index_lacks_is_none() -> None:
    assert find(Session(index({"a-2.whl": b"two"}))) is None
    assert find(Session({})) is None


def test_an_index_that_fails_is_an_error_and_not_an_absent_file() -> None:
    with pytest.raises(OSError, match="status 503"):
        find(Session({BASE: Reply(status_code=503)}))


def test_two_time_outs_are_tried_again() -> None:
    session = Session(index({"a-1.whl": b"one"}), timeouts=TRIES - 1)
    assert find(session) == b"one"
    assert session.asked.count(BASE) == TRIES


def test_a_third_time_out_is_raised() -> None:
    session = Session(index({"a-1.whl": b"one"}), timeouts=TRIES)
    with pytest.raises(TimeoutError):
        find(session)
    assert len(session.asked) == TRIES


def test_a_file_over_the_limit_is_refused() -> None:
    session = Session(index({"a-1.whl": b"one"}))
    assert find(session, max_bytes=3) == b"one"
    with pytest.raises(FetchError, match="over 2 bytes"):
        find(session, max_bytes=2)


def test_an_html_page_gives_the_same_links_as_a_json_page() -> None:
    html = b"""<!DOCTYPE html><html><body>
      <a href="../../files/a-1+local.whl#sha256=00" data-requires-python="&gt;=3">a</a>
      <a href="/files/a%2B2.tar.gz">b</a></body></html>"""
    page = {
        "files": [
            {"filename": "a-1+local.whl", "url": "../../files/a-1+local.whl"},
            {"filename": "a+2.tar.gz", "url": "/files/a%2B2.tar.gz"},
        ]
    }
    links = page_links(html, "text/html; charset=utf-8", BASE)
    assert links == page_links(json.dumps(page).encode(), "application/x+json", BASE)
    assert links["a+2.tar.gz"] == "https://index.invalid/files/a%2B2.tar.gz"


@pytest.fixture
def folder_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, set as pip's by the environment."""
    pytest.importorskip("pip")
    project = tmp_path / "simple" / "some-package"
    project.mkdir(parents=True)
    (project / "a-1.tar.gz").write_bytes(b"not even an archive")
    (project / "index.html").write_text("<a href='a-1.tar.gz'>a</a>")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return project


def test_pips_configured_index_is_used(folder_index: Path) -> None:
    data = download("some-package", "a-1.tar.gz", MAX_BYTES)
    assert hashlib.sha256(data).digest() == hashlib.sha256(b"not even an archive").digest()


def test_a_file_in_no_index_is_refused_in_one_sentence(folder_index: Path) -> None:
    with pytest.raises(FileNotInIndexError, match=r"^b-1\.whl is not in the package index"):
        download("some-package", "b-1.whl", MAX_BYTES)


def test_pip_set_to_use_no_index_is_said(
    folder_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UnreachableError, match="no index"):
        download("some-package", "a-1.tar.gz", MAX_BYTES)


def test_an_index_that_does_not_answer_is_said(
    folder_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on port 1 of this machine.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(UnreachableError, match="does not answer"):
        download("some-package", "a-1.tar.gz", MAX_BYTES)
