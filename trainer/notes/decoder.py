"""LoRA on a decoder: it reads a dialogue and learns the section's header and text.

    Dialogue: ... \\n Section: HEADER \\n Note: TEXT <end>
    loss = w * mean over the headers' tokens of nats + (1 - w) * mean over the texts' tokens

Only what follows `Section:` is learnt, and only its positions are scored, so the large product with
the vocabulary is made for them alone. Both means are over a batch: a header is three tokens beside
dozens of a text, and would count for little in one mean over all. LoRA: Hu et al. 2021.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError
from trainer.examples import Floats, Index
from trainer.notes.sections import Section
from trainer.notes.settings import Fit
from trainer.specialise.lora import plan
from trainer.specialise.peers import ALONE, Peers
from trainer.specialise.walk import Way, walk

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
IGNORED = -100


@dataclass(frozen=True)
class Told:
    """A section as tokens: what is given, and what is to be said: a header, then a text."""

    given: tuple[int, ...]
    header: tuple[int, ...]
    text: tuple[int, ...]

    @property
    def said(self) -> tuple[int, ...]:
        """All that is to be said."""
        return (*self.header, *self.text)


class Words:
    """A base model's tokeniser, cut to so many tokens of a dialogue and of a text.

    Raises:
        InputError: the folder has none.
    """

    def __init__(self, base: str, max_tokens: int, text_tokens: int) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415

        try:
            self._made = AutoTokenizer.from_pretrained(base)
        except (OSError, ValueError) as error:
            raise InputError(f"The base model {base} has no tokeniser: {error}") from error
        self._limits = max_tokens, text_tokens

    @property
    def end(self) -> int:
        """The token that ends a text, which pads too."""
        found = self._made.eos_token_id
        if found is None:
            raise InputError("The base model's tokeniser has no token that ends a text.")
        return int(found)

    @property
    def known(self) -> int:
        """How many tokens there are."""
        return len(self._made)

    def given(self, section: Section) -> tuple[int, ...]:
        """The dialogue's first tokens, in its frame."""
        dialogue = self._ids(section.dialogue)[: self._limits[0]]
        return (*self._ids("Dialogue: "), *dialogue, *self._ids("\nSection:"))

    def header(self, name: str) -> tuple[int, ...]:
        """A header, with the end of its line: what is compared ends alike."""
        return (*self._ids(f" {name}"), *self._ids("\n"))

    def text(self, section: Section) -> tuple[int, ...]:
        """The text's first tokens; the end only where nothing was cut."""
        ids = self._ids(f"Note: {section.text}")
        cut = ids[: self._limits[1]]
        return cut if len(cut) < len(ids) else (*cut, self.end)

    def told(self, section: Section) -> Told:
        """A section to learn from."""
        return Told(self.given(section), self.header(section.header), self.text(section))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._made(text, add_special_tokens=False)["input_ids"])


def load(base: str, device: str, dtype: str) -> Any:
    """The base model on a device, its weights in a type of torch's.

    Raises:
        InputError: it is no decoder that can be loaded.
    """
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    logging.disable_progress_bar()
    try:
        made = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise InputError(f"The base model {base} is no decoder: {error}") from error
    return made.to(device).eval()


def adapted(base: Any, fit: Fit, seed: int) -> Any:
    """The same model with an adapter, to be fitted.

    Raises:
        InputError: it has none of the layers that an adapter goes on.
    """
    import torch  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415

    torch.manual_seed(seed)
    adapter = LoraConfig(r=fit.rank, lora_alpha=2 * fit.rank, target_modules=TARGETS)
    try:
        made = get_peft_model(base, adapter)
    except ValueError as error:
        raise InputError(f"The base model takes no adapter: {error}") from error
    if fit.checkpointing:
        made.gradient_checkpointing_enable()
        # Nothing in front of the first adapter learns, and a layer that is computed again has to
        # see that something behind it does.
        made.enable_input_require_grads()
    return made


def padded(rows: Sequence[Told], pad: int, device: str) -> tuple[dict[str, Any], Any]:
    """Inputs, and int64 [n, t] of what each position has to say next, `IGNORED` where nothing."""
    import torch  # noqa: PLC0415

    width = max(len(row.given) + len(row.said) for row in rows)
    ids = np.full((len(rows), width), pad, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    wanted = np.full((len(rows), width), IGNORED, np.int64)
    for at, row in enumerate(rows):
        whole = (*row.given, *row.said)
        ids[at, : len(whole)], mask[at, : len(whole)] = whole, 1
        wanted[at, len(row.given) - 1 : len(whole) - 1] = row.said
    held = {"input_ids": ids, "attention_mask": mask}
    return (
        {name: torch.from_numpy(v).to(device) for name, v in held.items()},
        torch.from_numpy(wanted).to(device),
    )


def losses(model: Any, rows: Sequence[Told], pad: int, device: str) -> Any:
    """float32 [m]: nats of every token that is to be said, row after row."""
    import torch  # noqa: PLC0415

    inputs, wanted = padded(rows, pad, device)
    inner = bare(model)
    last = inner.model(**inputs).last_hidden_state
    asked = wanted != IGNORED
    logits = inner.lm_head(last[asked])
    return torch.nn.functional.cross_entropy(logits.float(), wanted[asked], reduction="none")


def bare(model: Any) -> Any:
    """The decoder inside of an adapted model, with what is adapted in it; or the decoder itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def shares(rows: Sequence[Told], batch: Sequence[Told], weights: Floats, header: float) -> Floats:
    """float64 [m]: by how much each token of `rows` counts in the loss of the whole batch.

    Args:
        rows: of the batch, those whose tokens they are.
        batch: all of it; both means are over its tokens.
        weights: float64, how much each of `rows` counts.
        header: the weight of the headers' mean.
    """
    headers, texts = (
        sum(len(part) for part in parts)
        for parts in zip(*((row.header, row.text) for row in batch), strict=True)
    )
    one = [
        np.repeat(
            [w * header / headers, w * (1 - header) / texts], [len(row.header), len(row.text)]
        )
        for row, w in zip(rows, weights, strict=True)
    ]
    return np.concatenate(one)


def learn(
    base: Any,
    rows: Sequence[Told],
    weights: Floats,
    pad: int,
    fit: Fit,
    seed: int,
    *,
    checkpoint: Path | None = None,
    peers: Peers = ALONE,
    say: Callable[[str], None] = lambda _text: None,
) -> Any:
    """The base model with a fitted adapter, from the last checkpoint if there is one.

    Args:
        base: from `load`.
        rows: n sections.
        weights: float64 [n], how much each counts.
        pad: the token that pads.
        fit: how.
        seed: of the adapter's first weights and the order.
        checkpoint: a file.
        peers: this worker among those that fit together.
        say: is told of each step.

    Raises:
        TrainError: the loss is not finite any more.
    """
    import torch  # noqa: PLC0415

    lengths: Index = np.array([len(row.given) + len(row.said) for row in rows], np.int64)
    how = {"batch": fit.batch, "epochs": fit.epochs}
    batches = plan(lengths, np.arange(len(rows)), how, seed).steps
    model = adapted(base, fit, seed)
    learning = [w for w in model.parameters() if w.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=fit.rate, weight_decay=0.01)
    way = Way(len(batches), seed, fit.device, peers, checkpoint, fit.checkpoint_steps)

    def loss(number: int) -> Any:
        own = peers.part(batches[number])
        if not len(own):
            return None
        some = [rows[i] for i in own]
        counts = shares(some, [rows[i] for i in batches[number]], weights[own], fit.header_weight)
        nats = losses(model, some, pad, fit.device)
        return (nats * torch.from_numpy(counts.astype(np.float32)).to(fit.device)).sum()

    walk(model, optimiser, way, loss, lambda step: say(f"step {step + 1} of {way.steps}"))
    return model.eval()
