"""Sends outcomes that became known later to a gateway's `Feedback` call."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gateway.wire import feedback_pb2 as pb
from gateway.wire import feedback_pb2_grpc as stubs

# Outcomes in one report; the gateway takes up to 10,000.
REPORT = 1_000
TIMEOUT_SECONDS = 10.0
# How often a report is sent that finds no room.
ATTEMPTS = 50
COLUMNS = ("request_id", "label")


class FeedbackError(Exception):
    """The outcomes cannot be read, or the gateway does not take them; the message says why."""

    def __init__(self, text: str, *, unreachable: bool = False) -> None:
        super().__init__(text)
        self.unreachable = unreachable


@dataclass(frozen=True)
class Reported:
    """What became of outcomes: written down, or of requests that are not in the log's sample."""

    accepted: int = 0
    not_sampled: int = 0


def read(path: Path) -> list[Any]:
    """The outcomes in a CSV or Parquet file: columns `request_id`, `label` and perhaps `row` and
    `time_ns` (ns since 1970 UTC).

    Raises:
        FeedbackError: the file cannot be read, or a row is no outcome; the row is named.
    """
    rows = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    return [_outcome(path, number, row) for number, row in enumerate(rows, 1)]


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            _columns(path, rows.fieldnames or ())
            yield from rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeedbackError(f"{path}: {error}") from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415
    except ImportError as error:
        text = "Parquet needs pyarrow: pip install 'sluicegate[decisions]', or send a CSV."
        raise FeedbackError(text) from error
    try:
        table = parquet.read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise FeedbackError(f"{path}: {error}") from error
    _columns(path, table.column_names)
    yield from table.to_pylist()


def _columns(path: Path, names: Sequence[str]) -> None:
    for column in COLUMNS:
        if column not in names:
            raise FeedbackError(f"{path} has no column '{column}'; it has {', '.join(names)}.")


def _outcome(path: Path, number: int, row: Mapping[str, Any]) -> Any:
    try:
        label = float(row["label"])
        outcome = pb.Outcome(
            request_id=str(row["request_id"] or ""),
            row=int(row.get("row") or 0),
            time_ns=int(row.get("time_ns") or 0),
            label=label,
        )
    except (TypeError, ValueError) as error:
        raise FeedbackError(f"{path}, row {number}: {error}") from error
    if not outcome.request_id or not math.isfinite(label):
        raise FeedbackError(f"{path}, row {number}: an id and a number are needed.")
    return outcome


def send(channel: grpc.Channel, outcomes: Sequence[Any], token: str = "") -> Reported:
    """Sends all outcomes; a report that finds no room is sent again.

    Raises:
        FeedbackError: the gateway refused, or does not answer.
    """
    stub = stubs.FeedbackStub(channel)
    metadata = [("authorization", f"Bearer {token}")] if token else None
    told = Reported()
    for first in range(0, len(outcomes), REPORT):
        request = pb.ReportRequest(outcomes=outcomes[first : first + REPORT])
        answer = _report(stub, request, metadata)
        told = Reported(told.accepted + answer.accepted, told.not_sampled + answer.not_sampled)
    return told


def _report(stub: Any, request: Any, metadata: Any) -> Any:
    for attempt in range(ATTEMPTS):
        try:
            return stub.Report(request, timeout=TIMEOUT_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code == grpc.StatusCode.RESOURCE_EXHAUSTED and attempt + 1 < ATTEMPTS:
                time.sleep(0.1)
                continue
            away = code == grpc.StatusCode.UNAVAILABLE
            raise FeedbackError(error.details(), unreachable=away) from error
    raise AssertionError("unreachable")
