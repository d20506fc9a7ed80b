"""A model directory as an auditor reads it: its digest, and whether every file is the manifest's.

The gateway loads models by its own reader, which copies what it hashes; this one only looks.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from governance import canonical, shape
from governance.errors import GovernanceError
from governance.shape import Between, Pattern
from governance.vocabulary import Count, Sha256Hex

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class ModelError(GovernanceError):
    """A model directory is not what its manifest says."""

    REMEDY = "restore it from where it was packed; `sluicegate models verify` looks closer"


@dataclass(frozen=True)
class _File:
    path: Annotated[str, Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")]
    sha256: Sha256Hex
    size: Count


@dataclass(frozen=True)
class _Manifest:
    files: Annotated[tuple[_File, ...], Between(1, 4096)]
    format: Literal["sluicegate.model/1"]


def model_digest(folder: Path) -> str:
    """The digest of the model in a folder, every file of which was hashed.

    Raises:
        ModelError: `no_model`, `model_link`, `unlisted_model_file`, `missing_model_file` or
            `model_changed`.
        MalformedError: the manifest is not of its form.

    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise ModelError("no_model", f"{folder / MANIFEST}: {error.strerror}") from error
    manifest = shape.read(_Manifest, canonical.decode(data), MANIFEST)
    listed = {file.path: file for file in manifest.files}
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise ModelError("model_link", f"{path} is no regular file")
        if path.name != MANIFEST and path.name not in listed:
            raise ModelError("unlisted_model_file", f"{path} is not in the manifest")
    for name, file in listed.items():
        path = folder / name
        if not path.is_file():
            raise ModelError("missing_model_file", f"{path} is not there")
        if path.stat().st_size != file.size or _sha256(path) != file.sha256:
            raise ModelError("model_changed", f"{path} is not what the manifest says")
    return canonical.digest(data)


def find_model(repository: Path, model: str, digest: str) -> Path | None:
    """The version NAME/N whose manifest has a digest, or None. No other file is looked at."""
    for folder in sorted((repository / model).glob("*/")):
        manifest = folder / MANIFEST
        if manifest.is_file() and canonical.digest(manifest.read_bytes()) == digest:
            return folder
    return None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()
