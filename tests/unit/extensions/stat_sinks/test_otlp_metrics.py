"""Statistics as requests of OTLP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from sidecar.extensions.stat_sinks.otlp_metric_messages import MetricsSettings, encode_metrics
from sidecar.extensions.tracers.otlp import make_resource
from sidecar.observability.snapshot import Snapshots
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer

_SETTINGS = MetricsSettings()


@pytest.fixture
def store() -> Store:
    store = Store()
    store.counter("cluster.web.upstream_rq_total").inc(3)
    store.gauge("cluster.web.upstream_cx_active").set(2)
    store.histogram("cluster.web.upstream_rq_time", "milliseconds").record(7)
    return store


def _metrics(store: Store, settings: MetricsSettings, flushes: int = 1) -> list[list[Any]]:
    """The metrics of each request of the last flush."""
    snapshots = Snapshots(store, TagProducer())
    for _ in range(flushes):
        store.flush()
        snapshot = snapshots.take()
    made = []
    for data in encode_metrics(snapshot, make_resource([("service.name", "shop")]), settings):
        (of_resource,) = metrics_service_pb2.ExportMetricsServiceRequest.FromString(data).resource_metrics
        assert of_resource.resource.attributes[0].value.string_value == "shop"
        made.append(list(of_resource.instrumentation_library_metrics[0].metrics))
    return made


def test_metric_is_gauge_sum_or_histogram(store: Store) -> None:
    ((gauge, counter, histogram),) = _metrics(store, _SETTINGS)
    assert (gauge.name, gauge.gauge.data_points[0].as_int) == ("cluster.upstream_cx_active", 2)
    assert counter.sum.is_monotonic
    assert (counter.sum.aggregation_temporality, counter.sum.data_points[0].as_int) == (2, 3)
    attribute = counter.sum.data_points[0].attributes[0]
    assert (attribute.key, attribute.value.string_value) == ("envoy.cluster_name", "web")
    (point,) = histogram.histogram.data_points
    assert (point.count, sum(point.bucket_counts)) == (1, 1)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 < counter.sum.data_points[0].start_time_unix_nano <= counter.sum.data_points[0].time_unix_nano


def test_deltas_are_of_the_last_interval(store: Store) -> None:
    settings = MetricsSettings(counters_as_deltas=True, histograms_as_deltas=True)
    ((_, counter, histogram),) = _metrics(store, settings, flushes=2)
    assert (counter.sum.aggregation_temporality, counter.sum.data_points[0].as_int) == (1, 0)
    assert histogram.histogram.data_points[0].count == 0
    ((_, counter, histogram),) = _metrics(store, replace(settings, counters_as_deltas=False))
    assert counter.sum.data_points[0].as_int == 3


def test_value_beyond_all_bounds_is_counted_in_the_last_bucket(store: Store) -> None:
    store.histogram("cluster.web.upstream_rq_time").record(99_000_000)
    ((*_, histogram),) = _metrics(store, _SETTINGS)
    assert histogram.histogram.data_points[0].bucket_counts[-1] == 1


def test_names_are_whole_with_a_prefix_where_that_is_asked_for(store: Store) -> None:
    settings = MetricsSettings(tags_as_attributes=False, extracted_names=False, prefix="mine.")
    ((gauge, *_),) = _metrics(store, settings)
    assert gauge.name == "mine.cluster.web.upstream_cx_active"
    assert not gauge.gauge.data_points[0].attributes


def test_request_holds_so_many_points_at_most(store: Store) -> None:
    assert [len(each) for each in _metrics(store, replace(_SETTINGS, most_points=2))] == [2, 1]
