"""Counting, and what a store and its scopes hand out."""

from __future__ import annotations

import math

import pytest

from sidecar.observability.numbers import json_number, text_number
from sidecar.observability.stats import Store


def test_store_same_name_gives_the_same_object() -> None:
    store = Store()
    assert store.scope("http.ingress").counter("downstream_rq_total") is store.counter(
        "http.ingress.downstream_rq_total"
    )
    assert store.scope("http.").scope("ingress.").prefix == "http.ingress."
    assert store.gauge("a.b") is store.scope("a").gauge("b")
    assert store.histogram("a.h", "ms") is store.scope("a").histogram("h")
    assert store.text_readout("a.t") is store.scope("a").text_readout("t")


def test_name_with_an_address_loses_its_colons() -> None:
    assert Store().scope("listener.[::1]:8080").prefix == "listener.[__1]_8080."
    assert Store().counter("cluster.https://x.total").name == "cluster.https_x.total"


def test_counter_reset_keeps_used_and_what_the_sink_has_not_seen() -> None:
    store = Store()
    counter = store.counter("a")
    assert not counter.used
    counter.value += 3
    counter.reset()
    counter.inc(2)
    assert counter.used
    assert counter.value == 2
    assert counter.latch() == 5
    assert counter.latch() == 0


def test_gauge_set_to_zero_is_used() -> None:
    gauge = Store().gauge("a")
    assert not gauge.used
    gauge.set(0)
    assert gauge.used
    gauge.inc(5)
    gauge.dec(2)
    assert gauge.value == 3


def test_rejected_stat_works_but_is_not_kept() -> None:
    store = Store(reject=lambda name: name.startswith("cluster."))
    store.scope("cluster.x").counter("total").inc()
    store.counter("kept").inc()
    assert list(store.counters) == ["kept"]


def test_remove_forgets_one_scope_alone() -> None:
    store = Store()
    store.counter("cluster.a.x")
    store.gauge("cluster.a.y")
    store.counter("cluster.ab.x")
    store.remove("cluster.a.")
    assert list(store.counters) == ["cluster.ab.x"]
    assert not store.gauges


def test_histogram_merge_separates_interval_and_total() -> None:
    histogram = Store().histogram("h", "ms")
    assert all(math.isnan(value) for value in histogram.cumulative.quantiles())
    histogram.record(1)
    assert histogram.cumulative.count == 0
    histogram.merge()
    histogram.record(1234)
    histogram.merge()
    assert histogram.interval.bins == [(1200, 1)]
    assert histogram.cumulative.bins == [(1, 1), (1200, 1)]
    histogram.merge()
    assert histogram.interval.count == 0
    assert histogram.cumulative.count == 2


@pytest.mark.parametrize(
    ("value", "lower"),
    [(0, 0), (9, 9), (99, 99), (100, 100), (109, 100), (999, 990), (10999, 10000), (123456, 120000)],
)
def test_histogram_bin_has_two_significant_digits(value: int, lower: int) -> None:
    histogram = Store().histogram("h")
    histogram.record(value)
    histogram.merge()
    assert histogram.cumulative.bins == [(lower, 1)]


def test_histogram_statistics_are_those_that_the_oracle_gave() -> None:
    histogram = Store().histogram("h")
    for value in (0, 0, 0, 0, 0, 1, 1, 1, 1, 2):
        histogram.record(value)
    histogram.merge()
    found = histogram.cumulative
    assert found.quantiles() == [0, 0, 0, 1.06, 1.08, 2.05, 2.05, 2.05, 2.05, 2.05]
    assert format(found.sum, ".32g") == "6.2392566782810687797677928756457"
    assert found.cumulative_buckets()[:4] == [5, 9, 10, 10]
    assert found.disjoint_buckets()[:4] == [5, 4, 1, 0]
    assert found.sized_bins() == [(0, 0.0, 5), (1, 0.1, 4), (2, 0.1, 1)]


@pytest.mark.parametrize(
    ("value", "text", "as_json"),
    [
        (300000.0, "300000", "3e+05"),
        (60000.0, "60000", "60000"),
        (1800000.0, "1800000", "1800000"),
        (0.5, "0.5", "0.5"),
        (12.5, "12.5", "12.5"),
        (0.0, "0", "0"),
        (1.0222222222222221, "1.0222222222222221", "1.0222222222222221"),
        (math.nan, "nan", "null"),
    ],
)
def test_number_is_printed_as_the_oracle_prints_it(value: float, text: str, as_json: str) -> None:
    assert text_number(value) == text
    assert json_number(value) == as_json


@pytest.mark.parametrize("count", [1, 2, 50])
def test_stats_of_many_that_are_gone_go_in_one_pass(count: int) -> None:
    store = Store()
    for number in range(count):
        store.scope(f"cluster.a.{number}").counter("x.y")
        store.scope(f"cluster.a.{number}").gauge("z")
    store.scope("cluster.a").counter("1")
    store.counter("cluster.a.1x")
    store.remove(*(f"cluster.a.{number}" for number in range(count)))
    assert sorted(store.counters) == ["cluster.a.1", "cluster.a.1x"]
    assert not store.gauges
    store.remove()
    assert len(store.counters) == 2
