"""Statistics as a metrics service is told them: ``StreamMetricsMessage`` of ``envoy.service.metrics.v3``.

Neither it nor ``io.prometheus.client``, whose families it holds, is in the package of Envoy's API, so the
fields that are needed are declared here, in a pool of their own.  The node is declared as bytes, which look
the same on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sidecar.core.dataclass import dataclass
from sidecar.observability.histogram import QUANTILES

if TYPE_CHECKING:
    from sidecar.observability.histogram import Histogram
    from sidecar.observability.snapshot import Snapshot

__all__ = ["METHOD", "MetricsServiceSettings", "encode_families", "message_class"]

#: ``:path`` of the call.
METHOD = b"/envoy.service.metrics.v3.MetricsService/StreamMetrics"

_COUNTER, _GAUGE, _SUMMARY, _HISTOGRAM = 0, 1, 2, 4  # io.prometheus.client.MetricType
#: message → its fields: name, number, type (a message's name for a message), and ``*`` for many of them.
_CLIENT = {
    "LabelPair": "name 1 string, value 2 string",
    "Gauge": "value 1 double",
    "Counter": "value 1 double",
    "Quantile": "quantile 1 double, value 2 double",
    "Summary": "sample_count 1 uint64, sample_sum 2 double, quantile 3 Quantile*",
    "Bucket": "cumulative_count 1 uint64, upper_bound 2 double",
    "Histogram": "sample_count 1 uint64, sample_sum 2 double, bucket 3 Bucket*",
    "Metric": (
        "label 1 LabelPair*, gauge 2 Gauge, counter 3 Counter, summary 4 Summary, histogram 7 Histogram, "
        "timestamp_ms 6 int64"
    ),
    # The type is an enum of that file: an int32 on the wire.
    "MetricFamily": "name 1 string, help 2 string, type 3 int32, metric 4 Metric*",
    "Identifier": "node 1 bytes",
    "StreamMetricsMessage": "identifier 1 Identifier, envoy_metrics 2 MetricFamily*",
}


@dataclass(frozen=True, slots=True)
class MetricsServiceSettings:
    """``envoy.config.metrics.v3.MetricsServiceConfig``, but for where it goes."""

    counters_as_deltas: bool = False
    tags_as_labels: bool = False
    has_summaries: bool = True
    has_histograms: bool = True
    #: Families in a message; 0 for all.
    most_families: int = 0


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="metrics_service.proto", package="own", syntax="proto2")
    kinds: Any = descriptor_pb2.FieldDescriptorProto
    for name, fields in _CLIENT.items():
        message = file.message_type.add(name=name)
        for entry in fields.split(", "):
            field_name, number, kind = entry.split(" ")
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=int(number), label=label)
            kind = kind.removesuffix("*")
            if kind in _CLIENT:
                field.type = kinds.TYPE_MESSAGE
                field.type_name = f".own.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@cache
def message_class() -> Any:
    """The class of ``StreamMetricsMessage``."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName("own.StreamMetricsMessage"))


def encode_families(snapshot: Snapshot, settings: MetricsServiceSettings) -> Iterator[Any]:
    """The messages that tell of a snapshot, in the order counters, gauges, histograms."""
    message: Any = None
    for fill in _families(snapshot, settings):
        if message is None:
            message = message_class()()
        fill(message.envoy_metrics.add())
        if len(message.envoy_metrics) == settings.most_families:
            yield message
            message = None
    if message is not None:
        yield message


def _families(snapshot: Snapshot, settings: MetricsServiceSettings) -> Iterator[Any]:
    """What fills a family of one metric in, for each."""
    for counter in snapshot.counters:

        def add_counter(family: Any, each: Any = counter) -> None:
            value = each.delta if settings.counters_as_deltas else each.value
            _metric(family, _COUNTER, each.name, snapshot, settings).counter.value = value

        yield add_counter
    for gauge in snapshot.gauges:

        def add_gauge(family: Any, each: Any = gauge) -> None:
            _metric(family, _GAUGE, each.name, snapshot, settings).gauge.value = each.value

        yield add_gauge
    for histogram in snapshot.histograms:
        if settings.has_summaries:
            yield lambda family, each=histogram: _add_summary(family, each, snapshot, settings)
        if settings.has_histograms:
            yield lambda family, each=histogram: _add_histogram(family, each, snapshot, settings)


def _add_summary(
    family: Any, histogram: Histogram, snapshot: Snapshot, settings: MetricsServiceSettings
) -> None:
    statistics = histogram.interval
    summary = _metric(family, _SUMMARY, histogram.name, snapshot, settings).summary
    for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True):
        summary.quantile.add(quantile=quantile, value=value)
    summary.sample_count = statistics.count
    summary.sample_sum = statistics.sum


def _add_histogram(
    family: Any, histogram: Histogram, snapshot: Snapshot, settings: MetricsServiceSettings
) -> None:
    statistics = histogram.interval
    told = _metric(family, _HISTOGRAM, histogram.name, snapshot, settings).histogram
    told.sample_count = statistics.count
    told.sample_sum = statistics.sum
    for bound, count in zip(histogram.bounds, statistics.cumulative_buckets(histogram.bounds), strict=True):
        told.bucket.add(upper_bound=bound, cumulative_count=count)


def _metric(family: Any, kind: int, name: str, snapshot: Snapshot, settings: MetricsServiceSettings) -> Any:
    family.type = kind
    metric = family.metric.add(timestamp_ms=snapshot.now_ns // 1_000_000)
    if settings.tags_as_labels:
        family.name, tags = snapshot.apart(name)
        for key, value in tags:
            metric.label.add(name=key, value=value)
    else:
        family.name = name
    return metric
