"""bundle.json: every file of a bundle by path, size and digest, and the bundle before it.

A bundle's digest at a moment is the SHA-256 of bundle.json. A later group makes a new bundle.json
that names the one before by its digest and keeps it under history/, so that what an approver saw
can be told from what came afterwards.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

from governance import canonical, shape
from governance.bundle.errors import BundleError
from governance.shape import Between, Pattern
from governance.vocabulary import Count, Digest, ModelName, Sha256Hex

NAME = "bundle.json"
FORMAT: Final = "sluicegate.bundle/1"
MAX_FILE_BYTES = 64 << 20
# Groups at the top; statements and old manifests by digest; what measured, and what is attached.
PATH = (
    r"(?:[a-z]{1,32}\.json"
    r"|(?:statements|history)/[0-9a-f]{64}\.json"
    r"|measurements/[a-z0-9][a-z0-9_.-]{0,63}\.json"
    r"|attachments/[A-Za-z0-9][A-Za-z0-9_.-]{0,127})"
)


@dataclass(frozen=True)
class Listed:
    """One file: path below the bundle's folder with `/`, size in bytes, SHA-256 in hex."""

    path: Annotated[str, Pattern(PATH)]
    sha256: Sha256Hex
    size: Annotated[Count, Between(0, MAX_FILE_BYTES)]


@dataclass(frozen=True)
class Manifest:
    """What bundle.json says.

    Raises:
        BundleError: paths are not sorted, or one is there twice or is its own (`bad_manifest`).

    """

    format: Literal["sluicegate.bundle/1"]
    model: ModelName
    candidate: Digest
    previous: Digest | None
    files: Annotated[tuple[Listed, ...], Between(0, 4096)]

    def __post_init__(self) -> None:
        paths = [listed.path for listed in self.files]
        if paths != sorted(set(paths)) or NAME in paths:
            raise BundleError("bad_manifest", f"{NAME} lists its files unsorted, twice, or itself")

    @cached_property
    def payload(self) -> bytes:
        """The bytes of bundle.json."""
        return canonical.encode(shape.write(self))

    @cached_property
    def digest(self) -> str:
        """The bundle's digest, which approvals name."""
        return canonical.digest(self.payload)

    @cached_property
    def by_path(self) -> dict[str, Listed]:
        """Every file by its path."""
        return {listed.path: listed for listed in self.files}


def parse(data: bytes) -> Manifest:
    """Read bundle.json.

    Raises:
        MalformedError, BundleError: it is not canonical JSON of this form.

    """
    return shape.read(Manifest, canonical.decode(data), NAME)


def read_manifest(root: Path) -> Manifest:
    """The manifest of the bundle at `root`.

    Raises:
        BundleError: `no_bundle`, or as `parse`.
        MalformedError: as `parse`.

    """
    path = root / NAME
    if path.is_symlink() or not path.is_file():
        raise BundleError("no_bundle", f"there is no {path}", remedy="name a bundle's folder")
    return parse(read_file(path))


def read_file(path: Path) -> bytes:
    """A file of a bundle whole.

    Raises:
        BundleError: `unreadable_file` or `file_too_large`.

    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BundleError("unreadable_file", f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise BundleError("file_too_large", f"{path} has more than {MAX_FILE_BYTES} bytes")
    return data


def listed(path: str, data: bytes) -> Listed:
    """The entry of a file.

    Raises:
        BundleError: a bundle holds no file of that name (`bad_path`).

    """
    if not re.fullmatch(PATH, path) or path == NAME:
        raise BundleError(
            "bad_path",
            f"a bundle holds no file {path!r}",
            expected="a group, or something under statements, measurements or attachments",
        )
    return Listed(path, canonical.digest(data).removeprefix("sha256:"), len(data))


def files_below(root: Path) -> list[str]:
    """Every path below a bundle's folder but bundle.json, links and special files included."""
    found = [p for p in root.rglob("*") if p.is_symlink() or not p.is_dir()]
    return sorted(p.relative_to(root).as_posix() for p in found if p != root / NAME)


def read_listed(root: Path, entry: Listed) -> bytes:
    """A listed file's bytes, checked against its entry.

    Raises:
        BundleError: `missing_file`, `link`, `file_changed`, or as `read_file`.

    """
    path = root / entry.path
    if path.is_symlink() or path.parent.is_symlink():
        raise BundleError("link", f"{entry.path} is a link; a bundle holds files only")
    if not path.is_file():
        raise BundleError("missing_file", f"{entry.path} is listed and not there")
    data = read_file(path)
    if listed(entry.path, data) != entry:
        raise BundleError("file_changed", f"{entry.path} is not what {NAME} says")
    return data


def chain_of(root: Path, newest: Manifest) -> list[Manifest]:
    """The manifest and those before it, newest first, each under its digest in history/.

    Raises:
        BundleError: `history_missing` or `history_differs`.
        MalformedError: one cannot be read.

    """
    found = [newest]
    while (digest := found[-1].previous) is not None:
        path = f"history/{digest.removeprefix('sha256:')}.json"
        if path not in newest.by_path:
            raise BundleError("history_missing", f"{path}, the bundle before, is not listed")
        before = parse(read_listed(root, newest.by_path[path]))
        if before.digest != digest:
            raise BundleError("history_differs", f"{path} holds another bundle than its name says")
        if (before.model, before.candidate) != (newest.model, newest.candidate):
            raise BundleError("history_differs", f"{path} is another candidate's")
        if len(found) > len(newest.files):
            raise BundleError("history_differs", "the history does not end")
        found.append(before)
    return found
