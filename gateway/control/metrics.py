"""From the serving process's metrics, as OpenMetrics text, to OpenTelemetry's data."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.openmetrics.parser import text_string_to_metric_families

SCOPE = InstrumentationScope("sluicegate")
CUMULATIVE = AggregationTemporality.CUMULATIVE


def metrics_of(text: str, resource: Resource, began: int, now: int) -> MetricsData:
    """All metrics of one scrape; `began` and `now` are ns since 1970.

    Raises:
        ValueError: the text is not OpenMetrics.

    """
    families: Any = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    metrics = [_metric(family, began, now) for family in families]
    scoped = ScopeMetrics(SCOPE, [m for m in metrics if m is not None], "")
    return MetricsData([ResourceMetrics(resource, [scoped], "")])


def _metric(family: Any, began: int, now: int) -> Metric | None:
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        data = Histogram(list(_histograms(family, began, now)), CUMULATIVE)
    elif family.type == "counter":
        points = [
            NumberDataPoint(s.labels, began, now, s.value)
            for s in family.samples
            if s.name.endswith("_total")
        ]
        data = Sum(points, CUMULATIVE, is_monotonic=True)
    elif family.type == "gauge":
        data = Gauge([NumberDataPoint(s.labels, began, now, s.value) for s in family.samples])
    else:
        return None
    return Metric(family.name, family.documentation, family.unit, data)


def _histograms(family: Any, began: int, now: int) -> Iterable[HistogramDataPoint]:
    """The series of one histogram, their cumulative buckets taken apart."""
    series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = {k: v for k, v in sample.labels.items() if k != "le"}
        one = series.setdefault(tuple(sorted(labels.items())), {"labels": labels, "buckets": []})
        if sample.name.endswith("_bucket"):
            one["buckets"].append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith(("_sum", "_count")):
            one[sample.name.rsplit("_", 1)[1]] = sample.value
    for one in series.values():
        cumulative = [count for _, count in one["buckets"]]
        counts = [b - a for a, b in zip([0, *cumulative], cumulative, strict=False)]
        yield HistogramDataPoint(
            attributes=one["labels"],
            start_time_unix_nano=began,
            time_unix_nano=now,
            count=int(one["count"]),
            sum=one["sum"],
            bucket_counts=counts,
            explicit_bounds=[bound for bound, _ in one["buckets"][:-1]],
            min=float("nan"),
            max=float("nan"),
        )
