"""Tags taken out of names; the expectations were seen on Envoy 1.40."""

from __future__ import annotations

import pytest

from sidecar.core.errors import ConfigError
from sidecar.observability.tags import TagProducer, TagSpecifier


@pytest.mark.parametrize(
    ("name", "extracted", "tags"),
    [
        (
            "cluster.up.upstream_rq_200",
            "cluster.upstream_rq",
            [("envoy.response_code", "200"), ("envoy.cluster_name", "up")],
        ),
        (
            "cluster.x.y.upstream_rq_2xx",
            "cluster.y.upstream_rq_xx",
            [("envoy.response_code_class", "2"), ("envoy.cluster_name", "x")],
        ),
        (
            "http.ingress.downstream_cx_total",
            "http.downstream_cx_total",
            [("envoy.http_conn_manager_prefix", "ingress")],
        ),
        (
            "listener.[__1]_80.http.in.downstream_rq_2xx",
            "listener.http.downstream_rq_xx",
            [
                ("envoy.response_code_class", "2"),
                ("envoy.http_conn_manager_prefix", "in"),
                ("envoy.listener_address", "[__1]_80"),
            ],
        ),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", []),
        (
            "listener.127.0.0.1_80.worker_0.downstream_cx_total",
            "listener.worker_downstream_cx_total",
            [("envoy.worker_id", "0"), ("envoy.listener_address", "127.0.0.1_80")],
        ),
        (
            "vhost.v.vcluster.c.upstream_rq_total",
            "vhost.vcluster.upstream_rq_total",
            [("envoy.virtual_cluster", "c"), ("envoy.virtual_host", "v")],
        ),
        (
            "limits.http_local_rate_limit.ok",
            "http_local_rate_limit.ok",
            [("envoy.local_http_ratelimit_prefix", "limits")],
        ),
        ("server.live", "server.live", []),
    ],
)
def test_default_tags_are_taken_out(name: str, extracted: str, tags: list[tuple[str, str]]) -> None:
    assert TagProducer().extract(name) == (extracted, tags)


def test_without_defaults_only_the_named_tags_are_taken_out() -> None:
    producer = TagProducer([TagSpecifier("envoy.cluster_name")], use_defaults=False)
    assert producer.extract("cluster.up.upstream_rq_200") == (
        "cluster.upstream_rq_200",
        [("envoy.cluster_name", "up")],
    )


@pytest.mark.parametrize(
    ("specifier", "path", "reason"),
    [
        (
            TagSpecifier("nope"),
            "stats_tags[0].tag_name",
            "No regex specified for tag specifier and no default regex for name: 'nope'",
        ),
        (
            TagSpecifier("x", regex="("),
            "stats_tags[0].regex",
            "Invalid regex '(': missing ): ( (tag expressions are RE2 here)",
        ),
    ],
)
def test_wrong_tag_specifier_is_refused_at_its_place(specifier: TagSpecifier, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TagProducer([specifier])
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_expression_without_a_group_extracts_nothing() -> None:
    assert TagProducer([TagSpecifier("x", regex="liv")]).extract("server.live") == ("server.live", [])


def test_regex_tag_loses_its_first_group_and_shows_its_second() -> None:
    producer = TagProducer([TagSpecifier("service", regex=r"^cluster\.((.+?)\.).*$")], use_defaults=False)
    assert producer.extract("cluster.a.b.total") == ("cluster.b.total", [("service", "a")])
