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

    def run(self, code: str, timeout: float = 120, **more: str) -> str:
        """What a Python program prints on this machine; it must end well."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


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
    }
    return Machine({**os.environ, **told})
