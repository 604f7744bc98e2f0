"""Every supported field that names a runtime key is followed: one that is forgotten fails here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.config.load import load_bootstrap
from sidecar.config.messages import message_class
from sidecar.config.supported import SUPPORTED
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.server.main import Server

RUNTIME = "envoy.config.core.v3.Runtime"
#: Asked about each time that the heap is measured; and one that is warned about.
LATER = (
    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig.max_heap_size_bytes_runtime",
    "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction.runtime_fraction",
)
#: A key of these is one of several that begin with it.
PREFIXES = ("runtime_key_prefix",)
LB = "envoy.extensions.load_balancing_policies"
HTTP = "envoy.extensions.filters.http"
NETWORK = "envoy.extensions.filters.network"
ROUTE = "envoy.config.route.v3"
LOG = "envoy.config.accesslog.v3"
BASIC: dict[str, Any] = {"type": "STATIC", "connect_timeout": "1s"}


def share(message: str, field: str) -> dict[str, Any]:
    return {field: {"default_value": {"numerator": 0}, "runtime_key": f"{message}.{field}"}}


def value(message: str, field: str, default: float | bool) -> dict[str, Any]:
    return {field: {"default_value": default, "runtime_key": f"{message}.{field}"}}


def typed(message: str, *fields: dict[str, Any]) -> dict[str, Any]:
    """An extension of this type."""
    config = {"@type": f"type.googleapis.com/{message}"}
    for each in fields:
        config.update(each)
    return {"name": message, "typed_config": config}


def http_filters() -> list[dict[str, Any]]:
    bucket = {"token_bucket": {"max_tokens": 1, "fill_interval": "1s"}, "stat_prefix": "x"}
    service = {"envoy_grpc": {"cluster_name": "one"}}
    compressor, decompressor = f"{HTTP}.compressor.v3.Compressor", f"{HTTP}.decompressor.v3.Decompressor"
    gzip = "envoy.extensions.compression.gzip"
    authz, limits = f"{HTTP}.ext_authz.v3.ExtAuthz", f"{HTTP}.ratelimit.v3.RateLimit"
    csrf, local = f"{HTTP}.csrf.v3.CsrfPolicy", f"{HTTP}.local_ratelimit.v3.LocalRateLimit"
    composite = f"{HTTP}.composite.v3"
    tap = "envoy.config.tap.v3.TapConfig"
    fraction = "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction"
    action = {
        "action": typed(
            f"{composite}.ExecuteFilterAction",
            {"typed_config": typed(csrf, {"filter_enabled": {"default_value": {}}})},
            share(f"{composite}.ExecuteFilterAction", "sample_percent"),
        )
    }
    data = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    predicate = {
        "input": typed(data, {"header_name": "x"}),
        "custom_match": typed(fraction, share(fraction, "runtime_fraction")),
    }
    matcher = {
        "matcher_list": {"matchers": [{"predicate": {"single_predicate": predicate}, "on_match": action}]}
    }
    sink = {"sinks": [{"file_per_tap": {"path_prefix": "/tmp/x"}}]}
    return [
        typed(csrf, share(csrf, "filter_enabled"), share(csrf, "shadow_enabled")),
        typed(local, bucket, share(local, "filter_enabled"), share(local, "filter_enforced")),
        typed(
            compressor,
            {
                "compressor_library": typed(f"{gzip}.compressor.v3.Gzip"),
                "response_direction_config": {
                    "common_config": value(f"{compressor}.CommonDirectionConfig", "enabled", False)
                },
            },
        ),
        typed(
            compressor,
            {"compressor_library": typed(f"{gzip}.compressor.v3.Gzip")},
            value(compressor, "runtime_enabled", False),
        ),
        typed(
            decompressor,
            {
                "decompressor_library": typed(f"{gzip}.decompressor.v3.Gzip"),
                "response_direction_config": {
                    "common_config": value(f"{decompressor}.CommonDirectionConfig", "enabled", False)
                },
            },
        ),
        typed(
            authz,
            {"grpc_service": service},
            share(authz, "filter_enabled"),
            value(authz, "deny_at_disable", False),
        ),
        typed(
            limits,
            {"domain": "x", "rate_limit_service": {"grpc_service": service, "transport_api_version": "V3"}},
            share(limits, "filter_enabled"),
            share(limits, "filter_enforced"),
            share(limits, "failure_mode_deny_percent"),
        ),
        typed(
            f"{HTTP}.tap.v3.Tap",
            {
                "common_config": {
                    "static_config": {
                        "match": {"any_match": True},
                        "output_config": sink,
                        **share(tap, "tap_enabled"),
                    }
                }
            },
        ),
        typed(
            "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            {"xds_matcher": matcher, "extension_config": typed(f"{composite}.Composite")},
        ),
        typed(f"{HTTP}.cors.v3.Cors"),
        typed(f"{HTTP}.router.v3.Router"),
    ]


def routes() -> dict[str, Any]:
    cors, old = f"{HTTP}.cors.v3.CorsPolicy", f"{ROUTE}.CorsPolicy"
    mirror = {"cluster": "two", **share(f"{ROUTE}.RouteAction.RequestMirrorPolicy", "runtime_fraction")}
    both = [{"name": "one", "weight": 1}, {"name": "two", "weight": 1}]
    weighted = {"clusters": both, "runtime_key_prefix": f"{ROUTE}.WeightedCluster.runtime_key_prefix"}
    origins = {"allow_origin_string_match": [{"exact": "x"}]}
    made = [
        {
            "match": {"path": "/a", **share(f"{ROUTE}.RouteMatch", "runtime_fraction")},
            "route": {"cluster": "one", "request_mirror_policies": [mirror]},
            "typed_per_filter_config": {
                cors.replace("CorsPolicy", "Cors"): typed(
                    cors, origins, share(cors, "filter_enabled"), share(cors, "shadow_enabled")
                )["typed_config"]
            },
        },
        {
            "match": {"path": "/b"},
            "route": {
                "weighted_clusters": weighted,
                "cors": {**origins, **share(old, "filter_enabled"), **share(old, "shadow_enabled")},
            },
        },
    ]
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": made}]}


def bootstrap() -> dict[str, Any]:
    """A configuration in which every such field is named."""
    connections, local = (
        f"{NETWORK}.connection_limit.v3.ConnectionLimit",
        f"{NETWORK}.local_ratelimit.v3.LocalRateLimit",
    )
    least, slow = (
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        "envoy.config.cluster.v3.Cluster.SlowStartConfig",
    )
    policy = f"{LB}.least_request.v3.LeastRequest"
    window = {"slow_start_window": "1s"}
    heap = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
    comparison = {"op": "GE", **value(f"{LOG}.ComparisonFilter", "value", 1)}
    sampled = {"runtime_key": f"{LOG}.RuntimeFilter.runtime_key", "percent_sampled": {}}
    out = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    logs = [
        {**typed(out), "filter": {"status_code_filter": {"comparison": comparison}}},
        {**typed(out), "filter": {"runtime_filter": sampled}},
    ]
    manager = typed(
        f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        {"stat_prefix": "x", "route_config": routes(), "http_filters": http_filters(), "access_log": logs},
    )
    filters = [
        typed(
            connections,
            {"stat_prefix": "x", "max_connections": 1},
            value(connections, "runtime_enabled", False),
        ),
        typed(
            local,
            {"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}},
            value(local, "runtime_enabled", False),
        ),
        manager,
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    balanced = typed(
        policy,
        value(policy, "active_request_bias", 1),
        {"slow_start_config": {**window, **value(f"{LB}.common.v3.SlowStartConfig", "aggression", 1)}},
    )
    clusters = [
        {
            "name": "one",
            **BASIC,
            "lb_policy": "LEAST_REQUEST",
            "least_request_lb_config": {
                **value(least, "active_request_bias", 1),
                "slow_start_config": {**window, **value(slow, "aggression", 1)},
            },
        },
        {
            "name": "two",
            **BASIC,
            "load_balancing_policy": {"policies": [{"typed_extension_config": balanced}]},
        },
    ]
    monitor = typed(heap, value(heap, "max_heap_size_bytes_runtime", 1 << 30))
    return {
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "overload_manager": {"resource_monitors": [monitor]},
        "static_resources": {
            "clusters": clusters,
            "listeners": [{"name": "main", "address": address, "filter_chains": [{"filters": filters}]}],
        },
    }


def fields() -> Iterator[str]:
    """All supported fields that name a key."""
    for name, supported in SUPPORTED.items():
        cls = message_class(name)
        assert cls is not None, name
        for field in cls.DESCRIPTOR.fields:
            if name.startswith(RUNTIME) or not ({"*", field.name} & supported):
                continue
            kind = "" if field.message_type is None else field.message_type.full_name
            if kind.startswith(RUNTIME) or field.name in ("runtime_key", *PREFIXES):
                yield f"{name}.{field.name}"


def test_every_supported_field_that_names_a_runtime_key_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(json.dumps(bootstrap()))
    loaded = load_bootstrap(str(file), registry=make_registry())
    assert loaded.refusals == []
    server = Server(Options(), loaded)
    try:
        asked = server.assembly._runtime.asked
        forgotten = [each for each in fields() if not any(key.startswith(each) for key in asked)]
        assert sorted(forgotten) == sorted(LATER)
    finally:
        server.close()
        server.reactor.close()
