"""The decision log of a real server: rows as sent, policies, samples, files, bad disks."""

import os
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from bench import models
from bench.servers import Contender, ServerError
from gateway import decisions, labelled
from gateway.control import source
from gateway.packing import pack_contract
from tests import graphs
from tests.calls import Client, connect, eventually, request, sluicegate
from tests.conftest import Serve
from tests.gateway.test_shadow import WISHES, pack, rows
from tests.gateway.test_text import texts
from trainer.drift import decision_log

pa = pytest.importorskip("pyarrow")


def log_config(log: Path, **said: Any) -> str:
    told = {"folder": str(log), "share": 1.0, "file_seconds": 1} | said
    lines = (f"{k} = {v!r}".replace("'", '"') for k, v in told.items())
    return "[decision_log]\n" + "\n".join(lines) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    models.pack_identity(root, "echo")
    return root


def whole(log: Path, kind: str = "decisions") -> list[dict[str, Any]]:
    """Every row of every whole file."""
    tables = []
    for path in sorted(log.glob(f"{kind}-*.arrow")):
        with pa.ipc.open_file(path) as file:
            tables.append(file.read_all())
    return [row for table in tables for row in table.to_pylist()]


def counted(server: Contender, kind: str, outcome: str) -> int:
    with urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    name = f'sluicegate_decision_log_rows_total{{kind="{kind}",outcome="{outcome}"}}'
    return int(re.search(rf"^{re.escape(name)} (\d+)$", text, re.M)[1])  # type: ignore[index]


def send(client: Client, count: int, prefix: str = "r", **fields: Any) -> None:
    for n in range(count):
        client.infer(request("echo", models.rows(1, seed=n), id=f"{prefix}{n}", **fields))


def test_rows_are_logged_as_they_were_sent_and_the_trainer_reads_them(
    echo: Path, log: Path, serve: Serve
) -> None:
    client = connect(serve(echo, log_config(log, inputs="all")))
    before = time.time_ns()
    answer = client.stub.ModelInfer(request("echo", models.rows(3), id="three"), timeout=5)
    send(client, 5)
    digest = answer.parameters["sluicegate_digest"].string_param
    assert "sluicegate_request_id" not in answer.parameters
    assert eventually(lambda: len(whole(log)) == 8)
    found = decision_log.read(log, "echo")
    assert found.ids == ("three", "three/1", "three/2", *(f"r{n}" for n in range(5)))
    sent = np.vstack([models.rows(3), *(models.rows(1, seed=n) for n in range(5))])
    np.testing.assert_array_equal(found.x, sent)
    np.testing.assert_array_equal(found.scores.astype(np.float32), sent[:, 0])
    assert set(found.digests) == {digest}
    assert before < found.time_ns.min() <= found.time_ns.max() < time.time_ns()
    assert ((found.latency_us > 1) & (found.latency_us < 5e6)).all()
    first = whole(log)[0]
    assert (first["row"], first["model"]) == (0, "echo")
    np.testing.assert_array_equal(first["output:score"], sent[0])


def test_a_request_without_an_id_is_told_the_one_that_it_was_given(
    echo: Path, log: Path, serve: Serve
) -> None:
    client = connect(serve(echo, log_config(log)))
    answers = [client.stub.ModelInfer(request("echo", models.rows(1))) for _ in range(2)]
    told = [a.parameters["sluicegate_request_id"].string_param for a in answers]
    assert [a.id for a in answers] == ["", ""], "the protocol's own id stays an echo"
    assert eventually(lambda: {r["request_id"] for r in whole(log)} == set(told))
    assert len(set(told)) == 2


def test_a_sample_is_by_the_id_and_the_same_everywhere(
    echo: Path, tmp_path: Path, serve: Serve
) -> None:
    logs = [tmp_path / "one", tmp_path / "other"]
    for folder in logs:
        send(connect(serve(echo, log_config(folder, share=0.3))), 300)
        assert eventually(lambda folder=folder: len(whole(folder)) > 50)  # type: ignore[misc]
    time.sleep(1.5)
    one, other = ({r["request_id"] for r in whole(folder)} for folder in logs)
    assert one == other
    assert 60 < len(one) < 120


def test_by_default_no_inputs_are_kept_and_a_model_may_say_otherwise(
    echo: Path, log: Path, serve: Serve
) -> None:
    models.pack_identity(echo, "open")
    config = log_config(log) + '[model.open]\nlog_inputs = "all"\n'
    client = connect(serve(echo, config))
    for name in ("echo", "open"):
        client.infer(request(name, models.rows(1), id=name))
    assert eventually(lambda: len(whole(log)) == 2)
    by_model = {row["model"]: row for row in whole(log)}
    assert not [c for c in by_model["echo"] if c.startswith("input")]
    np.testing.assert_array_equal(by_model["open"]["input:features"], models.rows(1)[0])
    assert decision_log.read(log, "echo").x.shape == (1, 0)


def test_hashes_hide_inputs_and_are_equal_under_one_key_alone(
    echo: Path, log: Path, tmp_path: Path, serve: Serve
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    graphs.pack_token_sum(echo, "words")
    config = log_config(log, inputs="hash", key_file=str(key))
    client = connect(serve(echo, config))
    x = models.rows(2)
    for name in ("a", "b"):
        client.infer(request("echo", x, id=name))
    client.stub.ModelInfer(texts("a secret of mine"), timeout=5)
    assert eventually(lambda: len(whole(log)) == 5)
    mac = decisions.key_hash(b"k" * 32, "input:features", x[1].tobytes())
    logged = {(r["request_id"], r["row"]): r for r in whole(log)}
    assert logged["a", 1]["input_hmac:features"] == logged["b", 1]["input_hmac:features"] == mac
    assert logged["a", 0]["input_hmac:features"] != mac
    said = next(r for r in whole(log) if r["model"] == "words")
    assert said["input_hmac:text"] == decisions.key_hash(
        b"k" * 32, "input:text", b"a secret of mine"
    )
    assert not any(b"secret" in p.read_bytes() for p in log.iterdir())
    # Another key is taken up by the next file.
    key.write_bytes(b"l" * 32)
    client.infer(request("echo", x, id="c"))
    assert eventually(lambda: len(whole(log)) == 7)
    last = next(r for r in whole(log) if (r["request_id"], r["row"]) == ("c", 1))
    assert last["input_hmac:features"] != mac
    assert len(decisions.show(log)["decisions"].keys) == 2


def test_texts_are_logged_as_text(tmp_path: Path, log: Path, serve: Serve) -> None:
    models_folder = tmp_path / "models"
    models_folder.mkdir()
    graphs.pack_token_sum(models_folder, "words")
    client = connect(serve(models_folder, log_config(log, inputs="all")))
    client.stub.ModelInfer(texts("b a", "größer"), timeout=5)
    assert eventually(lambda: [r["input:text"] for r in whole(log)] == ["b a", "größer"])


def test_a_swap_changes_the_digest(echo: Path, log: Path, serve: Serve) -> None:
    server = serve(echo, log_config(log))
    client = connect(server)
    client.infer(request("echo", models.rows(1), id="before"))
    pack_contract(models.IDENTITY + 'non_finite = "refuse"\n', "echo", echo)
    os.kill(server.pid, signal.SIGHUP)

    def digest() -> str:
        answer = client.stub.ModelInfer(request("echo", models.rows(1), id="later"))
        return str(answer.parameters["sluicegate_digest"].string_param)

    first = digest()
    assert eventually(lambda: digest() != first)
    assert eventually(lambda: digest() in {r["digest"] for r in whole(log)})
    by_id = {(r["request_id"], r["digest"]) for r in whole(log)}
    assert ("before", first) in by_id


def test_a_file_is_partial_until_it_is_closed_and_is_closed_at_the_end(
    echo: Path, log: Path
) -> None:
    from bench import servers  # noqa: PLC0415

    with servers.sluicegate(echo, config=log_config(log, file_seconds=3600)) as server:
        send(connect(server), 3)
        assert eventually(lambda: counted(server, "decisions", "written") == 3)
        assert not whole(log)
        assert len(list(log.glob("*.partial"))) == 1
    assert len(whole(log)) == 3
    assert not list(log.glob("*.partial"))


def test_what_a_killed_server_left_is_made_whole_by_the_next(
    echo: Path, log: Path, serve: Serve
) -> None:
    config = log_config(log, file_seconds=3600)
    server = serve(echo, config)
    send(connect(server), 20)
    assert eventually(lambda: counted(server, "decisions", "written") == 20)
    os.kill(server.pid, signal.SIGKILL)
    (left,) = log.glob("*.partial")
    # The last batch was cut off in its middle.
    left.write_bytes(left.read_bytes() + left.read_bytes()[-300:-100])
    again = serve(echo, config)
    assert eventually(lambda: len(whole(log)) == 20)
    assert not left.exists()
    # What a living server writes is its own affair.
    send(connect(again), 1, "living")
    assert eventually(lambda: counted(again, "decisions", "written") == 21)
    serve(echo, config)
    time.sleep(0.5)
    assert len(list(log.glob("*.partial"))) == 1


def test_the_oldest_files_are_deleted(echo: Path, log: Path, serve: Serve) -> None:
    server = serve(echo, log_config(log, file_mib=1, keep_mib=2, inputs="all", file_seconds=3600))
    client = connect(server)
    big = models.rows(2_000)
    for n in range(16):
        client.infer(request("echo", big, id=f"n{n}"))
        assert eventually(
            lambda n=n: counted(server, "decisions", "written") >= 2_000 * n  # type: ignore[misc]
        )
    assert counted(server, "decisions", "dropped") == 0
    assert eventually(lambda: sum(p.stat().st_size for p in log.glob("*.arrow")) <= 2 << 20)
    assert "n0" not in {r["request_id"] for r in whole(log)}
    with urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert int(re.search(r"files_deleted_total (\d+)", text)[1]) >= 1  # type: ignore[index]


def test_a_full_disk_costs_rows_and_no_answers_and_is_told_once(
    echo: Path, log: Path, tmp_path: Path
) -> None:
    from bench import servers  # noqa: PLC0415

    said = tmp_path / "said"
    config = log_config(log, file_seconds=3600)
    with servers.sluicegate(echo, config=config, log=said) as server:
        client = connect(server)
        send(client, 1, "first")
        assert eventually(lambda: counted(server, "decisions", "written") == 1)
        # No file may grow beyond what it has: the system's answer is that of a full disk.
        limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4_096, limits[1]))
        for turn in range(3):
            send(client, 40, f"full{turn}-")
            time.sleep(1.2)
        assert counted(server, "decisions", "failed") > 0
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
        send(client, 1, "after")
        ends = ("written", "failed")
        assert eventually(lambda: sum(counted(server, "decisions", end) for end in ends) == 122)
        told = said.read_text()
        assert told.count("decision_log_failed") == 1
        assert told.count("decision_log_goes_on") == 1
    ids = [r["request_id"] for r in whole(log)]
    assert {"first0", "after0"} <= set(ids) and len(ids) == len(set(ids))
    assert len(ids) < 122


def test_what_a_shadow_compared_is_logged_beside(tmp_path: Path, log: Path, serve: Serve) -> None:
    root = tmp_path / "models"
    pack(root, 0.0)
    candidate = pack(root, 1e-9)
    socket = tmp_path / "control"
    config = f'control_socket = "{socket}"\n{log_config(log)}[model.m]\nversions = [1]\n'
    client = connect(serve(root, config))
    source.command(socket, "shadow", model="m", version=2, wishes=WISHES)
    for n in range(100):
        client.infer(request("m", rows([-1.0, float(n)]), id=f"r{n}"))
        time.sleep(0.002)
    assert eventually(lambda: len(whole(log, "shadow")) > 20)
    decided = {(r["request_id"], r["row"]): r for r in whole(log)}
    for row in whole(log, "shadow"):
        assert row["digest"] == candidate.digest
        beside = decided[row["request_id"], row["row"]]
        assert beside["digest"] != candidate.digest
        assert row["output:score"] == beside["output:score"]


def test_labels_that_come_later_say_who_was_right(tmp_path: Path, log: Path, serve: Serve) -> None:
    root = tmp_path / "models"
    incumbent, candidate = pack(root, 0.0), pack(root, 10.0)
    socket = tmp_path / "control"
    config = f'control_socket = "{socket}"\n{log_config(log)}[model.m]\nversions = [1]\n'
    server = serve(root, config)
    client = connect(server)
    source.command(socket, "shadow", model="m", version=2, wishes=WISHES)
    # From 0 to 10 only the incumbent says yes; the truth begins at 5.
    first = [float(n % 20 - 5) for n in range(200)]
    for n, value in enumerate(first):
        client.infer(request("m", rows([value]), id=f"r{n}"))
        time.sleep(0.002)
    labels = tmp_path / "labels.csv"
    lines = (f"r{n},{int(value >= 5)}" for n, value in enumerate(first))
    labels.write_text("\n".join(["request_id,label", *lines]))
    door = f"127.0.0.1:{server.port}"
    assert sluicegate("feedback", str(labels), "--grpc", door).returncode == 0
    assert eventually(lambda: len(whole(log, "feedback")) == len(whole(log)) == 200)
    assert eventually(lambda: len(whole(log, "shadow")) > 20)
    time.sleep(1.5)
    compared = [first[int(r["request_id"][1:])] for r in whole(log, "shadow")]
    (found,) = labelled.compare(log, "m", root)
    assert (found.incumbent, found.candidate) == (incumbent.digest, candidate.digest)
    assert found.pairs == len(compared)
    assert found.b == sum(5 <= value < 10 for value in compared)
    assert found.c == sum(0 <= value < 5 for value in compared)
    ended = sluicegate("decisions", "compare", str(log), "m", "--models", str(root))
    assert f"only the candidate was wrong: {found.b};" in ended.stderr
    elsewhere = sluicegate("decisions", "compare", str(log), "m", "--models", str(tmp_path))
    assert (elsewhere.returncode, "does not hold" in elsewhere.stderr) == (1, True)


def test_requests_are_forgotten_by_id_and_by_whose_they_are(
    echo: Path, log: Path, tmp_path: Path, serve: Serve
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    client = connect(serve(echo, log_config(log, key_file=str(key))))
    for n, whose in enumerate(["ann", "bob", "ann", ""]):
        message = request("echo", models.rows(1), id=f"r{n}")
        if whose:
            message.parameters["key"].string_param = whose
        client.infer(message)
    assert eventually(lambda: len(whole(log)) == 4)
    assert not any(b"ann" in p.read_bytes() for p in log.iterdir())
    (file,) = log.glob("decisions-*.arrow")
    modified = file.stat().st_mtime_ns
    ended = sluicegate("decisions", "forget", str(log), "--key", "ann", "--key-file", str(key))
    assert (ended.returncode, "2 rows of decisions" in ended.stderr) == (0, True)
    assert [r["request_id"] for r in whole(log)] == ["r1", "r3"]
    assert file.stat().st_mtime_ns == modified, "it is deleted when it would have been"
    assert decision_log.read(log, "echo").ids == ("r1", "r3")
    assert sluicegate("decisions", "forget", str(log), "--request-id", "r1").returncode == 0
    assert [r["request_id"] for r in whole(log)] == ["r3"]
    shown = sluicegate("decisions", "show", str(log))
    assert "decisions: 1 rows in 1 files" in shown.stderr
    assert sluicegate("decisions", "forget", str(log)).returncode == 2
    assert sluicegate("decisions", "forget", str(log), "--key", "ann").returncode == 1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"share": 2.0}, "share is 2"),
        ({"inputs": "hash"}, "key_file is needed"),
        ({"key_file": "/nowhere"}, "/nowhere"),
        ({"folder": "/proc/none"}, "[decision_log] folder /proc/none"),
        ({"shares": 1}, "did you mean 'share'?"),
    ],
)
def test_a_log_that_cannot_be_kept_is_refused_before_anything_is_served(
    echo: Path, log: Path, serve: Callable[..., Any], said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ServerError, match=re.escape(sentence)):
        serve(echo, log_config(log, **said))
