"""Texts to tokens by one rule, which the gateway's data plane follows to the letter.

A text is first cut to `max_bytes` bytes of UTF-8, at the last character that ends within them;
then tokenised with the tokeniser's own special tokens; then cut to `max_tokens` tokens, the
special ones included. Nothing is padded here: rows are padded where they are put in a batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

MAX_TOKENS = 64
MAX_BYTES = 2048

Ids = npt.NDArray[np.int64]


def cut(text: str, max_bytes: int) -> str:
    """The longest prefix of whole characters (code points) of at most `max_bytes` bytes of UTF-8.

    Raises:
        UnicodeEncodeError: `text` holds half of a surrogate pair, so it has no UTF-8.
    """
    data = text.encode("utf-8")
    # A character that the cut went through is not whole: it is the only thing ignored.
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore")


def bare(tokenizer: bytes) -> bytes:
    """A tokenizer.json without padding and truncation of its own, in one form for one content.

    Raises:
        ValueError: not a JSON object.
    """
    told = json.loads(tokenizer)
    if not isinstance(told, dict):
        raise ValueError("A tokenizer.json must be a JSON object.")
    told |= {"padding": None, "truncation": None}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def encode(
    tokenizer: bytes,
    texts: Sequence[str],
    max_tokens: int = MAX_TOKENS,
    max_bytes: int = MAX_BYTES,
) -> list[Ids]:
    """Each text's tokens, int64 [at least the special ones, at most `max_tokens`].

    Args:
        tokenizer: a tokenizer.json; its own padding and truncation do not count.
        texts: any, the empty one too.
        max_tokens: special tokens ([CLS] and [SEP] for BERT) included.
        max_bytes: of UTF-8, before tokenising.
    """
    reader = Tokenizer.from_str(bare(tokenizer).decode("utf-8"))
    reader.enable_truncation(max_tokens)
    encoded = reader.encode_batch([cut(text, max_bytes) for text in texts])
    return [np.array(one.ids, dtype=np.int64) for one in encoded]
