"""Traffic of the closed loop's demo: rows one after the other, logged with their outcomes.

The gateway's own decision log is a part of the data plane that does not exist yet; this client
writes the same files (docs/train.md) of what it was answered, and the outcomes as they become known
to it. Everything behind the files is as it will be.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.story_desk import StoryError
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from trainer.quality import auc

# Requests in one file of the log.
FILE_ROWS = 250


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
        self._stub = stubs.GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        self._log, self._model, self._rate = log, model, rate
        self._x, self._y = x, y
        self._random = np.random.default_rng(11)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._error = ""
        self._rows: list[tuple[Any, ...]] = []
        self._files = 0
        self._thread = threading.Thread(target=self._send, daemon=True)
        log.mkdir(parents=True, exist_ok=True)

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
        while self._files * FILE_ROWS < wanted - FILE_ROWS or len(self.sent.scores) < wanted:
            if self._error:
                raise StoryError(f"a request failed: {self._error}")
            if time.monotonic() > deadline:
                raise StoryError(f"{requests} requests were not answered within 120 s")
            time.sleep(0.05)

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
        except grpc.RpcError as error:
            self._error = str(error)

    def _one(self) -> None:
        x = self._x
        row = int(self._random.integers(0, len(x)))
        asked = pb.ModelInferRequest(
            model_name=self._model,
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    name="features", datatype="FP32", shape=[1, x.shape[1]]
                )
            ],
            raw_input_contents=[x[row].tobytes()],
        )
        begun = time.perf_counter_ns()
        told = self._stub.ModelInfer(asked, timeout=10)
        took = (time.perf_counter_ns() - begun) / 1e3
        score = float(np.frombuffer(told.raw_output_contents[0], np.float32)[0])
        digest = told.parameters["sluicegate_digest"].string_param
        sent = self.sent
        self._rows.append((f"r{len(sent.scores)}", digest, took, x[row], score, int(self._y[row])))
        sent.scores.append(score)
        sent.labels.append(float(self._y[row]))
        sent.digests.append(digest)
        sent.at.append(self.clock)
        if len(self._rows) == FILE_ROWS:
            self._write()

    def _write(self) -> None:
        ids, digests, took, x, scores, labels = zip(*self._rows, strict=True)
        now = time.time_ns()
        n = len(ids)
        when = [now - n + i for i in range(n)]
        decisions = {
            "request_id": list(ids),
            "time_ns": when,
            "model": [self._model] * n,
            "digest": list(digests),
            "latency_us": list(took),
            "input:features": [one.tolist() for one in x],
            "output:score": [[score] for score in scores],
        }
        feedback = {"request_id": list(ids), "time_ns": when, "label": [float(v) for v in labels]}
        for kind, columns in (("feedback", feedback), ("decisions", decisions)):
            table = pa.table(columns)
            path = str(self._log / f"{kind}-{self._files:06d}.arrow")
            with pa.OSFile(path, "wb") as out, pa.ipc.new_file(out, table.schema) as file:
                file.write_table(table)
        self._files += 1
        self._rows = []
