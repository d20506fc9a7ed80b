"""What a candidate was made with: the code by digest, whether it was committed, the packages."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("trainer", "gateway/packing.py")


@dataclass(frozen=True)
class Origin:
    """Code and packages.

    Attributes:
        code: the digest of every source file of the trainer, by path.
        clean: whether git knows of no change of them; without git, False.
        environment: every installed package with its version, a line each.
        engine: the version of ONNX Runtime.
        engine_digest: of its library.
    """

    code: str
    clean: bool
    environment: str
    engine: str
    engine_digest: str

    @property
    def lock_file(self) -> str:
        """The digest of the list of packages."""
        return "sha256:" + hashlib.sha256(self.environment.encode()).hexdigest()


def gather() -> Origin:
    """What this process runs."""
    found = sorted(
        {f"{d.metadata['Name'].lower().replace('_', '-')}=={d.version}" for d in distributions()}
    )
    engine, library = _engine()
    return Origin(_code(), _clean(), "\n".join(found) + "\n", engine, library)


def _code() -> str:
    told = hashlib.sha256()
    for name in CODE:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            told.update(f"{file.relative_to(ROOT).as_posix()}\n".encode())
            told.update(hashlib.sha256(file.read_bytes()).digest())
    return "sha256:" + told.hexdigest()


def _clean() -> bool:
    command = ["git", "status", "--porcelain", "--", *CODE]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and not done.stdout.strip()


def _engine() -> tuple[str, str]:
    import onnxruntime  # noqa: PLC0415

    folder = Path(onnxruntime.__file__).parent / "capi"
    library = max(folder.glob("libonnxruntime.so*"), default=None, key=lambda p: p.stat().st_size)
    data = library.read_bytes() if library else onnxruntime.__version__.encode()
    return onnxruntime.__version__, "sha256:" + hashlib.sha256(data).hexdigest()
