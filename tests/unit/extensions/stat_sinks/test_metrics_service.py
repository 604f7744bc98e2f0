"""Statistics as messages for a metrics service."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.extensions.stat_sinks.metrics_service_messages import (
    MetricsServiceSettings,
    encode_families,
    message_class,
)
from sidecar.observability.snapshot import Snapshots
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer


@pytest.fixture
def store() -> Store:
    store = Store()
    store.counter("cluster.web.upstream_rq_total").inc(3)
    store.gauge("cluster.web.upstream_cx_active").set(2)
    store.histogram("cluster.web.upstream_rq_time", "milliseconds").record(7)
    return store


def _families(store: Store, settings: MetricsServiceSettings, flushes: int = 1) -> list[list[Any]]:
    """The families of each message of the last flush, as a service reads them."""
    snapshots = Snapshots(store, TagProducer())
    for _ in range(flushes):
        store.flush()
        snapshot = snapshots.take()
    messages = encode_families(snapshot, settings)
    return [list(message_class().FromString(each.SerializeToString()).envoy_metrics) for each in messages]


def test_histogram_is_a_summary_and_a_histogram(store: Store) -> None:
    ((counter, gauge, summary, histogram),) = _families(store, MetricsServiceSettings())
    assert (counter.name, counter.type, counter.metric[0].counter.value) == (
        "cluster.web.upstream_rq_total",
        0,
        3.0,
    )
    assert (gauge.type, gauge.metric[0].gauge.value) == (1, 2.0)
    assert (summary.type, summary.metric[0].summary.sample_count) == (2, 1)
    assert [each.quantile for each in summary.metric[0].summary.quantile][:3] == [0, 0.25, 0.5]
    assert (histogram.type, histogram.metric[0].histogram.bucket[-1].cumulative_count) == (4, 1)
    assert counter.metric[0].timestamp_ms > 0


def test_tags_are_labels_where_that_is_wanted(store: Store) -> None:
    ((counter, *_),) = _families(store, MetricsServiceSettings(tags_as_labels=True))
    assert counter.name == "cluster.upstream_rq_total"
    assert [(each.name, each.value) for each in counter.metric[0].label] == [("envoy.cluster_name", "web")]


def test_deltas_are_of_the_last_interval(store: Store) -> None:
    settings = MetricsServiceSettings(counters_as_deltas=True, has_summaries=False)
    ((counter, _, histogram),) = _families(store, settings, flushes=2)
    assert counter.metric[0].counter.value == 0
    assert histogram.metric[0].histogram.sample_count == 0


def test_messages_are_as_long_as_they_may_be(store: Store) -> None:
    assert [len(each) for each in _families(store, MetricsServiceSettings(most_families=3))] == [3, 1]
