"""A witness behind HTTP: what it takes, what it refuses, and what is no answer of a witness."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from governance.home import Home
from governance.ledger.checkpoint import open_checkpoint
from governance.ledger.errors import ProofError, WitnessError
from governance.ledger.http_witness import HttpWitness
from governance.ledger.merkle import verify_consistency
from governance.ledger.note import COSIGNATURE, NoteKey, cosign_line, open_note
from governance.ledger.store import Ledger
from governance.service import settings
from tests.governance.service.commands import run
from tests.governance.signing import NOW, signer

LOG = NoteKey("bidders-eu/gateway-1", signer("ledger-1").public_key)
NAME = "witness.example/w1"
KEY = NoteKey(NAME, signer("archive").public_key, COSIGNATURE)


class Remote:
    """A witness after c2sp.org/tlog-witness; `answer` may change what it says."""

    def __init__(self) -> None:
        self.note: str | None = None
        self.cosignature, self.reads = "", True
        self.bodies: list[str] = []
        self.answer: Any = None
        self.clock = NOW

    def take(self, path: str, body: str) -> tuple[int, str]:
        assert path == "/prefix/add-checkpoint"
        self.bodies.append(body)
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        new, _ = open_checkpoint(note, LOG)
        seen = open_checkpoint(self.note, LOG)[0] if self.note else None
        size = seen.size if seen else 0
        if old != f"old {size}":
            return 409, f"{size}\n"
        if seen is not None:
            if seen.size == new.size and seen.root != new.root:
                return 409, f"{size}\n"
            try:
                hashes = [base64.b64decode(line) for line in proof]
                if size:
                    verify_consistency(size, new.size, seen.root, new.root, hashes)
            except ProofError:
                return 422, ""
        self.note = note
        others = cosign_line(new.text, "somebody.else/w2", signer("rolf"), self.clock)
        self.cosignature = cosign_line(new.text, NAME, signer("archive"), self.clock)
        return 200, others + self.cosignature

    def told(self, path: str) -> tuple[int, str]:
        """The last head that it cosigned, if it tells."""
        place = hashlib.sha256(LOG.name.encode()).hexdigest()
        if not self.reads or self.note is None or path != f"/prefix/checkpoint/{place}":
            return 404, ""
        return 200, self.note + self.cosignature


@contextmanager
def listening(remote: Remote) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*(remote.answer or remote.take)(self.path, body))

        def do_GET(self) -> None:
            self._answer(*remote.told(self.path))

        def _answer(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/prefix/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def url(remote: Remote) -> Iterator[str]:
    with listening(remote) as found:
        yield found


def opened(path: Path, url: str, **more: Any) -> Ledger:
    witness = HttpWitness(url, LOG, KEY)
    return Ledger(path, LOG.name, signer("ledger-1"), lambda: NOW, [witness], **more)


def append(ledger: Ledger, number: int) -> str:
    body = b'{"at":%d,"count":1,"method":"status","reason":"role_denied"}' % number
    return ledger.append("denied", body, "sha256:" + f"{number:064x}").head


def refusal(act: Any) -> WitnessError:
    with pytest.raises(WitnessError) as refused:
        act()
    return refused.value


def test_each_head_is_shown_with_a_proof_and_comes_back_cosigned(
    tmp_path: Path, url: str, remote: Remote
) -> None:
    with opened(tmp_path / "ledger.db", url) as ledger:
        for number in range(1, 12):
            head = append(ledger, number)
            note = open_note(head, [LOG, KEY])
            assert (note.signers[-1], note.times) == (KEY, {NAME: NOW})
            assert "somebody.else" not in head, "only lines of the known key are kept"
    # One question a head: what it has seen is known.
    assert len(remote.bodies) == 12
    assert remote.bodies[-1].startswith("old 10\n")


def test_after_a_restart_the_witness_says_what_it_has_seen(
    tmp_path: Path, url: str, remote: Remote
) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, url) as ledger:
        append(ledger, 1)
    with opened(path, url) as ledger:
        append(ledger, 2)
    assert [body.split("\n")[0] for body in remote.bodies[-3:]] == ["old 0", "old 1", "old 1"]


def test_an_old_copy_that_was_restored_does_not_start(
    tmp_path: Path, url: str, remote: Remote
) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, url) as ledger:
        append(ledger, 1)
    old = path.read_bytes()
    with opened(path, url) as ledger:
        append(ledger, 2)
    path.write_bytes(old)
    assert refusal(lambda: opened(path, url)).reason == "went_back"


def test_another_history_is_refused(tmp_path: Path, url: str) -> None:
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    with opened(path, url) as ledger:
        append(ledger, 1)
        append(ledger, 2)
    for numbers in ((3, 4), (3, 4, 5)):
        with Ledger(other, LOG.name, signer("ledger-1"), lambda: NOW, quorum=0) as ledger:
            for number in numbers:
                append(ledger, number)
        assert refusal(lambda: opened(other, url)).reason == "fork"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda *_: (404, ""), "answered 404"),
        (lambda *_: (403, ""), "answered 403"),
        (lambda *_: (500, "oops"), "answered 500"),
        (lambda *_: (302, ""), "answered 302"),
        (lambda *_: (200, ""), "did not cosign"),
        (lambda *_: (200, "thank you\n"), "did not cosign"),
        (lambda *_: (409, "many\n"), "told no size"),
        (lambda *_: (409, "-1\n"), "told no size"),
        (lambda *_: (200, "x" * 70_000), "more than 65536 bytes"),
    ],
)
def test_what_is_no_cosignature_is_no_witness(
    tmp_path: Path, url: str, remote: Remote, answer: Any, reason: str
) -> None:
    remote.answer = answer
    error = refusal(lambda: opened(tmp_path / "ledger.db", url))
    assert error.reason == "not_witnessed" and reason in str(error)


@pytest.mark.parametrize("wrong", ["key", "name", "text", "time"])
def test_a_cosignature_of_something_else_does_not_count(
    tmp_path: Path, url: str, remote: Remote, wrong: str
) -> None:
    def answer(_path: str, body: str) -> tuple[int, str]:
        text = open_checkpoint(body.partition("\n\n")[2], LOG)[0].text
        key = signer("rolf" if wrong == "key" else "archive")
        name = "another.example" if wrong == "name" else NAME
        at = NOW - 3600 if wrong == "time" else NOW
        return 200, cosign_line("another\n0\n\n" if wrong == "text" else text, name, key, at)

    remote.answer = answer
    error = refusal(lambda: opened(tmp_path / "ledger.db", url))
    assert error.reason == "not_witnessed" and "did not cosign" in str(error)


def test_a_witness_that_is_away_lets_nothing_be_promoted_and_another_helps(
    tmp_path: Path, remote: Remote
) -> None:
    with listening(remote) as url:
        away = HttpWitness("http://127.0.0.1:1/", LOG, KEY)
        error = refusal(lambda: away.publish("x", lambda *_: [], NOW))
        assert error.reason in ("bad_note", "witness_unreachable")
        witnesses = [away, HttpWitness(url, LOG, KEY)]
        path = tmp_path / "ledger.db"
        with Ledger(path, LOG.name, signer("ledger-1"), lambda: NOW, witnesses) as ledger:
            assert NAME in append(ledger, 1)
    assert refusal(lambda: opened(path, url)).reason == "not_witnessed"


@pytest.mark.parametrize(
    "told",
    [
        "http://witness.example/ " + str(KEY),
        "https:// " + str(KEY),
        "https://witness.example/",
        "https://witness.example/ nonsense",
        "https://witness.example/ " + str(NoteKey(NAME, KEY.public)),
    ],
)
def test_an_address_or_a_key_that_is_none_is_told(told: str) -> None:
    assert refusal(lambda: HttpWitness.parse(told, LOG)).reason == "bad_witness"


def test_the_settings_may_name_an_address_with_its_key() -> None:
    found = HttpWitness.parse(f"https://witness.example/w1 {KEY}", LOG)
    assert (found.name, found.heads()) == ("https://witness.example/w1", [])


def test_a_gateways_folder_is_made_with_it(tmp_path: Path) -> None:
    words: tuple[object, ...] = ("governance", "init", "--audience", "eu", "--gateway", "g-1")
    address = f"https://witness.example {KEY}"
    file = tmp_path / "heads.jsonl"
    told = run(*words, "--home", tmp_path / "home", "--witness", address, "--witness", file)
    assert told["witnesses"] == [address, str(file)]
    found = settings.load(Home(tmp_path / "home"))
    names = [settings.witness(each, LOG).name for each in found.witnesses]
    assert names == ["https://witness.example", str(file)]
    bad = run(*words, "--home", tmp_path / "bad", "--witness", "https://witness.example", code=1)
    assert bad["reason"] == "bad_witness"
    assert not (tmp_path / "bad" / "service.json").exists()
