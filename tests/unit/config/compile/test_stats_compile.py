"""``stats_config``: which stats are kept, their buckets and when they are flushed."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf import json_format

from sidecar.config.compile.stats import compile_store, compile_tag_producer, flush_interval_s
from sidecar.core.errors import ConfigError
from sidecar.observability.histogram import DEFAULT_BUCKETS


def bootstrap(**fields: Any) -> Any:
    return json_format.ParseDict(fields, Bootstrap())


@pytest.mark.parametrize(
    ("matcher", "kept"),
    [
        ({}, {"cluster.a.x", "http.b.y"}),
        ({"reject_all": False}, {"cluster.a.x", "http.b.y"}),
        ({"reject_all": True}, set()),
        ({"exclusion_list": {"patterns": [{"prefix": "cluster."}]}}, {"http.b.y"}),
        ({"inclusion_list": {"patterns": [{"prefix": "cluster."}]}}, {"cluster.a.x"}),
        ({"inclusion_list": {"patterns": [{"safe_regex": {"regex": r".*\.y"}}]}}, {"http.b.y"}),
    ],
)
def test_stats_matcher_decides_what_is_kept(matcher: Any, kept: set[str]) -> None:
    store = compile_store(bootstrap(stats_config={"stats_matcher": matcher}))
    for name in ("cluster.a.x", "http.b.y"):
        store.counter(name).inc()
    assert set(store.counters) == kept


def test_histogram_bucket_settings_take_the_first_that_matches() -> None:
    settings = [
        {"match": {"prefix": "a"}, "buckets": [10, 1]},
        {"match": {"suffix": "b"}, "buckets": [7]},
    ]
    store = compile_store(bootstrap(stats_config={"histogram_bucket_settings": settings}))
    bounds = {name: tuple(store.histogram(name).bounds) for name in ("ab", "cb", "c")}
    assert bounds == {"ab": (1.0, 10.0), "cb": (7.0,), "c": DEFAULT_BUCKETS}


def test_stats_config_that_is_absent_keeps_everything() -> None:
    store = compile_store(bootstrap())
    assert store.histogram("h").bounds == DEFAULT_BUCKETS
    assert store.counter("c") is store.counter("c")


def test_stats_tag_with_a_broken_expression_is_refused_at_its_field() -> None:
    tags = [{"tag_name": "t", "regex": "("}]
    with pytest.raises(ConfigError) as caught:
        compile_tag_producer(bootstrap(stats_config={"stats_tags": tags}))
    assert caught.value.path.startswith("stats_config.stats_tags[0]")


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 5.0),
        ({"stats_flush_interval": "0.250s"}, 0.25),
        ({"stats_flush_on_admin": True}, 0.0),
        ({"stats_flush_on_admin": False}, 5.0),
    ],
)
def test_stats_flush_interval_is_envoys(fields: Any, seconds: float) -> None:
    assert flush_interval_s(bootstrap(**fields)) == seconds
