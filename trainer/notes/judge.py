"""How a decoder does on sections that it has not seen: the header it names, the text it expects.

The header named is the one whose tokens are likeliest after the dialogue (the sum of their
logarithms; every header ends with its line). Texts are judged by nats a token of the text as a
clinician wrote it, given its true header: lower is better, and exp of it is the perplexity.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from trainer.evaluation.bounds import Bound
from trainer.notes.decoder import Words
from trainer.notes.sections import Section

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """A model's answers on n sections.

    Attributes:
        named: the header that it names.
        nats: float64 [n], of the text's tokens together.
        tokens: float64 [n], how many they are.
    """

    named: tuple[str, ...]
    nats: Floats
    tokens: Floats


def judged(
    model: Any,
    words: Words,
    sections: Sequence[Section],
    headers: Sequence[str],
    device: str,
    say: Callable[[str], None] = lambda _text: None,
) -> Judged:
    """Ask a model. The dialogue is read once; headers and text go on from there."""
    model.eval()
    options = [words.header(name) for name in headers]
    named, nats, tokens = [], [], []
    for number, one in enumerate(sections, 1):
        say(f"section {number} of {len(sections)}")
        text = words.text(one)
        said = [*options, (*words.header(one.header), *text)]
        found = after(model, words.given(one), said, words.end, device)
        named.append(headers[int(np.argmax([float(f.sum()) for f in found[:-1]]))])
        nats.append(-float(found[-1][-len(text) :].sum()))
        tokens.append(len(text))
    return Judged(tuple(named), np.array(nats), np.array(tokens, np.float64))


def after(
    model: Any, given: tuple[int, ...], said: Sequence[tuple[int, ...]], pad: int, device: str
) -> list[Floats]:
    """For each continuation float64 [tokens]: the logarithm of each token's probability."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        read = model(input_ids=torch.tensor([given], device=device), use_cache=True)
        first = read.logits[0, -1].float().log_softmax(-1)
        # The short ones together, and the last, which is long, alone: padding would be most of it.
        known = copy.deepcopy(read.past_key_values), read.past_key_values
        groups = zip((said[:-1], said[-1:]), known, strict=True)
        return [one for group, k in groups for one in _group(model, k, first, group, pad, device)]


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


def tf_idf(train: Sequence[Section], test: Sequence[Section]) -> tuple[str, ...]:
    """The header that a weighed bag of words names."""
    made = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    x = made.fit_transform([one.dialogue for one in train])
    fitted = LogisticRegression(C=10.0, max_iter=500).fit(x, [one.header for one in train])
    return tuple(fitted.predict(made.transform([one.dialogue for one in test])))


def accuracy(right: npt.NDArray[np.bool_], resamples: int, level: float, seed: int) -> Bound:
    """The share of right headers, with the bootstrap's interval over sections."""
    return mean(right.astype(np.float64), np.ones(len(right)), resamples, level, seed)


def mean(x: Floats, of: Floats, resamples: int, level: float, seed: int) -> Bound:
    """sum(x) / sum(of) with the bootstrap's interval over sections."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = random.integers(0, len(x), len(x))
        drawn.append(float(x[rows].sum() / of[rows].sum()))
    value = float(x.sum() / of.sum())
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Bound(value, min(float(low), value), max(float(high), value))
