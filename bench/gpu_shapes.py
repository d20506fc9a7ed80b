"""The models that a GPU is timed with: a tabular network, a text encoder, decoders as classifiers.

Decoders have random weights, which is the same to a clock. Their sizes are those of common open
models of half a billion and of four billion parameters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench import models
from bench.gpu_decoder import LARGE, SMALL, TINY, Decoder, write_decoder
from gateway.engines import Bucket, Model, Tensor
from trainer.encoder import IDS, MASK, Head, to_onnx
from trainer.fused import to_fused_onnx
from trainer.half import FLOAT16
from trainer.minilm import HEADS, Encoder, load_encoder

SCORE = (Tensor("score", "FP32", (-1, 1)),)
GRAPH = "model.onnx"
# Of a row, where callers send tokens.
TOKENS = 32
ENCODER, TOKENIZER = "encoder.npz", "tokenizer.json"


class Folder(Mapping[str, bytes]):
    """A folder's files by name, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> bytes:
        """The file's bytes."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise KeyError(name) from error

    def __contains__(self, name: object) -> bool:
        """Whether there is such a file; without reading it."""
        return (self.path / str(name)).is_file()

    def __iter__(self) -> Iterator[str]:
        """Names of the files."""
        return (each.name for each in self.path.iterdir())

    def __len__(self) -> int:
        """How many files."""
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Shape:
    """A model to time.

    Attributes:
        name: for people.
        inputs: tensors of the graph.
        plain: folder with model.onnx in ONNX's own operators.
        fused: the same network as ONNX Runtime runs it best; `plain` where that is the same.
        largest: rows and tokens of the largest batch.
        weight_bytes: what every batch reads of the device's memory at least.
        tokenizer: of a model that callers send texts.
        lengths: tokens of a row, where rows are texts.

    """

    name: str
    inputs: tuple[Tensor, ...]
    plain: Path
    fused: Path
    largest: Bucket
    weight_bytes: int
    tokenizer: bytes | None = None
    lengths: tuple[int, ...] = (1,)

    def folder(self, engine: str) -> Path:
        """Where the graph lies that this engine runs."""
        return self.plain if engine == "tensorrt" else self.fused

    def model(self, engine: str) -> Model:
        """What this engine runs."""
        return Model(self.inputs, SCORE, Folder(self.folder(engine)), GRAPH)


DECODERS = (("decoder-tiny", TINY, 8), ("decoder-0.5b", SMALL, 8), ("decoder-4b", LARGE, 8))


def write_encoder(folder: Path) -> None:
    """Write the encoder's weights in float16, and its tokenizer, for a machine without a network.

    Raises:
        FetchError: the published weights are not cached and cannot be fetched.

    """
    encoder = load_encoder()
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: value.astype(np.float16) for name, value in encoder.weights.items()}
    np.savez(folder / ENCODER, allow_pickle=False, **halves)
    (folder / TOKENIZER).write_bytes(encoder.tokenizer)


def _read_encoder(folder: Path) -> Encoder:
    with np.load(folder / ENCODER) as held:
        weights = {name: held[name].astype(np.float32) for name in held}
    return Encoder("all-MiniLM-L6-v2", weights, HEADS, (folder / TOKENIZER).read_bytes())


def shapes(names: tuple[str, ...], folder: Path, prepared: Path | None) -> Iterator[Shape]:
    """The shapes of these names: tabular, encoder, encoder-tokens, decoder-tiny, -0.5b, -4b.

    `folder` is for their graphs; `prepared` holds what `write_encoder` wrote elsewhere.

    Raises:
        FetchError: the encoder's weights are nowhere.
        OSError: `prepared` has no encoder.

    """
    if "tabular" in names:
        graph = models.perceptron().SerializeToString()
        place = _place(folder, "tabular", graph)
        features = (Tensor("features", "FP32", (-1, models.FEATURES)),)
        yield Shape("tabular", features, place, place, Bucket(64), len(graph))
    if not {"encoder", "encoder-tokens"}.isdisjoint(names):
        if prepared is None:
            prepared = folder / "prepared"
            write_encoder(prepared)
        encoder = _read_encoder(prepared)
        yield from (
            _encoder(encoder, n, folder / n) for n in ("encoder", "encoder-tokens") if n in names
        )
    for name, size, rows in DECODERS:
        if name in names:
            yield _decoder(name, size, rows, folder / name)


def _place(folder: Path, name: str, graph: bytes) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / GRAPH).write_bytes(graph)
    return place


def _encoder(encoder: Encoder, name: str, folder: Path) -> Shape:
    """From texts, each row as long as its text; or from tokens, TOKENS a row."""
    width = encoder.weights["embeddings.word_embeddings.weight"].shape[1]
    weight = np.random.default_rng(0).standard_normal((width, 1)).astype(np.float32)
    head = Head(weight, np.zeros(1, np.float32))
    plain, fused = to_onnx(encoder, head, FLOAT16), to_fused_onnx(encoder, head)
    texts = name == "encoder"
    places = []
    for spelling, graph in (("plain", plain), ("fused", fused)):
        place = _place(folder, spelling, graph if texts else _of_length(graph, TOKENS))
        (place / "contract.toml").write_text(f'[text]\nmask = "{MASK}"\n')
        places.append(place)
    one, other = places
    length, lengths = (-1, (16, 32, 64, 128)) if texts else (TOKENS, (TOKENS,))
    inputs = tuple(Tensor(n, "INT64", (-1, length)) for n in (IDS, MASK))
    most = Bucket(64, lengths[-1])
    tokenizer = encoder.tokenizer if texts else None
    return Shape(name, inputs, one, other, most, len(plain), tokenizer, lengths)


def _of_length(graph: bytes, tokens: int) -> bytes:
    """The graph with a fixed number of tokens a row, as callers who send tokens need it."""
    model = onnx.load_from_string(graph)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = tokens
    fixed: bytes = model.SerializeToString()
    return fixed


def _decoder(name: str, size: Decoder, rows: int, folder: Path) -> Shape:
    for spelling in ("plain", "fused"):
        (folder / spelling).mkdir(parents=True)
        write_decoder(size, spelling, folder / spelling)
    ids = (Tensor("input_ids", "INT64", (-1, size.length)),)
    plain, fused = folder / "plain", folder / "fused"
    return Shape(name, ids, plain, fused, Bucket(rows), 2 * size.parameters)
