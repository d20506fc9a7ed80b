"""The text encoder through the gateway: repository, requests, and what the gateway costs."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import servers
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, load_spec
from bench.specialists import SENSITIVE_CONTENT, Fitted, pack, requests
from bench.workload import encode_texts, write_requests
from trainer.text import FittedText

# Enough to go round; each is a post of its own length.
TEXTS = 512


def fitted_encoder(say: Say) -> FittedText:
    """The demo's text specialist; its embeddings are cached, its head is fitted anew."""

    @contextmanager
    def step(text: str) -> Iterator[Say]:
        say(text)
        yield say

    fitted: Fitted = SENSITIVE_CONTENT.fit(step)
    if not isinstance(fitted, FittedText):
        raise TypeError("the text specialist is no text specialist")
    return fitted


@contextmanager
def encoder_workspace(s: Scenario, say: Say) -> Iterator[tuple[Path, Path]]:
    """A repository with the text encoder, and requests of one held-out post each."""
    fitted = fitted_encoder(say)
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        repository, messages = Path(folder, "models"), Path(folder, "requests.bin")
        repository.mkdir()
        pack(SENSITIVE_CONTENT, fitted, repository)
        write_requests(messages, requests(SENSITIVE_CONTENT, fitted)[:TEXTS])
        yield repository, messages


def encoder_share(s: Scenario, say: Say) -> Result:
    """Rows a second through the gateway against tokenise + bare runtime, the same batches.

    A request brings `rows` texts of like length, so that the gateway's batch is the request, as it
    is for the bare call: tokenise each text, run once, copy out, one thread on the same core.
    Windows alternate; the ratio is that of each pair.
    """
    fitted = fitted_encoder(say)
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        repository, messages = Path(folder, "models"), Path(folder, "requests.bin")
        repository.mkdir()
        pack(SENSITIVE_CONTENT, fitted, repository)
        model = next((repository / SENSITIVE_CONTENT.name).iterdir())
        groups = _groups(fitted, s.rows)
        name = SENSITIVE_CONTENT.name
        write_requests(
            messages, [m for g in groups for m in encode_texts(name, g, rows_per_request=s.rows)]
        )
        texts = Path(folder, "texts.json")
        texts.write_text(json.dumps(groups))
        ratios, runs, bare = [], [], []
        flags = ("--io-threads", str(s.io_threads))
        config = f"[model.{name}]\nmax_batch = {max(8, s.rows)}\n"
        with servers.sluicegate(repository, s.server_cores, config, flags) as server:
            for turn in range(s.repeats):
                say(f"{s.name}: bare runtime, window {turn + 1} of {s.repeats}")
                bare.append(_bare(model, texts, s))
                say(f"{s.name}: gateway, window {turn + 1} of {s.repeats}")
                report = _through(s, messages, server)
                runs.append(report)
                ratios.append(float(report["ok_per_s"]) * s.rows / bare[-1])
    figures = (
        Figure("throughput against tokenise + bare runtime", "times", tuple(ratios), s.target),
        Figure("bare", "rows/s", tuple(bare)),
        Figure("gateway", "rows/s", tuple(float(r["ok_per_s"]) * s.rows for r in runs)),
    )
    bars = tuple(Bar(f.what, f.value) for f in figures[1:])
    conditions = conditions_of(s, in_flight=s.in_flight)
    return Result(s.name, s.title, conditions, figures, bars, "rows/s", tuple(runs))


def _groups(fitted: FittedText, rows: int) -> list[list[str]]:
    """Held-out texts in groups of `rows` of like length: cut to the same few words."""
    words = (8, 16, 24, 40)
    texts = [t.split() for t in fitted.held_out_texts]
    groups = []
    for index in range(0, TEXTS - rows, rows):
        count = words[(index // rows) % len(words)]
        groups.append([" ".join(t[:count]) for t in texts[index : index + rows]])
    return groups


def _through(s: Scenario, messages: Path, server: Contender) -> dict[str, Any]:
    return run(load_spec(s, messages, in_flight=s.in_flight), server.port)


def _bare(model: Path, texts: Path, s: Scenario) -> float:
    """Rows a second of the bare model in a process of its own on the server's core."""
    code = (
        "import sys; from gateway import _native, runtime; runtime.use_onnxruntime(); "
        "print(_native.bare_texts(sys.argv[1], open(sys.argv[2]).read(), float(sys.argv[3])))"
    )
    command = ["taskset", "-c", s.server_cores, sys.executable, "-c", code, str(model), str(texts)]
    told = json.loads(subprocess.check_output([*command, str(s.duration_s)]))
    return float(told["rows_per_s"])
