"""What the comparison of servers calls: each server's doors, how a door is driven and checked."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench import http_load, load, models, workload
from bench.load import LoadError, LoadSpec

SERVICE = "/inference.GRPCInferenceService"
LIVE_ANSWER = b"\x08\x01"
WITHIN = 1e-5
CHECK_SECONDS = 30.0
Kind = Literal["infer", "live", "http"]


class WrongAnswerError(RuntimeError):
    """A server answered, and not with what the model gives."""


@dataclass(frozen=True)
class Door:
    """One way into a server.

    `infer` is ModelInfer over gRPC with a row of features, `live` an empty ServerLive over gRPC,
    `http` a row of features as JSON.
    """

    name: str
    kind: Kind = "infer"

    @property
    def driven(self) -> str:
        """How it was driven, in words."""
        return {
            "infer": "ModelInfer, gRPC",
            "live": "empty ServerLive, gRPC",
            "http": "JSON over HTTP/1.1, our client in Python",
        }[self.kind]


@dataclass(frozen=True)
class Workload:
    """The same rows in the forms that doors take, and their scores by ONNX Runtime itself.

    `rows` and `bodies` are files of ModelInferRequests and of JSON, one row each; `scores` is
    float32 [n].
    """

    rows: Path
    bodies: Path
    scores: NDArray[np.float32]


def workload_of(graph: Path, rows: Path, count: int) -> Workload:
    """The workload of `count` rows whose ModelInferRequests are in `rows` already."""
    x = models.rows(count)
    bodies = rows.with_name("bodies.bin")
    workload.write_requests(bodies, (json.dumps({"features": r.tolist()}).encode() for r in x))
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    scores: NDArray[np.float32] = session.run(["score"], {"features": x})[0][:, 0]
    return Workload(rows, bodies, scores)


def drive(door: Door, port: int, spec: LoadSpec, work: Workload) -> dict[str, Any]:
    """Load a door as `spec` says; its `requests` are chosen here, by the door's kind.

    Raises:
        LoadError: the server was not reached, or gave not one good answer.

    """
    if door.kind == "http":
        report = http_load.run(spec, port, work.bodies)
    else:
        report = load.run(_carrying(door, spec, work), port, "--path", _path(door))
    if not report["ok"]:
        raise LoadError(f"no good answer, {report['status'] or report.get('failures')}")
    return report


def check(door: Door, port: int, work: Workload) -> None:
    """Ask for every row once, and compare with ONNX Runtime's own scores.

    Raises:
        LoadError: the server was not reached.
        WrongAnswerError: an answer is missing, or further from the score than WITHIN.

    """
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder, "answers")
        if door.kind == "http":
            judge(http_load.scores(port, work.bodies), work.scores)
            return
        once = LoadSpec(None, 0, in_flight=1, connections=1, warmup_s=0, responses=answers)
        spec = replace(once, sends=len(work.scores), timeout_s=CHECK_SECONDS)
        load.run(_carrying(door, spec, work), port, "--path", _path(door))
        if door.kind == "live":
            if [a.message for a in workload.read_answers(answers)] != [LIVE_ANSWER]:
                raise WrongAnswerError("ServerLive did not say that it is live")
            return
        found = workload.collect(workload.read_answers(answers), [1] * len(work.scores))
        judge(found.values, work.scores)


def judge(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """Compare scores, float32 [n]; NaN stands for one that never came.

    Raises:
        WrongAnswerError: a score is missing, or further away than WITHIN.

    """
    if missing := int(np.isnan(found).sum()):
        raise WrongAnswerError(f"{missing} of {len(wanted)} rows were not answered")
    if (worst := float(np.abs(found - wanted).max())) > WITHIN:
        raise WrongAnswerError(f"a score is {worst:.2g} away from ONNX Runtime's own")


def _carrying(door: Door, spec: LoadSpec, work: Workload) -> LoadSpec:
    return replace(spec, requests=None if door.kind == "live" else work.rows)


def _path(door: Door) -> str:
    return f"{SERVICE}/{'ServerLive' if door.kind == 'live' else 'ModelInfer'}"
