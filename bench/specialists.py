"""The demo's specialists: what each one decides, how it is fitted, packed and asked."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.setting import Say
from bench.workload import encode_rows, encode_texts
from gateway.packing import Decision, Text, Wishes, pack_graph
from trainer import tabular, text
from trainer.datasets import LOADERS
from trainer.minilm import load_encoder
from trainer.newsgroups import load_posts
from trainer.tabular import FittedTable
from trainer.text import FittedText, rows_to_compute

Fitted = FittedTable | FittedText
# Shows that a step goes on and that it is done; what it gives shows how far it is.
Step = Callable[[str], AbstractContextManager[Say]]
Fit = Callable[[Step], Fitted]


@dataclass(frozen=True)
class Specialist:
    """One of the demo's models.

    Attributes:
        name: on the wire.
        task: what it decides, a question.
        fit: fetches its data and fits it.
        deadline_ms: of each request.
        rate: requests a second, in the mean.
        sends: requests in all: enough to ask for every held-out row.
    """

    name: str
    task: str
    fit: Fit
    deadline_ms: int
    rate: float
    sends: int


def table(dataset: str) -> Fit:
    """Fits on one of the tables in `LOADERS`."""

    def fit(step: Step) -> Fitted:
        with step(f"fetch the {dataset} set"):
            loaded = LOADERS[dataset]()
        with step("choose a model by cross-validation, fit, export"):
            return tabular.fit(loaded)

    return fit


def posts(step: Step) -> Fitted:
    """Fits a head on newsgroup posts, behind the published encoder."""
    with step("fetch the newsgroups set"):
        dataset = load_posts()
    with step("fetch the text encoder"):
        encoder = load_encoder()
    total = rows_to_compute(dataset)
    what = "embed the posts, fit a head by cross-validation, export"
    with step(what) as say:
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            say(f"{what}: {done:,} of {total:,}")

        return text.fit(dataset, encoder, advance=advance)


def pack(specialist: Specialist, fitted: Fitted, repository: Path) -> None:
    """Packs a fitted specialist's graph, and what else it is made of, into `repository`.

    Raises:
        PackError: see `gateway.packing`.
    """
    decision = Decision("score", fitted.threshold, fitted.dataset.label_names)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "model.onnx")
        graph.write_bytes(fitted.onnx)
        pack_graph(graph, specialist.name, repository, wishes=Wishes(decision, text=_text(fitted)))


def _text(fitted: Fitted) -> Text | None:
    """How the gateway makes tokens of texts: as it was done for fitting."""
    if not isinstance(fitted, FittedText):
        return None
    return Text(fitted.tokenizer, max_tokens=fitted.max_tokens, max_bytes=fitted.max_bytes)


def requests(specialist: Specialist, fitted: Fitted) -> list[bytes]:
    """One request a held-out row, in the rows' order."""
    if isinstance(fitted, FittedText):
        return encode_texts(specialist.name, fitted.held_out_texts)
    return encode_rows(specialist.name, fitted.held_out_x)


SITE_RISK = Specialist(
    name="site-risk",
    task="Is the site of this bid request safe to buy on?",
    fit=table("phishing"),
    deadline_ms=10,
    rate=3_000,
    sends=21_000,
)
CREDIT_RISK = Specialist(
    name="credit-risk",
    task="Is this applicant a good credit risk?",
    fit=table("credit"),
    deadline_ms=10,
    rate=3_000,
    sends=21_000,
)
# An encoder takes milliseconds a row: this is less than half of what one lane can do.
SENSITIVE_CONTENT = Specialist(
    name="sensitive-content",
    task="Is this text about a sensitive topic?",
    fit=posts,
    deadline_ms=50,
    rate=60,
    sends=1_500,
)

SPECIALISTS = (SITE_RISK, CREDIT_RISK, SENSITIVE_CONTENT)
