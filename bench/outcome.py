"""What a demo run found out about each specialist: the input of the report and the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.quality import Costs, Quality

# Stands where there is no figure to show.
NONE = "—"


class LoadResultError(Exception):
    """The load generator's JSON lacks a field or holds one of another type."""


@dataclass(frozen=True)
class Latency:
    """Latencies of OK answers in µs from the scheduled send; None: too few answers to tell."""

    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None
    mean: float | None
    count: int


@dataclass(frozen=True)
class Window:
    """A stretch of the run that began `t_s` seconds after its start; latencies in µs."""

    t_s: float
    sent: int
    ok: int
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class Load:
    """What the load generator measured.

    Attributes:
        rate: requests per second that were scheduled; None for as many as possible.
        connections: open to the gateway.
        deadline_us: each request's deadline, µs; None for none.
        sent, ok, late, unanswered: requests sent; answered OK; answered OK, but after their
            deadline; never answered.
        status: gRPC status name to answers.
        decisions_per_s: rows answered OK per second, late ones included.
        throughput_per_s: requests answered per second, with any status.
        histogram_us: ascending (upper bound in µs, answers) pairs.
    """

    rate: float | None
    connections: int
    deadline_us: float | None
    sent: int
    ok: int
    late: int
    unanswered: int
    status: Mapping[str, int]
    decisions_per_s: float
    throughput_per_s: float
    latency: Latency
    histogram_us: tuple[tuple[float, int], ...]
    windows: tuple[Window, ...]

    @property
    def shed(self) -> int:
        """Requests refused at admission, since their deadline could not be met."""
        return self.status.get("RESOURCE_EXHAUSTED", 0)

    @property
    def expired(self) -> int:
        """Requests whose deadline passed within the gateway."""
        return self.status.get("DEADLINE_EXCEEDED", 0)

    @staticmethod
    def from_json(result: Mapping[str, Any]) -> Load:
        """The load generator's JSON object, read.

        Raises:
            LoadResultError: a field is missing or of another type.
        """
        try:
            latency = result["latency_us"] or {}
            return Load(
                rate=_maybe(result["rate"]),
                connections=int(result["connections"]),
                deadline_us=_maybe(result["deadline_us"]),
                sent=int(result["sent"]),
                ok=int(result["ok"]),
                late=int(result["late"]),
                unanswered=int(result["unanswered"]),
                status={str(name): int(count) for name, count in result["status"].items()},
                decisions_per_s=float(result["decisions_per_s"]),
                throughput_per_s=float(result["throughput_per_s"]),
                latency=Latency(
                    p50=_maybe(latency.get("p50")),
                    p90=_maybe(latency.get("p90")),
                    p99=_maybe(latency.get("p99")),
                    p999=_maybe(latency.get("p999")),
                    max=_maybe(latency.get("max")),
                    mean=_maybe(latency.get("mean")),
                    count=int(latency.get("count") or 0),
                ),
                histogram_us=tuple(
                    (float(bound), int(count)) for bound, count in result["histogram_us"]
                ),
                windows=tuple(
                    Window(
                        t_s=float(window["t_s"]),
                        sent=int(window["sent"]),
                        ok=int(window["ok"]),
                        p50_us=_maybe(window["p50_us"]),
                        p99_us=_maybe(window["p99_us"]),
                    )
                    for window in result["windows"]
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LoadResultError(
                f"The load generator's result is not as expected ({type(error).__name__}: {error})."
            ) from error


@dataclass(frozen=True)
class SpecialistResult:
    """One specialist's quality and speed.

    Attributes:
        name: the model's name on the wire.
        task: what it decides, one sentence.
        model: what it is, such as "gradient-boosted trees".
        labels: the classes' names, [below the threshold, at or above it].
        threshold: scores at or above it are decided as labels[1].
        costs: what wrong decisions cost.
        offline: quality of ONNX Runtime's decisions in Python on the held-out rows.
        gateway: quality of the gateway's decisions on the same rows; None if not measured.
        same_decisions: rows that both decided alike, of `compared`.
        compared: held-out rows that the gateway answered.
        load: the load generator's measurement.
        batches: (rows, batches of that many rows) that the gateway ran under the load.
        notes: further sentences for the reader.
    """

    name: str
    task: str
    model: str
    labels: tuple[str, str]
    threshold: float
    costs: Costs
    offline: Quality
    gateway: Quality | None
    same_decisions: int
    compared: int
    load: Load
    batches: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def mean_batch(self) -> float | None:
        """Mean rows of a batch; None if no batch ran."""
        total = sum(count for _, count in self.batches)
        return sum(rows * count for rows, count in self.batches) / total if total else None


def duration(us: float | None) -> str:
    """A time in µs as a person reads it, to three figures: `412 µs`, `1.24 ms`, `2.5 s`."""
    if us is None:
        return NONE
    for unit, scale in (("µs", 1.0), ("ms", 1e3)):
        if us < 999.5 * scale:
            return f"{_figures(us / scale)} {unit}"
    return f"{_figures(us / 1e6)} s"


def _figures(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def _maybe(value: Any) -> float | None:
    return None if value is None else float(value)
