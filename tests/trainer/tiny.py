"""A tiny encoder with random weights, its tokeniser and texts: what several tests fit and run."""

from __future__ import annotations

import json

import numpy as np

from trainer.datasets import Split
from trainer.minilm import Encoder, Tensor
from trainer.quality import Costs
from trainer.texts import TextDataset

WIDTH, INNER, HEADS, LAYERS, PLACES = 16, 32, 4, 2, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
CALM = ("tea", "bread", "garden", "bicycle", "rain")
LOUD = ("siren", "thunder", "drum")
WORDS = (*SPECIAL, *CALM, *LOUD, "##s", "é")


def weights(seed: int = 5) -> dict[str, Tensor]:
    """Random weights by the names of BERT's."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> Tensor:
        return random.normal(0, 1 / np.sqrt(shape[-1]), shape).astype(np.float32)

    def pair(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        bias = random.normal(0, 0.1, rows).astype(np.float32)
        return {f"{name}.weight": matrix(rows, columns), f"{name}.bias": bias}

    def normal(name: str) -> dict[str, Tensor]:
        scale = random.uniform(0.5, 1.5, WIDTH).astype(np.float32)
        return {f"{name}.weight": scale, f"{name}.bias": matrix(WIDTH)}

    found = {
        "embeddings.word_embeddings.weight": matrix(len(WORDS), WIDTH) * 4,
        "embeddings.position_embeddings.weight": matrix(PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": matrix(2, WIDTH),
        **normal("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            found |= pair(f"{name}.attention.{part}", WIDTH, WIDTH)
        found |= pair(f"{name}.intermediate.dense", INNER, WIDTH)
        found |= pair(f"{name}.output.dense", WIDTH, INNER)
        found |= normal(f"{name}.attention.output.LayerNorm") | normal(f"{name}.output.LayerNorm")
    return found


def tokenizer() -> bytes:
    """A WordPiece tokenizer.json that pads to 12 and cuts to 6, as published ones do."""
    ids = {word: number for number, word in enumerate(WORDS)}
    special = [
        {
            "id": ids[word],
            "content": word,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for word in SPECIAL
    ]
    begin, end = ({"SpecialToken": {"id": word, "type_id": 0}} for word in ("[CLS]", "[SEP]"))
    text = {"Sequence": {"id": "A", "type_id": 0}}
    told = {
        "version": "1.0",
        "truncation": {
            "max_length": 6,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 12},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": False,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text, end],
            "pair": [begin, text, end],
            "special_tokens": {
                word: {"id": word, "ids": [ids[word]], "tokens": [word]}
                for word in ("[CLS]", "[SEP]")
            },
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }
    return json.dumps(told).encode()


def encoder() -> Encoder:
    """The tiny encoder."""
    return Encoder("tiny", weights(), HEADS, tokenizer())


def dataset(train: int = 160, held_out: int = 60) -> TextDataset:
    """Texts of 1 to 12 words; those that hold a loud word are the class to catch."""
    random = np.random.default_rng(11)
    count = train + held_out
    y = (random.uniform(size=count) < 0.4).astype(np.int8)
    texts = []
    for loud in y:
        words = list(random.choice(CALM, random.integers(1, 10)))
        words += list(random.choice(LOUD, 2)) if loud else []
        texts.append(" ".join(random.permutation(words)))
    numbers = np.arange(count, dtype=np.int64)
    parts = Split(numbers[:train], numbers[train:])
    return TextDataset("tiny", tuple(texts), y, ("calm", "loud"), Costs(4.0, 1.0), parts)
