"""Makes model directories: graph, contract and manifest under REPOSITORY/NAME/N/."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway import _native
from gateway.runtime import use_onnxruntime

GRAPH = "model.onnx"
CONTRACT = "contract.toml"
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"


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
class Text:
    """The graph takes tokens; callers send text in one BYTES input.

    A text is cut to `max_bytes` bytes at a character, then to `max_tokens` tokens, special ones
    included. `tokenizer` is the file's bytes (Hugging Face's tokenizer.json).
    """

    tokenizer: bytes
    input: str = "text"
    max_tokens: int = 64
    max_bytes: int = 2048
    pad: int = 0


@dataclass(frozen=True)
class Wishes:
    """What a graph does not say of itself.

    Attributes:
        decision: what is decided of a row.
        fallback: for each output the values of one row, answered when a request was shed or late.
        labels: for an output the names of its classes.
        non_finite: "allow" NaN and infinities in float inputs, or "refuse" such requests.
        unbatched: requests share no batches; every shape is that of one request.
        text: how text becomes the graph's tokens.
        string_bytes: of tensors of strings, the most bytes of one string.
        engine: what runs the graph.
        files: further files of the directory, by name: an engine's own, adapters.
    """

    decision: Decision | None = None
    fallback: Mapping[str, Sequence[float]] | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    non_finite: Literal["allow", "refuse"] = "allow"
    unbatched: bool = False
    text: Text | None = None
    string_bytes: int = 256
    engine: str = "onnxruntime"
    files: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> str:
        """The wishes as the data plane reads them."""
        said: dict[str, Any] = {
            "labels": {name: list(labels) for name, labels in self.labels.items()},
            "non_finite": self.non_finite,
            "unbatched": self.unbatched,
            "string_bytes": self.string_bytes,
        }
        if self.decision:
            said["decision"] = asdict(self.decision)
        if self.fallback is not None:
            outputs = {name: list(values) for name, values in self.fallback.items()}
            said["fallback"] = {"outputs": outputs}
        if self.text:
            said["text"] = {
                "input": self.text.input,
                "tokenizer": TOKENIZER,
                "max_tokens": self.text.max_tokens,
                "max_bytes": self.text.max_bytes,
                "pad": self.text.pad,
            }
        return json.dumps(said)


@dataclass(frozen=True)
class Packed:
    """A model directory and whether it was made now or was there already."""

    path: Path
    name: str
    version: int
    digest: str
    new: bool


def pack_graph(
    graph: Path,
    name: str,
    repository: Path,
    decision: Decision | None = None,
    wishes: Wishes | None = None,
) -> Packed:
    """Pack an ONNX graph; its tensors are read from the graph.

    Weights that the graph keeps in files beside it are packed with it. `decision` is short for the
    wish of that name. The directory appears whole or not at all. A model that is in the repository
    already, by digest, keeps its version number.

    Raises:
        PackError: the graph cannot be read or served, does not fit the wishes, or the name is not
            a model's name.

    """
    wishes = wishes or Wishes(decision=decision)
    data = _read(graph)
    use_onnxruntime()
    try:
        weights = {name: _read(_beside(graph, name)) for name in _native.weight_files(data)}
        text = _native.contract_of_graph(data, weights, GRAPH, wishes.to_json())
    except ValueError as error:
        raise PackError(f"{graph}: {error}") from error
    text = text.replace('engine = "onnxruntime"', f'engine = "{wishes.engine}"', 1)
    files = {**wishes.files, **weights, GRAPH: data, CONTRACT: text.encode()}
    if wishes.text:
        files[TOKENIZER] = wishes.text.tokenizer
    return _place(name, repository, files)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error


def _beside(graph: Path, name: str) -> Path:
    """A file of the graph's own folder; a graph may name any file of the machine."""
    if name in (CONTRACT, GRAPH, MANIFEST, TOKENIZER) or Path(name).name != name:
        raise PackError(f"{graph}: weights in '{name}', which is not a file beside the graph")
    return graph.parent / name


def pack_contract(contract: str, name: str, repository: Path) -> Packed:
    """Pack a model without a graph (engines `identity` and `delay`) from its contract's text.

    Raises:
        PackError: the contract does not hold together, or the name is not a model's name.

    """
    return _place(name, repository, {CONTRACT: contract.encode()})


def pack_files(files: Mapping[str, bytes], name: str, repository: Path) -> Packed:
    """Pack the files of a model directory, its contract among them; the manifest is made here.

    Raises:
        PackError: they do not make a model, or the name is not a model's name.

    """
    use_onnxruntime()
    given = {file: data for file, data in files.items() if file != MANIFEST}
    return _place(name, repository, given)


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
