"""Fetching one file of a package: what is refused, and when the network is used."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.fetch import (
    DigestError,
    Download,
    MemberError,
    Source,
    fetch,
    fetch_all,
    read_member,
)

CONTENT = b"a,b\n1,2\n"
LIMIT = 1000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(member: str = "package/data.csv", content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


def sdist(*entries: tarfile.TarInfo, content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return buffer.getvalue()


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def source(archive: bytes, **changes: Any) -> Source:
    plain = Source(
        project="package",
        archive="package-1-py3-none-any.whl",
        archive_sha256=sha256(archive),
        member="package/data.csv",
        member_sha256=sha256(CONTENT),
        cached_as="data.csv",
    )
    return replace(plain, **changes)


def giving(data: bytes) -> Download:
    return lambda _project, _filename, _max_bytes: data


def no_network(project: str, filename: str, max_bytes: int) -> bytes:
    raise AssertionError(f"{filename} of {project} was downloaded")


def test_a_fetched_file_is_the_member_of_the_archive(tmp_path: Path) -> None:
    path = fetch(source(wheel()), tmp_path / "cache", giving(wheel()))
    assert path == tmp_path / "cache" / "data.csv"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["data.csv"]


def test_a_cached_file_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(CONTENT)
    assert fetch(source(wheel()), tmp_path, no_network).read_bytes() == CONTENT


def test_a_cached_file_with_another_digest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(CONTENT[:-1])
    assert fetch(source(wheel()), tmp_path, giving(wheel())).read_bytes() == CONTENT


def test_an_archive_with_another_digest_is_refused_and_nothing_is_cached(tmp_path: Path) -> None:
    pinned = source(wheel())
    with pytest.raises(DigestError, match=rf"{pinned.archive} has SHA-256 .* is expected\.$"):
        fetch(pinned, tmp_path, giving(wheel(content=b"something else")))
    assert list(tmp_path.iterdir()) == []


def test_a_member_with_another_digest_is_refused_and_nothing_is_cached(tmp_path: Path) -> None:
    archive = wheel(content=b"something else")
    with pytest.raises(DigestError, match=r"package/data\.csv has SHA-256"):
        fetch(source(archive), tmp_path, giving(archive))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("member", ["../data.csv", "package/../../data.csv", "/etc/x", "a\\..\\b"])
def test_a_member_that_leads_out_of_the_archive_is_refused(member: str) -> None:
    # The archive does hold that member: the path alone must be the reason.
    with pytest.raises(MemberError, match="no safe path"):
        read_member(wheel(member=member), "package.whl", member, LIMIT)


@pytest.mark.parametrize("name", ["../data.csv", "folder/data.csv", "/data.csv"])
def test_a_cache_name_that_is_no_plain_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MemberError, match="plain file name"):
        fetch(source(wheel(), cached_as=name), tmp_path, giving(wheel()))


def test_a_regular_file_is_read_from_a_source_distribution() -> None:
    archive = sdist(tarfile.TarInfo("package-1/data.csv"))
    assert read_member(archive, "package-1.tar.gz", "package-1/data.csv", LIMIT) == CONTENT


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_source_distribution_is_refused(kind: bytes) -> None:
    archive = sdist(tarfile.TarInfo("other.csv"), link("data.csv", kind, "other.csv"))
    with pytest.raises(MemberError, match=r"no regular file 'data\.csv'"):
        read_member(archive, "package-1.tar.gz", "data.csv", LIMIT)


def test_a_member_that_is_not_in_the_archive_is_refused() -> None:
    with pytest.raises(MemberError, match=r"no regular file 'absent\.csv'"):
        read_member(wheel(), "package.whl", "absent.csv", LIMIT)


def test_a_member_over_the_limit_is_refused() -> None:
    assert read_member(wheel(), "package.whl", "package/data.csv", len(CONTENT)) == CONTENT
    with pytest.raises(MemberError, match="over 7 bytes"):
        read_member(wheel(), "package.whl", "package/data.csv", 7)


def test_an_archive_with_several_of_the_files_is_downloaded_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def counting(project: str, filename: str, max_bytes: int) -> bytes:
        asked.append(filename)
        return wheel()

    sources = [source(wheel(), cached_as=name) for name in ("one", "two")]
    paths = fetch_all(sources, tmp_path, counting)
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert asked == [sources[0].archive]
    fetch_all(sources, tmp_path, no_network)


def test_a_source_tells_how_much_may_be_downloaded(tmp_path: Path) -> None:
    def small(project: str, filename: str, max_bytes: int) -> bytes:
        assert max_bytes == source(wheel()).max_bytes
        return wheel()

    fetch(source(wheel()), tmp_path, small)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.whl", b"no zip"),
        ("a.tar.gz", b"no gzip"),
        ("a.tar.gz", gzip.compress(b"no tar")),
    ],
)
def test_a_broken_archive_is_refused_in_one_sentence(name: str, data: bytes) -> None:
    with pytest.raises(MemberError):
        read_member(data, name, "x.csv", LIMIT)
