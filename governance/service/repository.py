"""Model directories by the digests that people signed: REPOSITORY/NAME/N/manifest.json."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import ClassVar

from governance.errors import GovernanceError
from governance.home import MODEL_NAME

MANIFEST, CONTRACT = "manifest.json", "contract.toml"
# The engine of what the trainer judges and nothing serves.
OFFLINE = "offline"
_CHUNK = 1 << 20


class RepositoryError(GovernanceError):
    """A model directory is not there, or not what its manifest says."""

    REMEDY: ClassVar[str] = "pack the model again and compare the digests"


def digest_of(folder: Path) -> str:
    """Digest of a model directory: of its manifest's bytes, whatever the files are.

    Raises:
        RepositoryError: there is no manifest.

    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise RepositoryError("no_manifest", f"{folder / MANIFEST}: {error.strerror}") from error
    return "sha256:" + hashlib.sha256(data).hexdigest()


def refuse_offline(folder: Path) -> None:
    """Refuse a candidate that its own contract calls one that no gateway can load.

    Raises:
        RepositoryError: it is judged offline alone.

    """
    try:
        engine = tomllib.loads((folder / CONTRACT).read_text("utf-8")).get("engine")
    except (OSError, ValueError):
        # The data plane has its own words for a contract that cannot be read.
        return
    if engine == OFFLINE:
        raise RepositoryError(
            "judged_offline",
            f"{folder} holds an adapter that was judged offline, and no gateway serves one yet",
            remedy="keep it with its evidence; hand in a model that a gateway can load",
        )


def verify(folder: Path) -> str:
    """Digest of a model directory whose every file is as its manifest says, and no other is there.

    The data plane checks for itself what it loads; this refuses early.

    Raises:
        RepositoryError: the reason says what differs.

    """
    found = digest_of(folder)
    try:
        listed = {
            entry["path"]: (entry["size"], entry["sha256"])
            for entry in json.loads((folder / MANIFEST).read_bytes())["files"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RepositoryError("bad_manifest", f"{folder / MANIFEST}: {error}") from error
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    if differs := (there - {MANIFEST}) ^ listed.keys():
        raise RepositoryError("files_differ", f"{folder}: {', '.join(sorted(differs))}")
    for name, (size, sha256) in listed.items():
        path = folder / name
        if path.is_symlink() or path.stat().st_size != size or _sha256(path) != sha256:
            raise RepositoryError("file_changed", f"{path} is not what the manifest says")
    return found


def version_of(repository: Path, model: str, digest: str) -> int:
    """Which version of a model has the digest; the highest, if it was copied.

    Raises:
        RepositoryError: none has (`no_such_version`), or the name is none.

    """
    if not MODEL_NAME.fullmatch(model):
        raise RepositoryError("bad_name", f"{model!r} is not a model's name")
    folder = repository / model
    numbers = (
        [int(p.name) for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
    )
    for number in sorted(numbers, reverse=True):
        if (folder / str(number) / MANIFEST).is_file() and digest_of(
            folder / str(number)
        ) == digest:
            return number
    raise RepositoryError("no_such_version", f"no version in {folder} is {digest}")


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()
