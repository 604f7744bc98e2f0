"""Renderings compared with a running Envoy: its numbers are taken in and rendered again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.observability.prometheus import render_prometheus
from sidecar.observability.rendering import Selection, render_json, render_text
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer, TagSpecifier
from tests.support.oracle_binary import envoy_binary

from .oracle import Oracle, http_listener

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(envoy_binary() is None, reason="Envoy is not installed"),
]

TAGS = [
    TagSpecifier("fixed", fixed_value='v"1'),
    TagSpecifier("my.cluster", regex=r"^cluster\.((u.)\.)"),
    TagSpecifier("kind", regex="(_total)$"),
]


def cluster(name: str) -> dict[str, object]:
    return {"name": name, "type": "STATIC"}


#: Filled in by the fixture, which knows where the endpoints lie.
EDS_CLUSTER: dict[str, object] = {}

BOOTSTRAP = {
    "node": {"id": "here", "cluster": "test"},
    # Flushed by each request for stats alone: so the intervals are empty when they are looked at.
    "stats_flush_on_admin": True,
    "stats_config": {
        "stats_tags": [
            {"tag_name": tag.tag_name, "regex": tag.regex}
            if tag.regex
            else {"tag_name": tag.tag_name, "fixed_value": tag.fixed_value}
            for tag in TAGS
        ]
    },
    "static_resources": {
        "listeners": [
            http_listener(
                "main",
                [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}],
                stat_prefix="in.gr-ess",
            ),
            {**http_listener("odd", [], stat_prefix="x"), "stat_prefix": "foo"},
        ],
        "clusters": [cluster("up"), cluster("x.y"), cluster('q"u\\o:te'), EDS_CLUSTER],
    },
}


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    directory: Path = tmp_path_factory.mktemp("envoy")
    endpoints = directory / "eds.json"
    endpoints.write_text(
        json.dumps(
            {
                "version_info": 'v"1',
                "resources": [
                    {
                        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                        "cluster_name": "found",
                    }
                ],
            }
        )
    )
    EDS_CLUSTER.update(
        {
            "name": "found",
            "type": "EDS",
            "eds_cluster_config": {"eds_config": {"path_config_source": {"path": str(endpoints)}}},
        }
    )
    with Oracle(directory, BOOTSTRAP) as oracle:
        for _ in range(7):
            oracle.send("main", "/")
        deadline = time.monotonic() + 10
        while not _stands_still(oracle.text(f"/stats?filter={STILL}&histogram_buckets=detailed")):
            assert time.monotonic() < deadline
        yield oracle


def _stands_still(text: str) -> bool:
    """Whether all is in: connections end, and a worker's histograms are merged, when Envoy gets round to it.

    The merge that a request asks for may be over long after its answer, and fills the intervals then.
    """
    lines = text.splitlines()
    totals = [
        sum(int(entry.rpartition(":")[2]) for entry in line.partition("=")[2].split(", "))
        for line in lines
        if line.startswith("  totals=") and line != "  totals="
    ]
    intervals = {line for line in lines if line.startswith("  intervals=")}
    # Of the connection manager and of the listener two each; the other one is the time that the start took.
    return (
        "listener.127.0.0.1_0.downstream_cx_destroy: 7" in lines
        and "http.in.gr-ess.downstream_cx_destroy: 7" in lines
        and totals.count(7) == 4
        and intervals == {"  intervals="}
    )


def store_of(oracle: Oracle, query: str) -> Store:
    """A store with the oracle's numbers (of stats that stand still)."""
    store = Store()
    for kind, add in (("Counters", store.counter), ("Gauges", store.gauge)):
        for item in json.loads(oracle.text(f"/stats?format=json&type={kind}&{query}"))["stats"]:
            add(item["name"]).value = item["value"]
    for item in json.loads(oracle.text(f"/stats?format=json&type=TextReadouts&{query}"))["stats"]:
        store.text_readout(item["name"]).set(item["value"])
    found = json.loads(oracle.text(f"/stats?format=json&type=Histograms&histogram_buckets=detailed&{query}"))
    for group in found["stats"]:
        for item in group["histograms"]["details"]:
            histogram = store.histogram(item["name"])
            for entry in item["totals"]:
                for _ in range(entry["count"]):
                    histogram.record(entry["lower_bound"])
            histogram.merge()
            histogram.merge()
    return store


#: Everything but what moves between two requests to the admin listener.
STILL = (
    "cluster|listener_manager|listener.127|listener.foo|http.in|http.x|runtime|version|initialization|vhost"
)


@pytest.mark.parametrize("buckets", ["summary", "cumulative", "disjoint", "detailed"])
@pytest.mark.parametrize("query", [STILL, "zzz"])
def test_text_and_json_of_the_oracles_numbers_are_the_oracles(
    envoy: Oracle, buckets: str, query: str
) -> None:
    store = store_of(envoy, f"filter={query}")
    selection = Selection(histogram_buckets=buckets)
    assert render_text(store, selection) == envoy.text(f"/stats?filter={query}&histogram_buckets={buckets}")
    assert render_json(store, selection) == envoy.text(
        f"/stats?format=json&filter={query}&histogram_buckets={buckets}"
    )


@pytest.mark.parametrize("buckets", ["summary", "cumulative"])
def test_prometheus_of_the_oracles_numbers_is_the_oracles(envoy: Oracle, buckets: str) -> None:
    store = store_of(envoy, f"filter={STILL}")
    assert store.histograms
    rendered = render_prometheus(
        store, Selection(histogram_buckets=buckets), TagProducer(TAGS), text_readouts=True
    )
    wanted = envoy.text(f"/stats/prometheus?text_readouts&filter={STILL}&histogram_buckets={buckets}")
    assert rendered.splitlines() == wanted.splitlines()
    assert rendered == wanted


def test_clusters_by_template_are_shown_as_one_by_one() -> None:
    store = Store()
    names = ("a", "b-c", "b.c", "http_local_rate_limit", 'quo"te', "grpc")
    rests = (
        "upstream_rq_2xx",
        "upstream_rq_503",
        "grpc.service.method.success",
        "upstream_cx_total",
        "x.ssl.curves.P-256",
    )
    for name in names:
        for rest in rests:
            store.counter(f"cluster.{name}.{rest}").inc(2)
        store.histogram(f"cluster.{name}.upstream_rq_time")
    one_by_one = TagProducer()
    one_by_one.cluster_template = lambda rest: None  # type: ignore[method-assign]  # nothing is known of all
    selection = Selection(histogram_buckets="cumulative")
    shown = render_prometheus(store, selection, TagProducer())
    assert shown == render_prometheus(store, selection, one_by_one)
    assert shown.count('le="+Inf"} 0') == len(names)
