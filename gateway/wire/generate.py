"""Generates the Python wire types from proto/, and tells when they have drifted.

protoc writes `import model_config_pb2`, which only resolves with this folder on the
module path. proto/ keeps its plain import, since the Rust build compiles it with proto/ as
the include path, so the generated import lines are made package-qualified here.

Run from anywhere: `python -m gateway.wire.generate [--check]`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"

# The types stay known to mypy; faults in generated code are nothing that we can repair.
_HEAD = "# mypy: ignore-errors\n# ruff: noqa\n# fmt: off\n"
_PLAIN_IMPORT = re.compile(r"^import (\w+_pb2) as (\w+)$", re.MULTILINE)
_MODULE_NAME = re.compile(r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')(\w+_pb2')")


@dataclass(frozen=True)
class Package:
    """Sources whose generated modules are one Python package. `grpc`: their services' stubs too."""

    name: str
    sources: tuple[str, ...]
    grpc: bool = True

    @property
    def folder(self) -> Path:
        """Where the generated modules are committed."""
        return PROTO.parent.joinpath(*self.name.split("."))


# health.proto is left out: Python callers use grpcio-health-checking's own types, and two
# definitions of one name cannot live in protobuf's default pool.
GATEWAY = Package("gateway.wire", ("feedback.proto", "model_config.proto", "open_inference.proto"))
# The governance service takes its methods from the descriptors, and so do its clients.
GOVERNANCE = Package("governance.wire", ("admin.proto", "governance.proto"), grpc=False)
PACKAGES = (GATEWAY, GOVERNANCE)


class GenerationError(Exception):
    """protoc refused the sources; its own message is on standard error."""


def qualify(text: str, package: str = GATEWAY.name) -> str:
    """Makes a generated module's imports, and the module name of its classes, package-qualified.

    Without the latter the messages could not be pickled, so not sent to another process.
    """
    text = _PLAIN_IMPORT.sub(rf"from {package} import \1 as \2", text)
    return _MODULE_NAME.sub(rf"\g<1>{package}.\2", text)


def generate(out: Path, package: Package = GATEWAY) -> dict[str, str]:
    """Writes the generated modules into `out`.

    Returns:
        File name to text, for every file written.

    Raises:
        GenerationError: protoc failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTO}",
                f"-I{resources.files('grpc_tools') / '_proto'}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                *([f"--grpc_python_out={scratch}"] if package.grpc else []),
                *package.sources,
            ]
        )
        if status != 0:
            raise GenerationError(f"protoc ended with status {status}.")
        texts = {
            p.name: _HEAD + qualify(p.read_text("utf-8"), package.name)
            for p in Path(scratch).iterdir()
        }
    # A source without a service still gets an all but empty gRPC module.
    texts = {n: t for n, t in texts.items() if not (n.endswith("_grpc.py") and "class " not in t)}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, "utf-8")
    return texts


def drift(folder: Path, package: Package = GATEWAY) -> list[str]:
    """Names of generated files in `folder` that differ from what proto/ gives now.

    A file that is missing, or that nothing generates any more, counts as drifted.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch), package)
    present = {p.name: p.read_text("utf-8") for p in folder.glob("*_pb2*.py*")}
    return sorted(n for n in fresh.keys() | present.keys() if fresh.get(n) != present.get(n))


def main(argv: list[str] | None = None) -> int:
    """Generates, or with `--check` compares; returns the exit code (1: drift)."""
    parser = argparse.ArgumentParser(description="Generates the Python wire types from proto/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    if not parser.parse_args(argv).check:
        for package in PACKAGES:
            generate(package.folder, package)
        return 0
    drifted = [name for package in PACKAGES for name in drift(package.folder, package)]
    if drifted:
        sys.stderr.write(
            f"These files differ from what proto/ gives: {', '.join(drifted)}; "
            "run python -m gateway.wire.generate.\n"
        )
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
