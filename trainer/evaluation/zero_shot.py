"""What the base model knows before it is trained: texts scored by the classes' own words.

    score = sigmoid(SCALE * (cosine(text, words of the class) - cosine(text, the other's words)))

Cosines are of the base encoder's embeddings as published. Only the order of the scores means
something, which is all that AUC looks at.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.encoder import to_onnx
from trainer.errors import InputError
from trainer.examples import Floats
from trainer.inference import feed, same_length, session
from trainer.minilm import Encoder, WeightsError, read_safetensors
from trainer.tokens import encode

SCALE = 12.0
TOKENS, BYTES = 64, 1024
TOKENS_AT_ONCE = 8192


def zero_shot(base: str, words: tuple[str, str], texts: tuple[str, ...]) -> Floats | None:
    """float64 [n]: the base encoder's scores of texts by their first 64 tokens.

    Args:
        base: a Hugging Face directory.
        words: what the other class and the class to be caught are called, or described by.
        texts: n.

    Returns:
        None if the base is no BERT with float32 weights in model.safetensors.

    Raises:
        InputError: its files cannot be read.
    """
    encoder = _encoder(Path(base))
    if encoder is None:
        return None
    opened = session(to_onnx(encoder))

    def embedded(some: tuple[str, ...]) -> npt.NDArray[np.float32]:
        ids = encode(encoder.tokenizer, some, TOKENS, BYTES)
        width = encoder.weights["embeddings.word_embeddings.weight"].shape[1]
        found = np.empty((len(ids), width), np.float32)
        for batch in same_length(ids, TOKENS_AT_ONCE // TOKENS):
            found[batch] = opened.run(None, feed([ids[row] for row in batch]))[0]
        return found

    other, caught = embedded(words)
    gap = (embedded(texts) @ (caught - other)).astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-SCALE * gap)))


def _encoder(base: Path) -> Encoder | None:
    try:
        config = json.loads((base / "config.json").read_text())
        if config.get("model_type") != "bert" or not (base / "model.safetensors").is_file():
            return None
        weights = read_safetensors((base / "model.safetensors").read_bytes())
        tokenizer = (base / "tokenizer.json").read_bytes()
    except (OSError, ValueError, WeightsError) as error:
        raise InputError(f"The base model {base} cannot be read ({error}).") from error
    # A model for a task has its encoder's names with a prefix.
    named = {name.removeprefix("bert."): value for name, value in weights.items()}
    if "embeddings.word_embeddings.weight" not in named:
        return None
    return Encoder(base.name, named, int(config["num_attention_heads"]), tokenizer)
