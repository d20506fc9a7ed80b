"""Builds the driver double with the C compiler of the machine: `build(folder)`."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("driver.c")
NOT_SUPPORTED = 801


class CannotBuild(RuntimeError):  # noqa: N818 - read as a sentence
    """The double cannot be built here; the message says what is missing."""


def build(folder: Path) -> Path:
    """Compile libcuda.so.1 into the folder, and return its path.

    Every driver function that pycuda links to and the double lacks answers "not supported".

    Raises:
        CannotBuild: there is no C compiler, or no pycuda.

    """
    compiler, names = shutil.which("cc"), shutil.which("nm")
    if compiler is None or names is None:
        raise CannotBuild("no C compiler (cc and nm): the driver double cannot be built")
    spec = find_spec("pycuda")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    linked = [module for place in places for module in place.glob("_driver*.so")]
    if not linked:
        raise CannotBuild("pycuda is not installed (an optional extra: sluicegate[tensorrt])")
    told = subprocess.run(
        [names, "-D", "--undefined-only", str(linked[0])],
        capture_output=True,
        text=True,
        check=True,
    )
    needed = set(re.findall(r"\bcu[A-Z]\w+", told.stdout))
    has = set(re.findall(r"^int (cu[A-Z]\w+)\(", SOURCE.read_text(), re.MULTILINE))
    rest = folder / "rest.c"
    lacking = sorted(needed - has)
    rest.write_text(
        "".join(f"int {name}(void) {{ return {NOT_SUPPORTED}; }}\n" for name in lacking)
    )
    library = folder / "libcuda.so.1"
    command = [compiler, "-shared", "-O1", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1"]
    command += ["-o", str(library), str(SOURCE), str(rest), "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    rest.unlink()
    return library
