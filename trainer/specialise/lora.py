"""LoRA on a text encoder, by peft: few weights learn, and the graph that is served has them merged.

    embedding = mean of the last layer over the tokens that the mask keeps, scaled to length 1
    score = sigmoid(SCALE * embedding · w + b)

Batches hold texts of like length, in an order that follows from the seed; each step sets the random
generator from seed and number, so a fit that goes on from its checkpoint ends as one that was never
broken off. Scores of training cases come from one fit that leaves a fold out; other cases have NaN.
LoRA: Hu et al. 2021.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.encoder import Head, to_onnx
from trainer.errors import InputError, TrainError
from trainer.examples import Floats
from trainer.minilm import Encoder
from trainer.specialise.bases import tokenizer_of
from trainer.specialise.methods import Method, Parameters, Task
from trainer.specialise.model import Fitted, Model
from trainer.specialise.walk import CHECKPOINT, Way, walk
from trainer.tokens import Ids, bare, encode

# An embedding has length 1, and a logit has to reach further than 1.
SCALE = 12.0
# Between torch's scores and the merged graph's.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Plan:
    """The batches of a fit: for each step the row numbers."""

    steps: tuple[npt.NDArray[np.int64], ...]


def plan(
    lengths: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], p: Parameters, seed: int
) -> Plan:
    """Batches of like length: rows are shuffled, sorted within stretches of 32 batches, shuffled.

    Args:
        lengths: int64 [n], tokens of every case.
        rows: which cases are fitted on.
        p: `batch` and `epochs`.
        seed: of the order.
    """
    random, size = np.random.default_rng(seed), int(p["batch"])
    found: list[npt.NDArray[np.int64]] = []
    for _ in range(int(p["epochs"])):
        order = random.permutation(rows)
        for at in range(0, len(order), 32 * size):
            stretch = order[at : at + 32 * size]
            stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
            batches = [stretch[i : i + size] for i in range(0, len(stretch), size)]
            found += [batches[i] for i in random.permutation(len(batches))]
    return Plan(tuple(found))


def network(base: str, p: Parameters, seed: int) -> Any:
    """The encoder with LoRA on its attention, and a head; torch's module.

    Raises:
        InputError: the base model is none that can be exported.
    """
    import torch  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415

    config = AutoConfig.from_pretrained(base)
    if config.model_type != "bert":
        raise InputError(
            f"The base model is of the type {config.model_type!r}, but only 'bert' is exported."
        )
    torch.manual_seed(seed)
    encoder = AutoModel.from_pretrained(base, add_pooling_layer=False, dtype=torch.float32)
    rank = int(p["rank"])
    adapter = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=p["dropout"],
        target_modules=["query", "key", "value", "dense"] if p["wide"] else ["query", "value"],
    )
    return _module(get_peft_model(encoder, adapter), config.hidden_size)


def _module(encoder: Any, width: int) -> Any:
    import torch  # noqa: PLC0415

    class Scorer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.head = torch.nn.Linear(width, 1)
            torch.nn.init.zeros_(self.head.weight)
            torch.nn.init.zeros_(self.head.bias)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            last = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
            kept = attention_mask.unsqueeze(-1).to(last.dtype)
            mean = (last * kept).sum(1) / kept.sum(1)
            unit = torch.nn.functional.normalize(mean, dim=1)
            return self.head(SCALE * unit)[:, 0]

    return Scorer()


def batch_of(ids: list[Ids], rows: npt.NDArray[np.int64], device: str) -> dict[str, Any]:
    """`input_ids` and `attention_mask` of some texts, padded on the right to the longest."""
    import torch  # noqa: PLC0415

    width = max(len(ids[row]) for row in rows)
    padded = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        padded[at, : len(ids[row])], mask[at, : len(ids[row])] = ids[row], 1
    named = {"input_ids": padded, "attention_mask": mask}
    return {name: torch.from_numpy(v).to(device) for name, v in named.items()}


def learn(
    task: Task, ids: list[Ids], steps: Plan, name: str, done: Callable[[int], None] | None = None
) -> Any:
    """Fit, from the last checkpoint if there is one; the module.

    Args:
        task: what is asked for.
        ids: every case's tokens.
        steps: the batches.
        name: of the checkpoint.
        done: is told the number of each step when it is over.

    Raises:
        TrainError: the loss is not finite any more.
    """
    import torch  # noqa: PLC0415

    p, device, peers = task.parameters, task.device, task.peers
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = network(task.base, p, task.seed).to(device)
    if p["checkpointing"]:
        model.encoder.gradient_checkpointing_enable()
    optimiser = torch.optim.AdamW(
        [
            {"params": [w for w in model.encoder.parameters() if w.requires_grad], "lr": p["rate"]},
            {"params": list(model.head.parameters()), "lr": 10 * p["rate"]},
        ],
        weight_decay=0.01,
    )
    y = torch.from_numpy(task.train.y.astype(np.float32)).to(device)
    weights = torch.from_numpy(task.weights.astype(np.float32)).to(device)
    half = torch.bfloat16 if p["bf16"] else None

    def loss(number: int) -> Any:
        batch = steps.steps[number]
        rows = peers.part(batch)
        if not len(rows):
            return None
        with torch.autocast(device, dtype=half, enabled=half is not None):
            logits = model(**batch_of(ids, rows, device))
        return torch.nn.functional.binary_cross_entropy_with_logits(
            logits.float(), y[rows], weight=weights[rows], reduction="sum"
        ) / len(batch)

    kept = Path(task.checkpoint) / f"{name}-{CHECKPOINT}" if task.checkpoint else None
    every = int(p["checkpoint_steps"])
    way = Way(len(steps.steps), task.seed, device, peers, kept, every)
    walk(model, optimiser, way, loss, done)
    return model.eval()


def scores(model: Any, ids: list[Ids], rows: npt.NDArray[np.int64], device: str) -> Floats:
    """float64 [len(rows)]: torch's own scores."""
    import torch  # noqa: PLC0415

    found = np.empty(len(rows))
    order = np.argsort([len(ids[row]) for row in rows], kind="stable")
    with torch.no_grad():
        for at in range(0, len(rows), 32):
            places = order[at : at + 32]
            logits = model(**batch_of(ids, rows[places], device))
            found[places] = torch.sigmoid(logits).float().cpu().numpy()
    return found


def merged(model: Any, tokenizer: bytes, heads: int) -> tuple[Encoder, Head]:
    """The encoder with the adapter in its weights, and the head."""
    whole = model.encoder.merge_and_unload()
    weights = {
        name: tensor.detach().float().cpu().numpy() for name, tensor in whole.state_dict().items()
    }
    head = Head(
        (SCALE * model.head.weight.detach().float().cpu().numpy()).T.copy(),
        model.head.bias.detach().float().cpu().numpy(),
    )
    return Encoder("merged", weights, heads, tokenizer), head


def left_out(n: int, folds: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """The rows to fit on, and the fold that is left out: a fifth, or less with more folds."""
    order = np.random.default_rng(seed).permutation(n)
    out = np.sort(order[: max(n // max(folds, 5), 1)])
    yield np.setdiff1d(np.arange(n), out), out


def fit(task: Task) -> Fitted:
    """One fit that leaves a fold out, one on all cases; merged, exported, compared.

    Raises:
        InputError: no base model.
        TrainError: it diverged, or the graph does not compute what torch does.
    """
    p = task.parameters
    tokenizer = tokenizer_of(task.base)
    limits = int(p["max_tokens"]), 8 * int(p["max_tokens"])
    ids = encode(tokenizer, task.train.texts, *limits)
    lengths = np.array([len(one) for one in ids], np.int64)
    n = len(ids)
    found = np.full(n, np.nan)
    for rows, out in left_out(n, task.folds, task.seed):
        part = learn(task, ids, plan(lengths, rows, p, task.seed), "fold")
        found[out] = scores(part, ids, out, task.device)
    whole = learn(task, ids, plan(lengths, np.arange(n), p, task.seed), "whole")
    some = np.arange(min(n, 256))
    expected = scores(whole, ids, some, task.device)
    heads = int(whole.encoder.config.num_attention_heads)
    encoder, head = merged(whole, tokenizer, heads)
    model = Model(to_onnx(encoder, head), bare(tokenizer), *limits)
    difference = float(np.max(np.abs(expected - model.scores(task.train.take(some)))))
    if difference > TOLERANCE:
        raise TrainError(
            f"The merged graph's scores are up to {difference:.2g} from torch's, but "
            f"{TOLERANCE:g} is the most that float32 explains."
        )
    return Fitted(
        model, found, difference, f"LoRA of rank {int(p['rank'])} on {Path(task.base).name}"
    )


TEXT_LORA = Method(
    fit=fit,
    first={
        "rank": 8,
        "wide": 0,
        "dropout": 0.05,
        "rate": 5e-4,
        "epochs": 2,
        "batch": 16,
        "max_tokens": 128,
        "checkpoint_steps": 50,
        "checkpointing": 0,
        "bf16": 0,
    },
    ranges={"rate": (2e-4, 1e-3, "log"), "rank": (4, 16, "whole")},
    texts=True,
    torch=True,
)
