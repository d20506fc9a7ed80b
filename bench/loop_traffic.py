"""Traffic of the closed loop's demo: rows one after the other, and their outcomes.

The gateway writes its decision log; outcomes go back by its Feedback call as they become known.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import numpy as np
import numpy.typing as npt

from bench.story_desk import StoryError
from gateway import decisions, feedback
from gateway.wire import feedback_pb2
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from trainer.quality import auc

# Outcomes that are reported together.
REPORT = 50


@dataclass
class Sent:
    """What was answered, request by request."""

    scores: list[float] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)


class LoopTraffic:
    """Sends from `with` to its end, open loop at a rate, drawn from the rows of now."""

    def __init__(
        self,
        port: int,
        log: Path,
        model: str,
        x: npt.NDArray[np.float32],
        y: npt.NDArray[np.int8],
        rate: float,
    ) -> None:
        """`x`, float32 [n, f], and `y`, int8 [n], are drawn from; the rate is in requests a s."""
        self.sent = Sent()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = stubs.GRPCInferenceServiceStub(self._channel)
        self._log, self._model, self._rate = log, model, rate
        self._x, self._y = x, y
        self._random = np.random.default_rng(11)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._error = ""
        self._outcomes: list[feedback_pb2.Outcome] = []
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    @property
    def clock(self) -> float:
        """Seconds since the traffic began."""
        return time.monotonic() - self._begun

    def shift(self, x: npt.NDArray[np.float32]) -> None:
        """From now on requests are these rows, with the same outcomes."""
        self._x = x

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests more were answered and are in the log.

        Raises:
            StoryError: a call failed, or they do not come.
        """
        wanted, deadline = len(self.sent.scores) + requests, time.monotonic() + 120
        while len(self.sent.scores) < wanted or self._logged() < wanted - REPORT:
            if self._error:
                raise StoryError(f"a request failed: {self._error}")
            if time.monotonic() > deadline:
                raise StoryError(f"{requests} requests were not answered within 120 s")
            time.sleep(0.25)

    def auc(self, begin: int, end: int) -> float:
        """Of the live scores of these requests, by their number."""
        y = np.array(self.sent.labels[begin:end]).astype(np.int8)
        return auc(np.array(self.sent.scores[begin:end]), y)

    def _send(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                due += self._random.exponential(1 / self._rate)
                time.sleep(max(0.0, due - time.monotonic()))
                self._one()
        except (grpc.RpcError, feedback.FeedbackError) as error:
            self._error = str(error)

    def _one(self) -> None:
        x = self._x
        row = int(self._random.integers(0, len(x)))
        sent = self.sent
        asked = pb.ModelInferRequest(
            model_name=self._model,
            id=f"r{len(sent.scores)}",
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    name="features", datatype="FP32", shape=[1, x.shape[1]]
                )
            ],
            raw_input_contents=[x[row].tobytes()],
        )
        told = self._stub.ModelInfer(asked, timeout=10)
        score = float(np.frombuffer(told.raw_output_contents[0], np.float32)[0])
        digest = told.parameters["sluicegate_digest"].string_param
        self._outcomes.append(feedback_pb2.Outcome(request_id=asked.id, label=float(self._y[row])))
        sent.scores.append(score)
        sent.labels.append(float(self._y[row]))
        sent.digests.append(digest)
        sent.at.append(self.clock)
        if len(self._outcomes) == REPORT:
            feedback.send(self._channel, self._outcomes)
            self._outcomes = []

    def _logged(self) -> int:
        """Requests that stand in whole files with their outcomes."""
        kept = decisions.show(self._log)
        return min(kept[kind].rows for kind in ("decisions", "feedback"))
