"""Statistics as OTLP says them (``opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest``).

The messages are of the package that the rest of Envoy's API comes in; it has the older name of a field,
``instrumentation_library_metrics`` for ``scope_metrics``: numbers and wire are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.observability.histogram import Histogram
    from sidecar.observability.snapshot import Snapshot
    from sidecar.observability.tags import Tag

__all__ = ["EXPORT_METHOD", "MetricsSettings", "encode_metrics"]

#: ``:path`` of the call.
EXPORT_METHOD = b"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_DELTA, _CUMULATIVE = 1, 2  # AggregationTemporality


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """``envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig``, but for where it goes."""

    counters_as_deltas: bool = False
    histograms_as_deltas: bool = False
    tags_as_attributes: bool = True
    extracted_names: bool = True
    prefix: str = ""
    #: 0 for all in one request.
    most_points: int = 0


def encode_metrics(snapshot: Snapshot, resource: Any, settings: MetricsSettings) -> Iterator[bytes]:
    """The requests that tell of a snapshot; ``resource``: ``opentelemetry.proto.resource.v1.Resource``."""
    request: Any = None
    count = 0
    for add in _points(snapshot, settings):
        if request is None:
            request = metrics_service_pb2.ExportMetricsServiceRequest()
            of_resource = request.resource_metrics.add()
            of_resource.resource.CopyFrom(resource)
            metrics = of_resource.instrumentation_library_metrics.add().metrics
        add(metrics.add())
        count += 1
        if count == settings.most_points:
            yield request.SerializeToString()
            request, count = None, 0
    if request is not None:
        yield request.SerializeToString()


def _points(snapshot: Snapshot, settings: MetricsSettings) -> Iterator[Any]:
    """What fills a metric of one point in, for each."""
    for gauge in snapshot.gauges:
        yield lambda metric, each=gauge: _number(
            metric.gauge.data_points.add(), metric, each.name, each.value, snapshot, settings
        )
    kind = _DELTA if settings.counters_as_deltas else _CUMULATIVE
    for counter in snapshot.counters:

        def add_counter(metric: Any, each: Any = counter) -> None:
            metric.sum.is_monotonic = True
            metric.sum.aggregation_temporality = kind
            value = each.delta if kind == _DELTA else each.value
            _number(metric.sum.data_points.add(), metric, each.name, value, snapshot, settings)

        yield add_counter
    for histogram in snapshot.histograms:
        yield lambda metric, each=histogram: _histogram(metric, each, snapshot, settings)


def _number(
    point: Any, metric: Any, name: str, value: int, snapshot: Snapshot, settings: MetricsSettings
) -> None:
    point.as_int = value
    _place(point, metric, name, snapshot, settings)


def _histogram(metric: Any, histogram: Histogram, snapshot: Snapshot, settings: MetricsSettings) -> None:
    is_delta = settings.histograms_as_deltas
    metric.histogram.aggregation_temporality = _DELTA if is_delta else _CUMULATIVE
    statistics = histogram.interval if is_delta else histogram.cumulative
    point = metric.histogram.data_points.add()
    point.count = statistics.count
    point.sum = statistics.sum
    bounds: Sequence[float] = histogram.bounds
    counts = statistics.disjoint_buckets(bounds)
    point.explicit_bounds.extend(bounds)
    point.bucket_counts.extend((*counts, statistics.count - sum(counts)))
    _place(point, metric, histogram.name, snapshot, settings)


def _place(point: Any, metric: Any, name: str, snapshot: Snapshot, settings: MetricsSettings) -> None:
    """Say when, and what it is of."""
    extracted, tags = snapshot.apart(name)
    metric.name = settings.prefix + (extracted if settings.extracted_names else name)
    if not metric.HasField("gauge"):  # what a gauge shows has no beginning
        point.start_time_unix_nano = snapshot.last_ns
    point.time_unix_nano = snapshot.now_ns
    if settings.tags_as_attributes:
        _add_attributes(point, tags)


def _add_attributes(point: Any, tags: list[Tag]) -> None:
    for key, value in tags:
        point.attributes.add(key=key).value.string_value = value
