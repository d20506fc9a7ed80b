"""Outcomes that are reported while a shadow runs reach whoever asks for what it found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import source
from gateway.wire import feedback_pb2 as pb
from tests.calls import eventually, request
from tests.conftest import Serve
from tests.gateway.test_decision_log import log_config
from tests.gateway.test_feedback import report
from tests.gateway.test_shadow import WISHES, Shadowed, pack, rows


@pytest.fixture
def shadowed(tmp_path: Path, serve: Serve) -> Iterator[Any]:
    """A server that logs some requests and shadows all."""
    for threshold in (0.0, 0.5):
        pack(tmp_path / "models", threshold)
    socket = tmp_path / "control"
    config = f'control_socket = "{socket}"\n{log_config(tmp_path / "log", share=0.3)}'
    server = serve(tmp_path / "models", config + "[model.m]\nversions = [1]\n")
    yield Shadowed(server, socket)


def complete(s: Shadowed) -> list[dict[str, Any]]:
    return [end for end in s.ends if end["end"] == "complete"]


def test_a_pair_carries_its_requests_id_its_row_and_both_scores(shadowed: Shadowed) -> None:
    s = shadowed
    s.start()
    sent = {f"r{n}": [0.25 + n / 100, 0.75, 0.9] for n in range(60)}
    for name, first in sent.items():
        s.client.infer(request("m", rows(first), id=name))
    assert eventually(lambda: s.settled(180) and len(complete(s)) > 5)
    for end in complete(s):
        # Whether the decision log holds it or not.
        score = sent[end["request"]][end["row"]]
        assert end["incumbent_score"] == end["candidate_score"] == pytest.approx(score)
        assert (end["incumbent"], end["candidate"]) == (True, score >= 0.5)


@pytest.fixture
def without_log(tmp_path: Path, serve: Serve) -> Shadowed:
    for threshold in (0.0, 0.5):
        pack(tmp_path / "models", threshold)
    socket = tmp_path / "control"
    config = f'control_socket = "{socket}"\n[model.m]\nversions = [1]\n'
    return Shadowed(serve(tmp_path / "models", config), socket)


def test_a_request_without_an_id_is_a_pair_that_no_outcome_can_be_of(
    without_log: Shadowed,
) -> None:
    s = without_log
    s.start()
    for name in ("", "x" * 257, "fine"):
        for _ in range(20):
            s.client.infer(request("m", rows([0.7]), id=name))
    assert eventually(lambda: s.settled(60) and len(complete(s)) > 5)
    assert {end.get("request") for end in complete(s)} <= {None, "fine"}


def test_outcomes_are_told_to_the_shadow_once_whether_the_log_holds_them_or_not(
    shadowed: Shadowed,
) -> None:
    s = shadowed
    before = pb.Outcome(request_id="early", label=1.0)
    report(s.server, before)
    s.start()
    sent = [pb.Outcome(request_id=f"r{n}", row=n % 2, label=n % 2, time_ns=n) for n in range(1, 31)]
    told = report(s.server, *sent)
    assert 0 < told.accepted < 30 and told.accepted + told.not_sampled == 30
    found = s.look()["found"]
    expected = [
        {"request": o.request_id, "row": o.row, "time_ns": o.time_ns, "label": o.label}
        for o in sent
    ]
    assert found["outcomes"] == expected
    assert found["outcomes_lost"] == 0
    assert s.look()["found"]["outcomes"] == []


def test_outcomes_reach_a_shadow_also_where_no_decision_log_is_written(
    without_log: Shadowed,
) -> None:
    s = without_log
    sent = pb.Outcome(request_id="r", label=1.0, time_ns=7)
    with pytest.raises(Exception, match="compares no models"):
        report(s.server, sent)
    s.start()
    told = report(s.server, sent)
    assert (told.accepted, told.not_sampled) == (1, 0)
    expected = {"request": "r", "row": 0, "time_ns": 7, "label": 1.0}
    assert s.look()["found"]["outcomes"] == [expected]


def test_a_report_that_is_refused_is_told_to_no_shadow(shadowed: Shadowed) -> None:
    s = shadowed
    s.start()
    with pytest.raises(Exception, match="outcome 1"):
        report(s.server, pb.Outcome(request_id="r", label=1.0), pb.Outcome(request_id="s"))
    assert s.look()["found"]["outcomes"] == []


def test_the_shadow_of_a_canary_is_told_too(shadowed: Shadowed) -> None:
    s = shadowed
    told = {"model": "m", "version": 2, "share": 0.5, "salt": "0" * 32}
    source.command(s.socket, "canary", **told, wishes=WISHES)
    report(s.server, pb.Outcome(request_id="r", label=1.0))
    assert [o["request"] for o in s.look()["found"]["outcomes"]] == ["r"]
