"""LoRA on a decoder: it reads a dialogue and learns the section's header and text.

    Dialogue: ... \\n Section: HEADER \\n Note: TEXT <end>

Only what follows `Section:` is learnt, and only its positions are scored, so the large product with
the vocabulary is made for them alone. Order and steps follow from the seed; a fit goes on from its
checkpoint as `trainer.specialise.lora` does. LoRA: Hu et al. 2021.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError, TrainError
from trainer.notes.sections import Section
from trainer.notes.settings import Fit
from trainer.specialise.lora import keep, plan, resume

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
IGNORED = -100


@dataclass(frozen=True)
class Told:
    """A section as tokens: what is given, and what is to be said."""

    given: tuple[int, ...]
    said: tuple[int, ...]


class Words:
    """A base model's tokeniser, cut to the recipe's lengths.

    Raises:
        InputError: the folder has none.
    """

    def __init__(self, base: str, fit: Fit) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415

        try:
            self._made = AutoTokenizer.from_pretrained(base)
        except (OSError, ValueError) as error:
            raise InputError(f"The base model {base} has no tokeniser: {error}") from error
        self._fit = fit

    @property
    def end(self) -> int:
        """The token that ends a text, which pads too."""
        found = self._made.eos_token_id
        if found is None:
            raise InputError("The base model's tokeniser has no token that ends a text.")
        return int(found)

    def given(self, section: Section) -> tuple[int, ...]:
        """The dialogue's first tokens, in its frame."""
        dialogue = self._ids(section.dialogue)[: self._fit.dialogue_tokens]
        return (*self._ids("Dialogue: "), *dialogue, *self._ids("\nSection:"))

    def header(self, name: str) -> tuple[int, ...]:
        """A header, with the end of its line: what is compared ends alike."""
        return (*self._ids(f" {name}"), *self._ids("\n"))

    def text(self, section: Section) -> tuple[int, ...]:
        """The text's first tokens; the end only where nothing was cut."""
        ids = self._ids(f"Note: {section.text}")
        cut = ids[: self._fit.text_tokens]
        return cut if len(cut) < len(ids) else (*cut, self.end)

    def told(self, section: Section) -> Told:
        """A section to learn from."""
        return Told(self.given(section), (*self.header(section.header), *self.text(section)))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._made(text, add_special_tokens=False)["input_ids"])


def load(base: str, fit: Fit) -> Any:
    """The base model on the recipe's device, in its type.

    Raises:
        InputError: it is no decoder that can be loaded.
    """
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        made = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, fit.dtype))
    except (OSError, ValueError) as error:
        raise InputError(f"The base model {base} is no decoder: {error}") from error
    return made.to(fit.device).eval()


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
    if fit.gradient_checkpointing:
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
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    last = inner.model(**inputs).last_hidden_state
    asked = wanted != IGNORED
    logits = inner.lm_head(last[asked])
    return torch.nn.functional.cross_entropy(logits.float(), wanted[asked], reduction="none")


def learn(
    base: Any,
    words: Words,
    sections: Sequence[Section],
    fit: Fit,
    seed: int,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Any:
    """The base model with a fitted adapter, from the last checkpoint if there is one.

    Raises:
        TrainError: the loss is not finite any more.
    """
    import torch  # noqa: PLC0415

    rows = [words.told(one) for one in sections]
    lengths = np.array([len(row.given) + len(row.said) for row in rows], np.int64)
    batches = plan(
        lengths, np.arange(len(rows)), {"batch": fit.batch, "epochs": fit.epochs}, seed
    ).steps
    model = adapted(base, fit, seed)
    learning = [w for w in model.parameters() if w.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=fit.rate, weight_decay=0.01)
    total = len(batches)
    warm = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, (total - s) / max(total - warm, 1))
    )
    begin = resume(checkpoint, model, optimiser, schedule)
    model.train()
    for number in range(begin, total):
        torch.manual_seed(seed * 1_000_003 + number)
        loss = losses(model, [rows[i] for i in batches[number]], words.end, fit.device).mean()
        if not torch.isfinite(loss):
            raise TrainError(f"The fit diverged: the loss of step {number} is not finite.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if checkpoint is not None and (number + 1) % fit.checkpoint_steps == 0:
            keep(checkpoint, model, optimiser, schedule, number + 1)
        say(f"step {number + 1} of {total}, {loss.item():.3f} nats a token")
    return model.eval()
