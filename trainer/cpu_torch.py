"""`python -m trainer.cpu_torch`: makes the index's torch importable without CUDA's libraries.

On Linux the index has torch in one build, which is linked against 2.6 GB of CUDA libraries that a
machine without a GPU never calls. Where they were left out (`pip install --no-deps`), this writes
a stand-in for each that is missing: a library of that name whose every function says "no device",
as CUDA does where there is no GPU, so that `torch.cuda.is_available()` is False. It needs a C
compiler and binutils, as building the gateway does. A machine with a GPU installs torch with its
dependencies and never runs this. Libraries that are there are never replaced.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# cudaErrorNoDevice.
NO_DEVICE = 100
_FOREIGN = re.compile(r"lib(cu|nccl|nvshmem|nvrtc|nvToolsExt|nvtx|nvJit|cudart)")
_NAMES = re.compile(r"^(__)?(cu|nccl|nvrtc|nvshmem|nvtx|nvJit|cupti)\w*$")
_TEXTS = (
    "cudaGetErrorString",
    "cudaGetErrorName",
    "ncclGetErrorString",
    "ncclGetLastError",
    "cudnnGetErrorString",
    "nvrtcGetErrorString",
    "cusparseGetErrorString",
    "cusparseGetErrorName",
    "cublasGetStatusString",
    "cublasGetStatusName",
)


def libraries() -> Path:
    """The folder of torch's libraries.

    Raises:
        SystemExit: torch is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("torch is not installed: pip install --no-deps torch")
    return Path(spec.origin).parent / "lib"


def imports() -> str:
    """What importing torch says: nothing if it works."""
    done = subprocess.run(
        [sys.executable, "-c", "import torch"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def wanted(folder: Path) -> tuple[set[str], set[str]]:
    """Libraries of CUDA that torch's are linked against, and the functions that they call."""
    needed: set[str] = set()
    functions: set[str] = set()
    for library in folder.glob("*.so*"):
        said = _run("readelf", "-d", str(library))
        found = re.findall(r"\(NEEDED\).*\[(.+?)\]", said)
        # The driver itself is only opened where there is one.
        needed |= {n for n in found if _FOREIGN.match(n) and not n.startswith("libcuda.so")}
        for line in _run("nm", "-D", "--undefined-only", str(library)).splitlines():
            name = line.split()[-1].partition("@")[0]
            if _NAMES.match(name):
                functions.add(name)
    return needed, functions


def versions(folder: Path) -> dict[str, set[str]]:
    """The symbol versions that torch's libraries ask of each library."""
    found: dict[str, set[str]] = {}
    for library in folder.glob("*.so*"):
        file = ""
        for line in _run("readelf", "-V", str(library)).splitlines():
            if match := re.search(r"Version: \d+  File: (\S+)", line):
                file = match[1]
            elif match := re.search(r"Name: (\S+)  Flags:", line):
                if file:
                    found.setdefault(file, set()).add(match[1])
            else:
                file = ""
    return found


def source(functions: set[str]) -> str:
    """The stand-ins' C source."""
    lines = ["/* Written by trainer/cpu_torch.py. */"]
    for name in sorted(functions):
        if name in _TEXTS:
            lines.append(f'const char *{name}(void) {{ return "no CUDA on this machine"; }}')
        else:
            lines.append(f"long {name}(void) {{ return {NO_DEVICE}; }}")
    return "\n".join(lines) + "\n"


def build(folder: Path) -> list[str]:
    """Write the stand-ins that are missing; their names."""
    needed, functions = wanted(folder)
    missing = [name for name in sorted(needed) if not _there(folder, name)]
    with tempfile.TemporaryDirectory() as aside:
        text = Path(aside, "stand_in.c")
        text.write_text(source(functions))
        asked = versions(folder)
        for name in missing:
            made, script = Path(aside, name), Path(aside, "versions")
            # The loader insists that a library has the versions that are asked of it by name.
            nodes = sorted(asked.get(name, ()))
            script.write_text("".join(f"{node} {{ global: *; }};\n" for node in nodes[:1]))
            script.write_text(
                script.read_text() + "".join(f"{node} {{ }};\n" for node in nodes[1:])
            )
            flags = [f"-Wl,--version-script={script}"] if nodes else []
            flags += ["-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{name}"]
            _run("cc", *flags, "-o", str(made), str(text))
            (folder / name).write_bytes(made.read_bytes())
    return missing


def _there(folder: Path, name: str) -> bool:
    packages = folder.parent.parent
    return (folder / name).exists() or any(packages.glob(f"nvidia/*/lib/{name}"))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:2])}: {done.stderr.strip()[-500:]}")
    return done.stdout


def main() -> int:
    """Make torch importable; exit code 1 if it is not in the end."""
    folder = libraries()
    if not imports():
        return 0
    made = build(folder)
    if said := imports():
        sys.stderr.write(f"torch still cannot be imported: {said}\n")
        return 1
    sys.stderr.write(f"no CUDA here: {len(made)} stand-ins in {folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
