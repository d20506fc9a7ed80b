"""Labels from a teacher: a local endpoint answers, refuses, stumbles and is found out."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from governance.bundle import folder as bundles
from tests.trainer import tiny
from tests.trainer.tables import signer
from trainer.cli.progress import folder_of, follow
from trainer.errors import InputError, SpecError, TrainError
from trainer.evaluation.split import split, with_more
from trainer.loop import prepare
from trainer.recipes import sources
from trainer.spec.read import parse_spec
from trainer.spec.spec import Spec, Teacher
from trainer.teacher.ask import Endpoint
from trainer.teacher.label import label

SPEC = """
name = "posts"
[data]
path = "posts.csv"
label = "topic"
positive = "loud"
text = "post"
duplicates = "drop"
personal_data = "{personal}"
[evaluate]
regressions_allowed = 60
leak_words = 8
resamples = 100
[[evaluate.gates]]
metric = "auc"
limit = 0.7
[specialise]
methods = ["ngrams"]
trials = 1
folds = 2
nice = 0
[decide]
labels = ["calm", "loud"]
[teacher]
url = "{url}"
model = "large"
check = 40
agreement = 0.8
calls = {calls}
attempts = 3
{more}
"""


class Double(ThreadingHTTPServer):
    """Speaks chat completions; `script` has statuses to answer with before it works."""

    def __init__(self, said: Any = None, script: tuple[int, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.asked, self.keys = list(script), [], []  # type: ignore[var-annotated]
        self.said = said or (lambda text: "Loud." if set(text.split()) & set(tiny.LOUD) else "calm")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Double

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.append(self.headers.get("authorization"))
        status = self.server.script.pop(0) if self.server.script else 200
        self.server.asked.append((self.path, told))
        said = self.server.said(told["messages"][1]["content"])
        body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        if status != 200:
            body = b"no"
        self.send_response(status)
        if status == 307:
            self.send_header("location", "http://127.0.0.1:1/v1/chat/completions")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@contextmanager
def teacher(said: Any = None, script: tuple[int, ...] = ()) -> Iterator[Double]:
    with Double(said, script) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def written(
    folder: Path, url: str, *, personal: str = "none", calls: int = 1000, more: str = ""
) -> Spec:
    data = tiny.dataset(600, 200)
    with (folder / "posts.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["post", "topic"])
        named = (("calm", "loud")[y] for y in data.y)
        out.writerows(
            [f"{text} {i}", y] for i, (text, y) in enumerate(zip(data.texts, named, strict=True))
        )
    with (folder / "new.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["post"])
        # Other words in another order: near copies of a suite's cases would be leaks.
        fresh = np.random.default_rng(9)
        for i in range(30):
            words = [*fresh.choice(tiny.CALM, 3), f"new{i}", *fresh.choice(tiny.LOUD, i % 2)]
            out.writerow([" ".join(words)])
    text = SPEC.format(url=url, personal=personal, calls=calls, more=more)
    (folder / "specialist.toml").write_text(text)
    return parse_spec(text, "specialist.toml", folder)


def endpoint(spec: Spec) -> Endpoint:
    return Endpoint(spec.teacher, spec.decide.labels, wait=lambda _s: None)


def labelled(folder: Path, spec: Spec) -> Any:
    return label(spec, endpoint(spec), folder / "new.csv", folder / "more.csv", lambda _t: None)


def with_labels(folder: Path) -> Spec:
    """The same file, which learns from what the teacher labelled, too."""
    text = (folder / "specialist.toml").read_text()
    return parse_spec(text.replace("[evaluate]", 'more = "more.csv"\n[evaluate]', 1), "t", folder)


def test_texts_get_labels_after_a_check_and_become_training_cases_alone(tmp_path: Path) -> None:
    with teacher() as double:
        spec = written(tmp_path, double.url)
        made = labelled(tmp_path, spec)
    assert (made.check.cases, made.check.agreed) == (40, 40)
    assert (made.labelled, made.silent, made.calls) == (30, 0, 70)
    path, told = double.asked[0]
    assert path == "/v1/chat/completions"
    assert (told["model"], told["temperature"]) == ("large", 0)
    more = with_labels(tmp_path)
    before = split(sources.load(spec), spec)
    after = with_more(before, more)
    assert len(after.train) == len(before.train) + 30
    assert (after.core.digest, after.held_out.digest) == (
        before.core.digest,
        before.held_out.digest,
    )
    added = dict(zip(after.train.texts[-30:], after.train.y[-30:], strict=True))
    assert all(y == bool(set(text.split()) & set(tiny.LOUD)) for text, y in added.items())


def test_a_case_of_a_suite_is_never_sent_and_never_learnt_from(tmp_path: Path) -> None:
    with teacher() as double:
        spec = written(tmp_path, double.url)
        parts = split(sources.load(spec), spec)
        labelled(tmp_path, spec)
        sent = " ".join(told["messages"][1]["content"] for _, told in double.asked)
    for text in (*parts.core.texts, *parts.held_out.texts):
        assert f"\n{text}\n" not in sent
    with (tmp_path / "more.csv").open("a", newline="") as file:
        csv.writer(file).writerow([parts.held_out.texts[0], "loud"])
    more = with_labels(tmp_path)
    after = with_more(parts, more)
    assert parts.held_out.texts[0] not in after.train.texts
    assert after.dropped == parts.dropped + 1


def test_a_teacher_that_is_not_good_enough_labels_nothing(tmp_path: Path) -> None:
    with teacher(said=lambda _text: "calm") as double:
        spec = written(tmp_path, double.url)
        with pytest.raises(
            TrainError, match=r"agrees with 20 of 40 known cases.*Nothing was labelled"
        ):
            labelled(tmp_path, spec)
        assert len(double.asked) == 40
    assert not (tmp_path / "more.csv").exists()


def test_answers_are_paid_for_once_and_half_a_line_costs_one_call(tmp_path: Path) -> None:
    with teacher() as double:
        spec = written(tmp_path, double.url, calls=50)
        with pytest.raises(TrainError, match=r"teacher\.calls is 50"):
            labelled(tmp_path, spec)
        kept = tmp_path / "more.csv.answers.jsonl"
        kept.write_text(kept.read_text()[:-20])
        made = labelled(tmp_path, spec)
    assert made.calls == 70 - 49
    assert len(double.asked) == 71


def test_what_may_pass_is_tried_again_and_what_may_not_is_told(tmp_path: Path) -> None:
    with teacher(script=(503, 429)) as double:
        spec = written(tmp_path, double.url)
        assert endpoint(spec).ask("siren").label == 1
        assert len(double.asked) == 3
    for status, sentence in (
        (401, "refuses a call without a key"),
        (404, "has no model 'large'"),
        (307, "wants to be asked elsewhere"),
        (400, "400 no"),
    ):
        with teacher(script=(status,)) as double:
            spec = written(tmp_path, double.url)
            with pytest.raises(InputError, match=sentence):
                endpoint(spec).ask("siren")
            assert len(double.asked) == 1
    with pytest.raises(InputError, match="gives no answer: ConnectionRefusedError"):
        endpoint(spec).ask("siren")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("loud", 1),
        ("**Calm**", 0),
        ("The label is: loud.", 1),
        ("calm or loud", None),
        ("", None),
        ("louder", None),
    ],
)
def test_an_answer_names_one_label_or_none(tmp_path: Path, said: str, found: int | None) -> None:
    with teacher(said=lambda _text: said) as double:
        assert endpoint(written(tmp_path, double.url)).ask("tea").label == found


def test_a_label_that_is_part_of_the_other_is_told_apart() -> None:
    told = Teacher(url="http://127.0.0.1:1/v1", model="m")
    one = Endpoint(told, ("safe", "not safe"))
    assert one._parsed("Safe.") == 0
    assert one._parsed("not safe") == 1


def test_an_endpoint_that_speaks_otherwise_is_found_out(tmp_path: Path) -> None:
    with teacher(said=lambda _text: None) as double:
        spec = written(tmp_path, double.url)
        with pytest.raises(InputError, match="answers without a text"):
            endpoint(spec).ask("tea")


def test_a_key_goes_only_where_it_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with teacher() as double:
        spec = written(tmp_path, double.url, more='key_env = "TEACHER_KEY"')
        with pytest.raises(SpecError, match="TEACHER_KEY, but that variable is not set"):
            endpoint(spec)
        monkeypatch.setenv("TEACHER_KEY", "secret-of-a-test")
        endpoint(spec).ask("tea")
        assert double.keys == ["Bearer secret-of-a-test"]
    far = Teacher(url="http://teacher.example/v1", model="m", key_env="TEACHER_KEY")
    with pytest.raises(SpecError, match="plain http"):
        Endpoint(far, ("a", "b"))


def test_personal_texts_stay_here_unless_it_is_said(tmp_path: Path) -> None:
    spec = written(tmp_path, "https://teacher.example/v1", personal="special")
    with pytest.raises(SpecError, match=r"teacher\.example is another machine"):
        labelled(tmp_path, spec)


def test_the_command_refuses_with_a_sentence_and_its_exit_code(tmp_path: Path) -> None:
    spec = written(tmp_path, "ftp://nowhere")
    command = ["train", "label", str(tmp_path / "specialist.toml")]
    command += ["--texts", str(tmp_path / "new.csv"), "--out", str(tmp_path / "more.csv")]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "teacher.url is 'ftp://nowhere'" in refused.output
    with teacher() as double:
        text = (tmp_path / "specialist.toml").read_text()
        (tmp_path / "specialist.toml").write_text(text.replace("ftp://nowhere", double.url))
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "30 texts labelled" in done.output
    assert spec.teacher.check == 40


def test_the_evidence_says_how_many_cases_a_teacher_labelled(tmp_path: Path) -> None:
    with teacher() as double:
        labelled(tmp_path, written(tmp_path, double.url))
    spec, key = with_labels(tmp_path), signer()
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    ended = follow(spec, key, None, tmp_path / "seals", ray=False)
    assert ended.proposed is not None, ended.reason
    lineage = bundles.open_bundle(Path(ended.proposed.evidence)).groups["lineage"]
    sets = {one.name: one for one in lineage.data_sets}  # type: ignore[union-attr]
    told = sets["of the training cases, labelled or written by large"]
    assert (told.rows, told.used_for) == (30, "training")
    assert told.digest == "sha256:" + sha256((tmp_path / "more.csv").read_bytes()).hexdigest()
    assert sets["training cases"].rows > 30


def test_a_labelled_text_that_is_nearly_a_case_of_a_suite_stops_the_run_as_a_leak(
    tmp_path: Path,
) -> None:
    spec, key = written(tmp_path, "http://127.0.0.1:1/v1"), signer()
    core = split(sources.load(spec), spec).core.texts
    with (tmp_path / "more.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["post", "topic"])
        rows.writerows([f"{text} indeed", "calm"] for text in core if len(text.split()) > 8)
    spec = with_labels(tmp_path)
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    ended = follow(spec, key, None, tmp_path / "seals", ray=False)
    assert ended.reason.startswith("leak: ")
    assert ended.proposed is None
    assert ended.assessed is None, "before anything was fitted"
    told = CliRunner().invoke(app, ["train", "explain", str(tmp_path / "specialist.toml")])
    assert told.exit_code == 0, told.output
    assert "leaked cases" in told.output
    near = replace(spec, data=replace(spec.data, duplicates="drop_near"))
    drawn = prepare.draw(near, 1)
    assert (drawn.leaks.exact, drawn.leaks.runs) == ((), ())
    assert len(drawn.parts.train) < len(prepare.draw(spec, 1).parts.train)
