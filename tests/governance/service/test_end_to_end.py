"""The whole way with a real server: shadow, PASS, promotion, new answers, rollback."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.servers import Contender
from gateway.control.plane import ControlSocket
from gateway.packing import pack_contract
from gateway.wire import feedback_pb2 as pb
from governance.errors import GovernanceError
from governance.service.repository import digest_of
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.statements import parse
from tests.calls import Client, connect, request
from tests.conftest import Serve
from tests.gateway.test_feedback import report
from tests.governance.service.stage import Stage, short_policy

CONTRACT = """\
format = "sluicegate.contract/1"
engine = "identity"
inputs = [{ name = "features", datatype = "FP32", shape = [-1, 32] }]
outputs = [{ name = "score", datatype = "FP32", shape = [-1, 32] }]
[decision]
output = "score"
threshold = %g
labels = ["no", "yes"]
"""
MODEL = "fraud"


def answers(client: Client) -> str:
    x = np.zeros((1, 32), np.float32)
    told = client.stub.ModelInfer(request(MODEL, x), timeout=5)
    return str(told.parameters["sluicegate_digest"].string_param)


@contextmanager
def traffic(server: Contender) -> Iterator[list[str]]:
    """Calls one after the other until the block ends; the digests that answered."""
    stop, seen = threading.Event(), list[str]()
    client = connect(server)

    def call() -> None:
        while not stop.is_set():
            seen.append(answers(client))
            time.sleep(0.0005)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def real(tmp_path: Path, serve: Serve) -> Iterator[Any]:
    models = tmp_path / "models"
    for threshold in (0.5, 0.25, -1.0):
        # The third says yes where the others say no.
        pack_contract(CONTRACT % threshold, MODEL, models)
    socket = tmp_path / "control"
    log = f'[decision_log]\nfolder = "{tmp_path / "log"}"\nshare = 0.1\n'
    config = f'control_socket = "{socket}"\n{log}[model.{MODEL}]\nversions = [1]\n'
    server = serve(models, config)
    now = int(time.time())
    stage = Stage(tmp_path, ControlSocket(socket), models, short_policy(now), clock=now)
    yield server, stage
    stage.close()


def compare(stage: Stage, candidate: str) -> str:
    approval = stage.approval("shadow", candidate, "olga")
    stage.shadowing.start(MODEL, candidate, [approval])
    deadline = time.monotonic() + 60
    while stage.shadowing.models and time.monotonic() < deadline:
        time.sleep(0.1)
        stage.clock = int(time.time())
        stage.shadowing.tick()
    rows = [r for r in stage.authority.ledger.reader.rows() if r.kind == "shadow_result"]
    return next(v for v in ("PASS", "FAIL", "INCONCLUSIVE") if v.encode() in rows[-1].body)


def test_from_candidate_to_live_and_back_on_real_traffic(real: Any) -> None:
    server, stage = real
    digests = [digest_of(stage.models / MODEL / str(version)) for version in (1, 2, 3)]
    stage.first(1, digests[0])
    for version in (2, 3):
        stage.submit(version, digests[version - 1])
    with traffic(server) as seen:
        assert compare(stage, digests[2]) == "FAIL"
        fake = "sha256:" + "0" * 64
        with pytest.raises(GovernanceError):
            stage.promotion.promote(
                MODEL,
                digests[2],
                [stage.approval("promote", digests[2], "dora", "greta", shadow_report=fake)],
            )
        assert compare(stage, digests[1]) == "PASS"
        assert set(seen) == {digests[0]}
        stage.promote(digests[1])
        assert stage.live() == (digests[1],) * 3
        after = len(seen)
        client = connect(server)
        assert answers(client) == digests[1]
        approval = stage.approval("rollback", digests[1], "olga")
        stage.rollback.roll_back(MODEL, [approval])
        assert answers(client) == digests[0]
    assert set(seen[after:]) <= {digests[0], digests[1]}
    assert seen[-1] == digests[0]


def test_outcomes_that_callers_report_stand_in_the_signed_report(real: Any) -> None:
    server, stage = real
    digests = [digest_of(stage.models / MODEL / str(version)) for version in (1, 2)]
    stage.first(1, digests[0])
    stage.submit(2, digests[1])
    stop = threading.Event()

    def call() -> None:
        # Every request has an id, and its outcome comes a moment later: it was a yes.
        client, n = connect(server), 0
        while not stop.is_set():
            x = np.full((1, 32), 0.1, np.float32)
            client.infer(request(MODEL, x, id=f"r{n}"))
            if n % 50 == 49:
                report(server, *(pb.Outcome(request_id=f"r{m}", label=1) for m in range(n - 49, n)))
            n += 1

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert compare(stage, digests[1]) == "PASS"
    finally:
        stop.set()
        thread.join()
    report_digest = str(stage.authority.candidate(MODEL, digests[1]).report)
    said = parse(stage.home.statement(report_digest).payload, ShadowReport).predicate
    assert verify(said).outcome == "PASS"
    assert said.labels is not None and said.labels.labelled > said.n / 2
    # Both were wrong every time.
    assert (said.labels.only_candidate_wrong, said.labels.only_incumbent_wrong) == (0, 0)
    assert said.labels.log10_e == "0.0000"
