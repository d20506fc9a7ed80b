"""`python -m bench.train_notes`: a decoder on sections of notes, before and after LoRA.

The recipe is `trainer/notes/clinical_notes.toml`, or another file of its form. Header accuracy
stands beside the most frequent header and TF-IDF on the same training sections; all differences
are paired over the test's sections.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from bench import machine
from bench.training import data_folder
from trainer.errors import TrainError
from trainer.evaluation.bounds import Bound
from trainer.notes import decoder, judge, sections, settings
from trainer.notes.judge import Judged
from trainer.notes.sections import Section
from trainer.notes.settings import Notes
from trainer.specialise.bases import resolve

RESULTS = Path(__file__).with_name("results")
RECIPE = settings.FOLDER / "clinical_notes.toml"


def measured(given: Notes, data: Path, out: Path, say: Any) -> dict[str, Any]:
    """Fit, judge before and after; the figures.

    Raises:
        TrainError: the data, the base or the device cannot be used.
    """
    train, test = sections.load(data / given.data)
    names = sections.headers(train)
    random = np.random.default_rng(given.seed)
    if 0 < given.fit.cases < len(train):
        rows = np.sort(random.permutation(len(train))[: given.fit.cases])
        train = tuple(train[i] for i in rows)
    if 0 < given.judge.cases < len(test):
        test = test[: given.judge.cases]
    base = resolve(given.fit.base, data)
    settings.check_device(given.fit, Path(base))
    words = decoder.Words(base, given.fit)
    model = decoder.load(base, given.fit)
    before = judge.judged(model, words, test, names, given.fit.device, lambda t: say(f"base: {t}"))
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    fitted = decoder.learn(model, words, train, given.fit, given.seed, out / "notes.pt", say)
    seconds = time.monotonic() - begun
    after = judge.judged(fitted, words, test, names, given.fit.device, lambda t: say(f"LoRA: {t}"))
    fitted.save_pretrained(out / "clinical-notes-adapter")
    (out / "notes.pt").unlink(missing_ok=True)
    return _told(given, (train, test), (before, after)) | {"fit_seconds": round(seconds, 1)}


def _told(
    given: Notes, parts: tuple[tuple[Section, ...], ...], models: tuple[Judged, Judged]
) -> dict[str, Any]:
    (train, test), (before, after) = parts, models
    truth = np.array([one.header for one in test])
    most = Counter(one.header for one in train).most_common(1)[0][0]
    named = {
        "LoRA": np.array(after.named),
        "the base, untrained": np.array(before.named),
        "TF-IDF and logistic regression": np.array(judge.tf_idf(train, test)),
        "the most frequent header": np.full(len(test), most),
    }
    right = {name: answers == truth for name, answers in named.items()}
    j, seed = given.judge, given.seed
    how = (j.resamples, j.confidence, seed)
    one = np.ones(len(test))
    return {
        "training_sections": len(train),
        "test_sections": len(test),
        "headers": len({s.header for s in train}),
        "accuracy": {name: _bound(judge.accuracy(r, *how)) for name, r in right.items()},
        "accuracy_less": {
            name: _bound(judge.mean(right["LoRA"].astype(float) - r, one, *how))
            for name, r in right.items()
            if name != "LoRA"
        },
        "nats_a_token": {
            "LoRA": _bound(judge.mean(after.nats, after.tokens, *how)),
            "the base, untrained": _bound(judge.mean(before.nats, before.tokens, *how)),
            "LoRA less the base": _bound(judge.mean(after.nats - before.nats, after.tokens, *how)),
        },
        "by_header": {
            str(header): {
                "n": int((truth == header).sum()),
                "right": int(right["LoRA"][truth == header].sum()),
            }
            for header in np.unique(truth)
        },
    }


def _bound(b: Bound) -> list[float]:
    return [b.low, b.value, b.high]


def main(
    recipe: Annotated[Path, typer.Option(help="A recipe.", metavar="TOML")] = RECIPE,
    out: Annotated[Path, typer.Option(help="Where the result goes.", metavar="DIR")] = RESULTS,
    adapter: Annotated[
        Path, typer.Option(help="Where adapter and checkpoint go.", metavar="DIR")
    ] = Path("build/notes"),
) -> None:
    """Fit and judge; exit code 1 if the adapter is not better than the base."""
    console = Console(stderr=True)
    try:
        given = settings.read(recipe)
        with console.status("notes") as status:
            told = measured(given, data_folder(), adapter, status.update)
    except TrainError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    better = told["nats_a_token"]["LoRA less the base"][2] < 0
    result = {"name": "train_notes", "machine": machine.describe(), "recipe": asdict(given)}
    result |= told | {"reached": bool(better)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "train_notes.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, (low, value, high) in told["accuracy"].items():
        typer.echo(f"header, {name}: {value:.3f} ({low:.3f} to {high:.3f})")
    for name, (low, value, high) in told["nats_a_token"].items():
        typer.echo(f"nats a token, {name}: {value:.3f} ({low:.3f} to {high:.3f})")
    raise typer.Exit(0 if better else 1)


if __name__ == "__main__":
    typer.run(main)
