"""Makes model directories: graph, contract and manifest under REPOSITORY/NAME/N/."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway import _native
from gateway.runtime import use_onnxruntime

GRAPH = "model.onnx"
CONTRACT = "contract.toml"


class PackError(ValueError):
    """A model that cannot be packed; the message says why."""


@dataclass(frozen=True)
class Decision:
    """The decision of a row: whether `output[column]` reaches `threshold`.

    `labels` are the names of the two decisions, below the threshold first.
    """

    output: str
    threshold: float
    labels: tuple[str, str]
    column: int = 0


@dataclass(frozen=True)
class Packed:
    """A model directory and whether it was made now or was there already."""

    path: Path
    name: str
    version: int
    digest: str
    new: bool


def pack_graph(
    graph: Path, name: str, repository: Path, decision: Decision | None = None
) -> Packed:
    """Pack an ONNX graph; its tensors are read from the graph.

    The directory appears whole or not at all. A model that is in the repository already, by
    digest, keeps its version number.

    Raises:
        PackError: the graph cannot be read or served, or the name is not a model's name.

    """
    try:
        data = graph.read_bytes()
    except OSError as error:
        raise PackError(f"{graph}: {error.strerror}") from error
    use_onnxruntime()
    try:
        text = _native.contract_of_graph(
            data, GRAPH, json.dumps(asdict(decision)) if decision else None
        )
    except ValueError as error:
        raise PackError(f"{graph}: {error}") from error
    return _place(name, repository, {GRAPH: data, CONTRACT: text.encode()})


def pack_contract(contract: str, name: str, repository: Path) -> Packed:
    """Pack a model without a graph (engines `identity` and `delay`) from its contract's text.

    Raises:
        PackError: the contract does not hold together, or the name is not a model's name.

    """
    return _place(name, repository, {CONTRACT: contract.encode()})


def _place(name: str, repository: Path, files: dict[str, bytes]) -> Packed:
    if not _native.is_model_name(name):
        raise PackError(f"'{name}' is not a model's name: letters, digits, '.', '_' and '-' only")
    home = repository / name
    home.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a server that looks now does not see it; beside its place, so that the
    # rename is atomic.
    aside = Path(tempfile.mkdtemp(prefix=".pack-", dir=repository))
    try:
        for file, data in files.items():
            (aside / file).write_bytes(data)
        digest = _native.seal(aside)
        try:
            _native.verify(aside)
        except ValueError as error:
            raise PackError(str(error)) from error
        versions = {int(p.name): p for p in home.iterdir() if p.name.isdigit()}
        for number, path in versions.items():
            if _digest(path) == digest:
                return Packed(path, name, number, digest, new=False)
        aside.chmod(0o755)
        while True:
            number = max(versions, default=0) + 1
            try:
                os.rename(aside, home / str(number))  # noqa: PTH104 - fails if the target is there
            except OSError:
                if number in versions or not (home / str(number)).exists():
                    raise
                versions[number] = home / str(number)
                continue
            return Packed(home / str(number), name, number, digest, new=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if not any(home.iterdir()):
            home.rmdir()


def _digest(path: Path) -> str | None:
    try:
        found: str = json.loads(_native.verify(path))["digest"]
    except ValueError:
        return None
    return found
