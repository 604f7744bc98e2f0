"""Cluster messages become clusters: defaults are Envoy's, every field read lands where it belongs."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.cluster import compile_cluster, compile_cluster_config
from sidecar.config.compile.cluster_dns import compile_resolver
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.net.dns import ResolverSettings
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import ClusterConfig
from sidecar.upstream.host import Locality
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support import yaml_text

HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def make_context() -> FactoryContext:
    store = Store()
    return FactoryContext(
        stats=store.scope(""),
        root_stats=store,
        node=NodeInfo(),
        path="static_resources.clusters[0]",
        warn=lambda path, reason: warnings.append((path, reason)),
        read_data_source=lambda source, path: b"",
        on_close=lambda callback: None,
        find_cluster=lambda name: None,
    )


warnings: list[tuple[str, str]] = []


def decode(text: str, kind: str = "envoy.config.cluster.v3.Cluster") -> Any:
    # The message inside an Any has to be known before json_format meets it.
    for name in (HTTP, "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"):
        message_class(name)
    message_class("envoy.extensions.clusters.dns.v3.DnsCluster")
    message_class("envoy.extensions.load_balancing_policies.random.v3.Random")
    found = message_class(kind)
    assert found is not None
    return json_format.ParseDict(yaml_text.load(text), found())


def compiled(text: str) -> ClusterConfig:
    return compile_cluster_config(decode(text), make_context())


def test_compile_cluster_without_options_has_envoys_defaults() -> None:
    config = compiled("{name: a}")
    assert (config.type, config.connect_timeout_s, config.idle_timeout_s) == ("STATIC", 5.0, 3600.0)
    assert (config.panic_threshold, config.overprovisioning_factor) == (50.0, 140)
    assert config.read_limit is None
    assert config.default_limits == CircuitBreakerLimits(1024, 1024, 1024, 3)
    assert config.http2 is False
    assert config.lb_policy == LbPolicy("ROUND_ROBIN")


def test_compile_cluster_reads_endpoints() -> None:
    config = compiled(
        """
        name: a
        load_assignment:
          endpoints:
          - priority: 1
            locality: {region: r, zone: z, sub_zone: s}
            lb_endpoints:
            - load_balancing_weight: 7
              health_status: DEGRADED
              metadata: {filter_metadata: {envoy.lb: {canary: true}}}
              endpoint:
                hostname: one
                address: {socket_address: {address: "::1", port_value: 80}}
            - endpoint: {address: {pipe: {path: /run/a.sock}}}
        """
    )
    first, second = config.endpoints
    assert first.address is not None
    assert first.address.text == "[::1]:80"
    assert (first.weight, first.priority, first.health_status) == (7, 1, "DEGRADED")
    assert first.locality == Locality("r", "z", "s")
    assert first.hostname == "one"
    assert first.metadata == {"envoy.lb": {"canary": True}}
    assert second.address is not None
    assert second.address.text == "/run/a.sock"


def test_compile_cluster_reads_http_options() -> None:
    config = compiled(
        f"""
        name: a
        max_requests_per_connection: 3
        typed_extension_protocol_options:
          {HTTP}:
            "@type": type.googleapis.com/{HTTP}
            common_http_protocol_options: {{idle_timeout: 1.5s, max_connection_duration: 2s}}
            explicit_http_config: {{http2_protocol_options: {{max_concurrent_streams: 9}}}}
        """
    )
    assert config.http2 is True
    assert config.http2_settings.max_concurrent_streams == 9
    assert (config.idle_timeout_s, config.max_connection_duration_s) == (1.5, 2.0)
    assert config.max_requests_per_connection == 3


def test_compile_cluster_with_deprecated_http2_options_speaks_http2() -> None:
    assert compiled("{name: a, http2_protocol_options: {}}").http2 is True


def test_compile_cluster_reads_circuit_breakers_by_priority() -> None:
    config = compiled(
        """
        name: a
        circuit_breakers:
          thresholds:
          - {max_connections: 1, max_retries: 0}
          - {priority: HIGH, max_requests: 2}
        """
    )
    assert config.default_limits == CircuitBreakerLimits(max_connections=1, max_retries=0)
    assert config.high_limits == CircuitBreakerLimits(max_requests=2)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("lb_policy: RANDOM", LbPolicy("RANDOM")),
        (
            "{lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 5}}",
            LbPolicy("LEAST_REQUEST", choice_count=5),
        ),
        ("lb_policy: CLUSTER_PROVIDED", LbPolicy("ROUND_ROBIN")),
        ("{lb_policy: MAGLEV, maglev_lb_config: {table_size: 7}}", LbPolicy("MAGLEV", table_size=7)),
        (
            "{lb_policy: RING_HASH,"
            " ring_hash_lb_config: {minimum_ring_size: 5, hash_function: MURMUR_HASH_2},"
            " common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 120}}}",
            LbPolicy("RING_HASH", minimum_ring_size=5, murmur=True, hash_balance_factor=120),
        ),
        (
            "load_balancing_policy: {policies: [{typed_extension_config: {name: r, typed_config: {'@type':"
            " type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
            LbPolicy("RANDOM"),
        ),
    ],
)
def test_compile_cluster_reads_the_load_balancing_policy(text: str, policy: LbPolicy) -> None:
    assert compiled(text).lb_policy == policy


def test_compile_cluster_reads_dns_settings() -> None:
    config = compiled(
        """
        name: a
        type: STRICT_DNS
        dns_refresh_rate: 1s
        dns_jitter: 0.5s
        respect_dns_ttl: true
        dns_lookup_family: V4_PREFERRED
        dns_failure_refresh_rate: {base_interval: 2s}
        wait_for_warm_on_init: false
        typed_dns_resolver_config:
          name: envoy.network.dns_resolver.cares
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
            resolvers: [{socket_address: {address: 127.0.0.1, port_value: 5353}}]
            dns_resolver_options: {use_tcp_for_dns_lookups: true, no_default_search_domain: true}
        load_assignment:
          endpoints:
          - lb_endpoints:
            - endpoint: {address: {socket_address: {address: api.test, port_value: 80}}}
        """
    )
    dns = config.dns
    assert (dns.lookup_family, dns.refresh_rate_s, dns.jitter_s, dns.respect_ttl) == (
        "V4_PREFERRED",
        1.0,
        0.5,
        True,
    )
    assert (dns.failure_base_s, dns.failure_max_s) == (2.0, 20.0)
    assert dns.resolver == ResolverSettings(
        servers=(("127.0.0.1", 5353),), use_tcp=True, no_default_search_domain=True
    )
    assert dns.wait_for_warm_on_init is False
    [endpoint] = config.endpoints
    assert (endpoint.address, endpoint.name, endpoint.port) == (None, "api.test", 80)


def test_compile_cluster_with_dns_cluster_extension_is_a_dns_cluster() -> None:
    config = compiled(
        """
        name: a
        cluster_type:
          name: envoy.clusters.dns
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
            dns_lookup_family: V6_ONLY
            all_addresses_in_single_endpoint: true
        """
    )
    assert (config.type, config.dns.lookup_family) == ("LOGICAL_DNS", "V6_ONLY")


def test_compile_cluster_takes_the_resolver_of_the_bootstrap_unless_it_has_one() -> None:
    everywhere = ResolverSettings(servers=(("10.0.0.1", 53),))
    message = decode("{name: a, type: STRICT_DNS}")
    assert compile_cluster_config(message, make_context(), resolver=everywhere).dns.resolver == everywhere
    message = decode(
        "{name: a, type: STRICT_DNS, dns_resolvers: [{socket_address: {address: 10.0.0.2, port_value: 54}}]}"
    )
    found = compile_cluster_config(message, make_context(), resolver=everywhere).dns
    assert found.resolver.servers == (("10.0.0.2", 54),)


def test_compile_resolver_of_a_plain_bootstrap_is_none() -> None:
    assert compile_resolver(decode("{}", "envoy.config.bootstrap.v3.Bootstrap"), make_context()) is None


def test_compile_cluster_with_a_name_in_a_static_cluster_is_refused_with_its_path() -> None:
    text = """
        name: a
        load_assignment:
          endpoints:
          - lb_endpoints: [{endpoint: {address: {socket_address: {address: api, port_value: 1}}}}]
        """
    with pytest.raises(ConfigError) as caught:
        compiled(text)
    assert caught.value.path == (
        "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address"
        ".socket_address.address"
    )
    assert caught.value.reason == "malformed IP address: api"


def test_compile_cluster_of_a_type_to_come_has_no_endpoints() -> None:
    config = compiled("{name: a, type: EDS}")
    assert (config.type, config.endpoints) == ("EDS", ())


def test_compile_cluster_counts_under_the_alternative_name() -> None:
    context = make_context()
    compile_cluster(decode("{name: a, alt_stat_name: b}"), context)
    assert "cluster.b.upstream_rq_total" in context.root_stats.counters
