"""An environment for each peer, made from its committed lock: build/peers/NAME.

Peers need versions that exclude each other, and none may change what the gateway runs with.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements" / "peers"
BUILT = ROOT / "build" / "peers"
# Written when everything is installed, so an installation that was cut off is made again.
MARK = "installed-from"
INSTALL_SECONDS = 1800
_ADDRESS = re.compile(r"\w+://\S+")
_PATH = re.compile(r"(?<![\w.])/[\w.@+-]+(?:/[\w.@+-]*)+")


class EnvironmentFailedError(RuntimeError):
    """An environment could not be made; the message is pip's, without addresses and paths."""


@dataclass(frozen=True)
class Environment:
    """A peer's interpreter, and the variables that it is run with."""

    folder: Path
    python: Path
    variables: dict[str, str]

    @property
    def log(self) -> Path:
        """Where the peer's own words go."""
        return self.folder / "server.log"


def key(lock: str) -> str:
    """What an environment depends on: its lock, the interpreter, the machine's kind."""
    told = (lock, sys.implementation.cache_tag, platform.python_version(), platform.machine())
    return hashlib.sha256("\n".join(map(str, told)).encode()).hexdigest()


def is_fresh(folder: Path, lock: str) -> bool:
    """Whether the environment in `folder` was made, to the end, from this lock."""
    try:
        return (folder / MARK).read_text().strip() == key(lock)
    except OSError:
        return False


def pins(name: str) -> list[str]:
    """What the peer's environment is made for, as NAME==VERSION."""
    return (LOCKS / f"{name}.in").read_text().split()


def cleaned(text: str) -> str:
    """Text of another program without addresses and paths, which name machines."""
    return _PATH.sub("…", _ADDRESS.sub("…", text))


def ensure(name: str, say: Callable[[str], None]) -> Environment:
    """The environment of requirements/peers/NAME.txt, made anew if it is missing or stale.

    Raises:
        EnvironmentFailedError: pip could not install what the lock names.

    """
    lock = (LOCKS / f"{name}.txt").read_text()
    folder = BUILT / name
    if not is_fresh(folder, lock):
        say(f"installing {name} into build/peers/{name} (some minutes, once)")
        shutil.rmtree(folder, ignore_errors=True)
        _made([sys.executable, "-m", "venv", str(folder)])
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        install += ["--disable-pip-version-check", "--require-hashes"]
        _made([*install, "-r", str(LOCKS / f"{name}.txt")])
        (folder / MARK).write_text(key(lock) + "\n")
    home = folder / "home"
    home.mkdir(exist_ok=True)
    # What a peer writes below its home stays in its environment. PyTriton's interpreter is a
    # program of its own and must load the libpython that the environment was made with.
    variables = dict(os.environ) | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    libraries = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    variables["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    return Environment(folder, folder / "bin" / "python", variables)


def _made(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailedError(f"not installed in {INSTALL_SECONDS} s") from error
    if done.returncode:
        raise EnvironmentFailedError(f"not installed: {why(done.stderr or done.stdout)}")


def why(said: str) -> str:
    """The line of a failed installation that tells the reason."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return cleaned((errors or lines or ["no reason was given"])[-1])[:200]
