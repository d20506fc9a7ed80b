"""The doubles: a driver in C, `tensorrt` over ONNX Runtime, and the real pycuda on both.

They are found by the environment, so that each test's process is what it would be on a machine
with a GPU; a process that tests share is told the same by `doubles`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tensorrt.doubles.build import CannotBuild, build

ROOT = Path(__file__).parents[2]
MODULES = Path(__file__).parent / "doubles" / "modules"


@dataclass(frozen=True)
class Machine:
    """The environment of a machine with the driver double and the double of `tensorrt`."""

    environment: Mapping[str, str]
    folder: Path

    @property
    def cache(self) -> Path:
        """The folder of its plans."""
        return self.folder / "cache" / "sluicegate" / "engines"

    def set(self, settings: str) -> None:
        """Write the operator's settings."""
        (self.folder / "engines.toml").write_text(f"[engines.tensorrt]\n{settings}\n")

    def _done(self, code: str, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    def run(self, code: str, **more: str) -> str:
        """What a Python program prints on this machine; it must end well."""
        return self._done(code, more).stdout

    def errors(self, code: str, **more: str) -> str:
        """What it writes on standard error."""
        return self._done(code, more).stderr


@pytest.fixture(scope="session")
def driver_double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the driver double."""
    folder = tmp_path_factory.mktemp("driver")
    try:
        return build(folder).parent
    except CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture
def machine(driver_double: Path, tmp_path: Path) -> Machine:
    """A machine of a test's own, with an empty cache of plans."""
    told = {
        "LD_LIBRARY_PATH": str(driver_double),
        "PYTHONPATH": f"{ROOT}:{MODULES}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "SLUICEGATE_ENGINES": str(tmp_path / "engines.toml"),
    }
    made = Machine({**os.environ, **told}, tmp_path)
    made.set("")
    return made
