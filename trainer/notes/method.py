"""`decoder_lora`: a candidate that names sections' headers and says their texts.

A fold of the training cases is left out, and the candidate is the fit that did not see it: a second
fit on all of them would cost as much again and have no figures of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.errors import TrainError
from trainer.evaluation.metrics import Answer
from trainer.notes import decoder, judge
from trainer.notes import sections as notes
from trainer.notes.adapter import Adapter, about, adapt, files_of
from trainer.notes.settings import check, fit_of
from trainer.specialise.lora import left_out
from trainer.specialise.methods import Method, Task
from trainer.specialise.model import Fitted
from trainer.specialise.walk import CHECKPOINT

# Between a text's nats by the model that was fitted and by its adapter, written and read again.
TOLERANCE = 1e-3
COMPARED = 4


def fit(task: Task) -> Fitted:
    """One fit that leaves a fold out, its adapter written, read again and compared.

    Raises:
        InputError: the base model cannot be used.
        TrainError: it diverged, or the adapter does not say what was fitted.
    """
    how = fit_of(task.parameters, task.device)
    sections = notes.sections_of(task.train)
    words = decoder.Words(task.base, how.max_tokens, how.text_tokens)
    told = [words.told(one) for one in sections]
    rows, out = next(left_out(len(told), task.folds, task.seed))
    kept = Path(task.checkpoint) / f"notes-{CHECKPOINT}" if task.checkpoint else None
    fitted = decoder.learn(
        decoder.load(task.base, how.device, how.dtype),
        [told[row] for row in rows],
        task.weights[rows],
        words.end,
        how,
        task.seed,
        checkpoint=kept,
        peers=task.peers,
    )
    goes_on = about(task.train, task.base, how)
    asked = (goes_on.headers, goes_on.critical, how.device)
    left = [sections[row] for row in out]
    answers = judge.answers(fitted, words, left, *asked)
    files = files_of(fitted, goes_on.base)
    again = judge.answers(adapt(fitted.unload(), files), words, left[:COMPARED], *asked)
    nats = np.abs(again - answers[:COMPARED])[:, Answer.NATS] / answers[:COMPARED, Answer.TOKENS]
    difference = float(nats.max())
    if difference > TOLERANCE:
        raise TrainError(
            f"The adapter's texts are up to {difference:.2g} nats a token from those that were "
            f"fitted, but {TOLERANCE:g} is the most that rounding explains."
        )
    scores = np.full((len(sections), answers.shape[1]), np.nan)
    scores[out] = answers
    name = f"LoRA of rank {how.rank} on the decoder {Path(task.base).name}"
    return Fitted(Adapter(goes_on, files, task.base), scores, difference, name)


DECODER_LORA = Method(
    fit=fit,
    first={
        "rank": 8,
        "rate": 2e-3,
        "epochs": 1,
        "batch": 8,
        "max_tokens": 160,
        "text_tokens": 24,
        "header_weight": 0.5,
        "checkpoint_steps": 10,
        "checkpointing": 0,
        "bf16": 0,
    },
    ranges={"rate": (1e-3, 4e-3, "log"), "rank": (4, 16, "whole")},
    texts=True,
    task="sections",
    torch=True,
    check=check,
)
