"""Builds and runs the examples of docs/clients, by the commands of its README.

Each is built once a session in its copy under build/clients: what a build leaves behind stays out
of the tree, and the next session builds on it.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "docs" / "clients"
BUILT = ROOT / "build" / "clients"
BUILD_SECONDS = 900
RUN_SECONDS = 60
# What a build in place leaves behind.
LEFT_BEHIND = (".venv", "inference", "node_modules", "target", "__pycache__")
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class Example:
    """The programs that an example needs, and its commands, run in its folder."""

    folder: str
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    run: tuple[str, ...]

    def ask(self, *flags: str) -> tuple[int, str]:
        """Exit code and the one line that it printed."""
        ended = subprocess.run(
            [*self.run, *flags],
            cwd=BUILT / self.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        lines = ended.stdout.splitlines()
        assert len(lines) == 1, f"{self.run[0]} printed {ended.stdout!r} and {ended.stderr!r}"
        return ended.returncode, lines[0]


EXAMPLES = {
    "python": Example("python", (), (), (sys.executable, "client.py")),
    "tritonclient": Example(
        "python",
        (),
        (
            # By the new environment's own pip, which can change no other: uv run as a module
            # takes the environment that it is run from.
            (sys.executable, "-m", "venv", ".venv"),
            (".venv/bin/python", *PIP, "--require-hashes", "-r", "requirements.txt"),
        ),
        (".venv/bin/python", "triton_client.py"),
    ),
    "go": Example(
        "go",
        ("go",),
        # Git is not asked about a copy that it ignores.
        (("go", "generate"), ("go", "build", "-buildvcs=false", "-o", "client")),
        ("./client",),
    ),
    "rust": Example(
        "rust",
        ("cargo",),
        (("cargo", "build", "--locked", "--quiet", "--target-dir", "target"),),
        ("target/debug/sluicegate-client",),
    ),
    "java": Example(
        "java",
        ("java", "mvn"),
        (("mvn", "--quiet", "--batch-mode", "package"),),
        ("java", "-jar", "target/client.jar"),
    ),
    "javascript": Example("javascript", ("node", "npm"), (("npm", "ci"),), ("node", "client.js")),
}


def need(*tools: str, why: str = "") -> None:
    """Skip the test unless these programs are here; nothing else is a reason to skip."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed" + (f": {why}" if why else ""))


def command(words: tuple[str, ...], folder: Path, **variables: str) -> str:
    """Run one command of a build and return what it printed."""
    ended = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


def build(name: str) -> Example:
    """The example, built."""
    example = EXAMPLES[name]
    need(*example.tools)
    folder = BUILT / example.folder
    shutil.copytree(
        SOURCES / example.folder,
        folder,
        ignore=shutil.ignore_patterns(*LEFT_BEHIND),
        dirs_exist_ok=True,
    )
    for words in example.build:
        # The interpreter of the tests has protoc, wherever its environment lies.
        command(words, folder, PROTOC=f"{sys.executable} -m grpc_tools.protoc")
    return example
