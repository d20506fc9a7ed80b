"""The group `serving`: how fast and how dear a candidate is, measured through the gateway."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from governance.attestations import Name
from governance.shape import Between, Pattern
from governance.vocabulary import Count, Decimal, Digest, Positive, Sentence


@dataclass(frozen=True)
class Quantiles:
    """Latencies of answers in µs from the scheduled send; absent where too few lie beyond."""

    count: Count
    p50: Decimal | None = None
    p90: Decimal | None = None
    p99: Decimal | None = None
    p999: Decimal | None = None


@dataclass(frozen=True)
class Bin:
    """So many answers took at most so many µs and more than the bin before."""

    up_to: Decimal
    answers: Count


@dataclass(frozen=True)
class Run:
    """One run of the load generator. `report` is its own report, kept in the bundle.

    Times are in µs, rates a second; `decisions_per_second` are rows answered OK.
    """

    model: Digest
    report: Annotated[str, Pattern(r"measurements/[a-z0-9][a-z0-9_.-]{0,63}\.json")]
    arrival: Literal["open", "closed"]
    rate: Decimal | None
    rows: Positive
    connections: Positive
    deadline_us: Count | None
    seconds: Decimal
    sent: Count
    ok: Count
    late: Count
    decisions_per_second: Decimal
    latency_us: Quantiles
    histogram: Annotated[tuple[Bin, ...], Between(0, 512)]


@dataclass(frozen=True)
class Cost:
    """What a million decisions cost, by the formula that is written here with it."""

    formula: Sentence
    server_cores: Decimal
    price_per_core_hour: Decimal
    currency: Annotated[str, Pattern("[A-Z]{3}")]
    per_million: Decimal
    run: Annotated[str, Pattern(r"measurements/[a-z0-9][a-z0-9_.-]{0,63}\.json")]


Windows: TypeAlias = Annotated[tuple[Run, ...], Between(1, 64)]


@dataclass(frozen=True)
class Serving:
    """Latency of the candidate and of the incumbent at the same load, and the candidate's cost.

    `capacity` is the run whose decisions a second the cost is taken from. `without_shadow` and
    `with_shadow` are windows of the incumbent in turns, in this order.
    """

    machine: Sentence | None = None
    server_cores: Decimal | None = None
    generator_cores: Decimal | None = None
    batch: Name | None = None
    candidate: Run | None = None
    incumbent: Run | None = None
    capacity: Run | None = None
    cost: Cost | None = None
    without_shadow: Windows | None = None
    with_shadow: Windows | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run that is there."""
        single = (self.candidate, self.incumbent, self.capacity)
        windows = (*(self.without_shadow or ()), *(self.with_shadow or ()))
        return (*(run for run in single if run is not None), *windows)
