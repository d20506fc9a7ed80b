"""`python -m bench.lora_speed`: a step of our LoRA fit against one of transformers' Trainer.

The same encoder with the same adapter and head, the same batches (16 texts of 64 tokens), AdamW and
schedule, in the same process, in turns. A step's time is the mean between the end of the second
step and that of the last one.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import machine
from trainer.examples import of_texts
from trainer.specialise import lora
from trainer.specialise.bases import minilm
from trainer.specialise.methods import Task

RESULTS = Path(__file__).with_name("results")
BATCH, TOKENS, SKIPPED = 16, 64, 2
PROMISED = 1.1


def task(steps: int) -> tuple[Task, list[np.ndarray[Any, np.dtype[np.int64]]], lora.Plan]:
    """Random tokens of one length, and the batches."""
    random = np.random.default_rng(1)
    n = BATCH * steps
    y = np.arange(n) % 2
    train = of_texts([str(i) for i in range(n)], y, ids=[str(i) for i in range(n)])
    ids = [random.integers(1000, 30_000, TOKENS) for _ in range(n)]
    first = {**lora.TEXT_LORA.first, "epochs": 1, "batch": BATCH}
    made = Task(train, np.ones(n), first, 2, 7, base=str(minilm()))
    rows = [np.arange(i * BATCH, (i + 1) * BATCH) for i in range(steps)]
    return made, ids, lora.Plan(tuple(rows))


def ours(steps: int) -> float:
    """Seconds a step of `trainer.specialise.lora.learn`."""
    made, ids, plan = task(steps)
    ends: list[float] = []
    lora.learn(made, ids, plan, "speed", lambda _number: ends.append(time.perf_counter()))
    return (ends[-1] - ends[SKIPPED - 1]) / (steps - SKIPPED)


def theirs(steps: int) -> float:
    """Seconds a step of transformers' Trainer."""
    import torch  # noqa: PLC0415
    from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: PLC0415

    made, ids, _ = task(steps)
    network = lora.network(made.base, made.parameters, made.seed)
    ends: list[float] = []

    class WithLoss(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
            logits = self.network(input_ids, attention_mask)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            return {"loss": loss, "logits": logits}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_args: Any, **_more: Any) -> None:
            ends.append(time.perf_counter())

    def batch(rows: list[int]) -> dict[str, Any]:
        held = lora.batch_of(ids, np.array(rows), "cpu")
        return held | {"labels": torch.tensor(made.train.y[rows], dtype=torch.float32)}

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=made.parameters["rate"],
            weight_decay=0.01,
            max_grad_norm=1.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(
            model=WithLoss(),
            args=settings,
            train_dataset=list(range(len(ids))),
            data_collator=batch,
            callbacks=[Clock()],
        )
        trainer.train()
    return (ends[-1] - ends[SKIPPED - 1]) / (steps - SKIPPED)


def main(
    steps: Annotated[int, typer.Option(help="Steps in a window.")] = 8,
    windows: Annotated[int, typer.Option(help="Windows of each, in turns.")] = 4,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
) -> None:
    """Measure; exit code 1 if a step of ours takes more than 1.1 times theirs."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    pairs = [(ours(steps), theirs(steps)) for _ in range(windows)]
    ratios = [a / b for a, b in pairs]
    middle = statistics.median(ratios)
    told = {
        "name": "lora_speed",
        "machine": machine.describe(),
        "batch": BATCH,
        "tokens": TOKENS,
        "steps_a_window": steps,
        "seconds_a_step": [{"ours": a, "trainer": b} for a, b in pairs],
        "ratio": {"median": middle, "least": min(ratios), "greatest": max(ratios)},
        "promised": PROMISED,
        "reached": middle <= PROMISED,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "lora_speed.json").write_text(json.dumps(told, indent=1) + "\n")
    typer.echo(f"a step takes {middle:.2f} times one of transformers' Trainer")
    raise typer.Exit(0 if middle <= PROMISED else 1)


if __name__ == "__main__":
    typer.run(main)
