"""How a decoder does on sections that it has not seen: the header it names, the text it expects.

The header named is the one whose tokens are likeliest after the dialogue (the sum of their
logarithms; every header ends with its line). Texts are judged by nats a token of the text as a
clinician wrote it, given its true header: lower is better, and exp of it is the perplexity.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp

from trainer.evaluation.metrics import Answer
from trainer.examples import Floats
from trainer.notes.decoder import Words, bare
from trainer.notes.sections import Section


def answers(
    model: Any,
    words: Words,
    sections: Sequence[Section],
    headers: Sequence[str],
    critical: Collection[str],
    device: str,
    say: Callable[[str], None] = lambda _text: None,
) -> Floats:
    """float64 [n, 5], see `Answer`. The dialogue is read once; headers and text go on from there.

    Args:
        model: a decoder, adapted or not.
        words: its tokeniser.
        sections: n.
        headers: at least two that can be named.
        critical: those of them that must not be missed.
        device: the model's.
        say: is told of each section.
    """
    model.eval()
    options = [words.header(name) for name in headers]
    found = np.empty((len(sections), len(Answer)))
    for row, one in enumerate(sections):
        say(f"section {row + 1} of {len(sections)}")
        text = words.text(one)
        said = [*options, (*words.header(one.header), *text)]
        told = after(model, words.given(one), said, words.end, device)
        nats = -float(told[-1][-len(text) :].sum())
        chances = np.array([float(t.sum()) for t in told[:-1]])
        found[row] = (*named(chances, headers, critical, one.header), nats, len(text))
    return found


def named(
    chances: Floats, headers: Sequence[str], critical: Collection[str], true: str
) -> tuple[float, float, float]:
    """`Answer`'s first three columns.

    Args:
        chances: float64 [h], the logarithm of each header's chance but for a constant.
        headers: h.
        critical: those of them that must not be missed.
        true: the right one.
    """
    best = int(np.argmax(chances))
    others = np.delete(chances, best)
    shares = np.exp(chances - logsumexp(chances))
    looks = float(sum(shares[i] for i, name in enumerate(headers) if name in critical))
    return float(headers[best] == true), float(chances[best] - others.max()), looks


def after(
    model: Any, given: tuple[int, ...], said: Sequence[tuple[int, ...]], pad: int, device: str
) -> list[Floats]:
    """For each continuation float64 [tokens]: the logarithm of each token's probability."""
    import torch  # noqa: PLC0415

    inner = bare(model)
    with torch.no_grad():
        read = inner.model(input_ids=torch.tensor([given], device=device), use_cache=True)
        first = inner.lm_head(read.last_hidden_state[0, -1]).float().log_softmax(-1)
        # The short ones together, and the last, which is long, alone: padding would be most of it.
        known = copy.deepcopy(read.past_key_values), read.past_key_values
        groups = zip((said[:-1], said[-1:]), known, strict=True)
        return [one for group, k in groups for one in _group(inner, k, first, group, pad, device)]


def _group(
    model: Any, known: Any, first: Any, said: Sequence[tuple[int, ...]], pad: int, device: str
) -> Iterator[Floats]:
    """Continuations of equal standing, from keys and values that are known and are used up."""
    import torch  # noqa: PLC0415

    width = max(len(one) for one in said) - 1
    if not width:
        yield from (np.array([float(first[one[0]])]) for one in said)
        return
    known.batch_repeat_interleave(len(said))
    ids = np.full((len(said), width), pad, np.int64)
    for at, one in enumerate(said):
        ids[at, : len(one) - 1] = one[:-1]
    told = model(input_ids=torch.from_numpy(ids).to(device), past_key_values=known, use_cache=True)
    found = told.logits.float().log_softmax(-1)
    for at, one in enumerate(said):
        later = found[at, range(len(one) - 1), list(one[1:])].double().cpu().numpy()
        yield np.concatenate([[float(first[one[0]])], later])
