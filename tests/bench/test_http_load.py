"""The HTTP client: what it counts, and from when."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench.http_load import Tally, complete, encode, quantile, scores
from bench.load import LoadError
from bench.servers import free_port
from bench.workload import write_requests


def test_no_quantile_comes_from_fewer_than_ten_samples_beyond_it() -> None:
    values = [float(n) for n in range(1000)]
    assert quantile(values, 0.99) == 990
    assert quantile(values[:999], 0.99) is None
    assert quantile(values, 0.5) == 500
    assert quantile([], 0.5) is None


@pytest.mark.parametrize(
    ("read", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200),
        (b"HTTP/1.1 503 No\r\nContent-Length:0\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh", None),
        (b"HTTP/1.1 200 OK\r\ncontent-le", None),
    ],
)
def test_an_answer_is_complete_when_its_whole_body_is_there(
    read: bytes, status: int | None
) -> None:
    assert complete(read) == status


def test_latency_runs_from_the_scheduled_send_and_rates_count_arrivals() -> None:
    tally = Tally(start=10.0, end=12.0)
    for due, sent, answered in [(9.9, 9.9, 10.1), (10.5, 10.7, 11.5), (11.9, 11.9, 12.4)]:
        tally.sent(due, sent)
        tally.answered(due, answered, 200)
    tally.sent(11.0, 11.0)
    tally.answered(11.0, 11.1, 500)
    assert tally.latencies_us == pytest.approx([1e6, 0.5e6])
    assert tally.lags_us == pytest.approx([0.2e6, 0, 0])
    report = tally.report()
    assert report["ok_per_s"] == 1.0
    assert report["status"] == {"HTTP_200": 2, "HTTP_500": 1}
    assert (report["sent"], report["ok"], report["unanswered"]) == (3, 2, 0)


def test_a_request_says_how_long_its_body_is() -> None:
    head, _, body = encode("/predict", 80, b"{}").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\n")
    assert b"Content-Length: 2" in head
    assert body == b"{}"


class Doubler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"score": 2 * body["x"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def test_scores_come_in_the_order_of_the_bodies(tmp_path: Path) -> None:
    write_requests(tmp_path / "bodies", [b'{"x": 1}', b'{"x": 0.25}'])
    with HTTPServer(("127.0.0.1", 0), Doubler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = scores(server.server_port, tmp_path / "bodies")
        server.shutdown()
    assert found.dtype == np.float32
    assert found.tolist() == [2.0, 0.5]


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    write_requests(tmp_path / "bodies", [b"{}"])
    with pytest.raises(LoadError, match="HTTP client"):
        scores(free_port(), tmp_path / "bodies")
