"""Entries of extensions: each names its message, and the message is one that fits the place."""

from __future__ import annotations

from typing import Any

from sidecar.config import hints, known_extensions
from sidecar.config.check_udp_listeners import is_udp
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name
from sidecar.config.registry import resolve_any
from sidecar.config.supported import CORE_TYPES

__all__ = [
    "CATEGORIES",
    "UNREAD",
    "UPSTREAM_HTTP",
    "category_of",
    "check_entry",
    "check_protocol_options",
    "check_route_filters",
]

_ANY = "google.protobuf.Any"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
_FILTERS = "envoy.extensions.filters.http"
#: Filters that take no configuration for a route (each was asked of Envoy 1.40; that of Wasm does here).
_NOT_FOR_ROUTES = frozenset(
    f"{_FILTERS}.{message}"
    for message in (
        "a2a.v3.A2a",
        "alternate_protocols_cache.v3.FilterConfig",
        "body_size_limit.v3.BodySizeLimit",
        "cache.v3.CacheConfig",
        "cache_v2.v3.CacheV2Config",
        "connect_grpc_bridge.v3.FilterConfig",
        "gcp_authn.v3.GcpAuthnFilterConfig",
        "grpc_http1_bridge.v3.Config",
        "grpc_stats.v3.FilterConfig",
        "grpc_web.v3.GrpcWeb",
        "ip_tagging.v3.IPTagging",
        "mcp_router.v3.McpRouter",
        "original_src.v3.OriginalSrc",
        "proto_api_scrubber.v3.ProtoApiScrubberConfig",
        "proto_message_extraction.v3.ProtoMessageExtractionConfig",
        "rate_limit_quota.v3.RateLimitQuotaFilterConfig",
        "rate_limit_quota.v3.RateLimitQuotaOverride",
        "router.v3.Router",
        "thrift_to_metadata.v3.ThriftToMetadata",
    )
)
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_OTEL = "envoy.config.trace.v3.OpenTelemetryConfig"
_OTEL_SAMPLERS = "envoy.extensions.tracers.opentelemetry.samplers.v3"
_HTTP_11_PROXY = "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"
_PROXY_PROTOCOL = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_UDP_PROXY = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
#: The HTTP filters that stand before an upstream.
UPSTREAM_HTTP = "envoy.filters.http.upstream"
#: Which extensions a field takes.
CATEGORIES = {
    ("envoy.config.listener.v3.Listener", "listener_filters"): "envoy.filters.listener",
    ("envoy.config.listener.v3.Listener", "access_log"): "envoy.access_loggers",
    ("envoy.config.listener.v3.FilterChain", "filters"): "envoy.filters.network",
    ("envoy.config.listener.v3.FilterChain", "transport_socket"): "envoy.transport_sockets.downstream",
    ("envoy.config.cluster.v3.Cluster", "transport_socket"): "envoy.transport_sockets.upstream",
    (
        "envoy.config.cluster.v3.Cluster.TransportSocketMatch",
        "transport_socket",
    ): "envoy.transport_sockets.upstream",
    (_PROXY_PROTOCOL, "transport_socket"): "envoy.transport_sockets.upstream",
    (_HTTP_11_PROXY, "transport_socket"): "envoy.transport_sockets.upstream",
    (
        "envoy.config.accesslog.v3.AccessLogFilter",
        "extension_filter",
    ): "envoy.access_loggers.extension_filters",
    ("envoy.config.core.v3.HealthCheck", "custom_health_check"): "envoy.health_checkers",
    ("envoy.config.core.v3.HealthCheck", "event_logger"): "envoy.health_check.event_sinks",
    ("envoy.config.bootstrap.v3.Bootstrap", "stats_sinks"): "envoy.stats_sinks",
    ("envoy.config.bootstrap.v3.Admin", "access_log"): "envoy.access_loggers",
    ("envoy.config.trace.v3.Tracing", "http"): "envoy.tracers",
    (f"{_HCM}.Tracing", "provider"): "envoy.tracers",
    (_OTEL, "sampler"): "envoy.tracers.opentelemetry.samplers",
    (f"{_OTEL_SAMPLERS}.ParentBasedSamplerConfig", "wrapped_sampler"): "envoy.tracers.opentelemetry.samplers",
    (_OTEL, "resource_detectors"): "envoy.tracers.opentelemetry.resource_detectors",
    (_HCM, "http_filters"): "envoy.filters.http",
    (f"{_HCM}.UpgradeConfig", "filters"): "envoy.filters.http",
    ("envoy.extensions.filters.http.router.v3.Router", "upstream_http_filters"): UPSTREAM_HTTP,
    ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "http_filters"): UPSTREAM_HTTP,
    (_HCM, "access_log"): "envoy.access_loggers",
    ("envoy.config.route.v3.InternalRedirectPolicy", "predicates"): "envoy.internal_redirect_predicates",
    (_UDP_PROXY, "access_log"): "envoy.access_loggers",
    (_UDP_PROXY, "proxy_access_log"): "envoy.access_loggers",
    (_UDP_PROXY, "session_filters"): "envoy.filters.udp.session",
    (_HCM, "early_header_mutation_extensions"): "envoy.http.early_header_mutation",
    (_HCM, "request_id_extension"): "envoy.request_id",
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig",
        "request_id_extension",
    ): "envoy.request_id",
    (_HCM, "original_ip_detection_extensions"): "envoy.http.original_ip_detection",
    ("envoy.config.route.v3.RetryPolicy", "retry_host_predicate"): "envoy.retry_host_predicates",
    ("envoy.config.route.v3.RetryPolicy", "retry_priority"): "envoy.retry_priorities",
    ("envoy.config.route.v3.RouteMatch", "path_match_policy"): "envoy.path.match",
    ("envoy.config.route.v3.ClusterSpecifierPlugin", "extension"): "envoy.router.cluster_specifier_plugin",
    ("envoy.type.matcher.v3.StringMatcher", "custom"): "envoy.string_matcher",
    ("xds.type.matcher.v3.StringMatcher", "custom"): "envoy.string_matcher",
    ("xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate", "custom_match"): (
        "envoy.matching.input_matchers"
    ),
    ("xds.type.matcher.v3.Matcher.MatcherTree", "custom_match"): "envoy.matching.http.custom_matchers",
    ("envoy.config.route.v3.RouteAction", "path_rewrite_policy"): "envoy.path.rewrite",
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
        "stateful_formatter",
    ): "envoy.http.stateful_header_formatters",
}

#: Extensions that Envoy 1.40 does not look at, whatever stands there.
UNREAD = frozenset(
    {
        ("envoy.config.cluster.v3.OutlierDetection", "monitors"),
        # QUIC's alone.
        ("envoy.config.listener.v3.UdpListenerConfig", "udp_packet_packet_writer_config"),
    }
)


def category_of(message: Any, field: str, category: str) -> str:
    """Which extensions a field of this very message takes, where all of its kind take ``category``."""
    if category != "envoy.filters.listener" or not is_udp(message):
        return category
    return category if message.udp_listener_config.HasField("quic_options") else "envoy.filters.udp_listener"


def check_entry(
    context: Context, path: Path, entry: Any, category: str, *, is_optional: bool = False
) -> None:
    """One message with a ``name`` and a ``typed_config``, whatever its type."""
    is_optional = is_optional or bool(getattr(entry, "is_optional", False))
    packed = getattr(entry, "typed_config", None)
    if packed is None or packed.DESCRIPTOR.full_name != _ANY:
        return
    descriptor = entry.DESCRIPTOR
    name = getattr(entry, "name", "")
    if not packed.type_url:
        if context.report.has_failed((*path, "typed_config")) or category == "envoy.request_id":
            return  # a request_id_extension may be empty
        oneof = descriptor.fields_by_name["typed_config"].containing_oneof
        if oneof is not None and entry.WhichOneof(oneof.name) not in (None, "typed_config"):
            return
        report = context.report.warning if is_optional else context.report.error
        lines = hints.unknown_extension(name, category) if name else None
        report(path, f"Didn't find a registered implementation for '{name}' with type URL: ''", lines)
        return
    type_text = type_name(packed.type_url)
    resolved = resolve_any(packed)[0]
    factory = context.registry.by_type(resolved)
    if factory is not None and (not category or factory.category == category):
        return
    known = known_extensions.types(category)
    if resolved in CORE_TYPES and not category:
        return  # of a category that Envoy's list of extensions does not have
    if resolved in known or (factory is not None and resolved not in known_extensions.types()):
        return
    if not known and resolved in known_extensions.types():
        return
    report = context.report.warning if is_optional else context.report.error
    fitting = known_extensions.config_type(name, category)
    hint = f"{name} stands for type.googleapis.com/{fitting}" if fitting and fitting != resolved else None
    report(
        (*path, "typed_config"),
        f"Didn't find a registered implementation for '{name}' with type URL: '{resolved or type_text}'",
        hint,
    )


def check_protocol_options(context: Context, path: Path, cluster: Any) -> None:
    """``typed_extension_protocol_options`` of a cluster: the key names an extension."""
    for key, packed in cluster.typed_extension_protocol_options.items():
        if key not in known_extensions.names() and context.registry.by_type(packed.type_url) is None:
            context.report.error(
                (*path, "typed_extension_protocol_options", key),
                "Didn't find a registered network or http filter or protocol options implementation for"
                f" name: '{key}'",
                hints.unknown_name(key, known_extensions.names("envoy.upstream_options")),
            )


def check_route_filters(context: Context, path: Path, message: Any) -> None:
    """``typed_per_filter_config`` of any level: each entry fits a filter that takes one for a route."""
    for key, packed in message.typed_per_filter_config.items():
        here = (*path, "typed_per_filter_config", key)
        name, inner = resolve_any(packed)
        config: Any = inner
        if name != _FILTER_CONFIG or config is None:
            _check_route_filter(context, here, key, packed, is_optional=False)
        elif config.disabled:
            continue
        elif not config.HasField("config"):
            reason = f"Empty route/virtual host per filter configuration for {key} filter"
            context.report.error(here, reason, "add config, or disabled: true")
        elif config.config.type_url:
            _check_route_filter(
                context, (*here, "config"), key, config.config, is_optional=config.is_optional
            )


def _check_route_filter(context: Context, path: Path, key: str, packed: Any, *, is_optional: bool) -> None:
    name = resolve_any(packed)[0]
    if name in known_extensions.types("envoy.filters.http"):
        if name in _NOT_FOR_ROUTES and not is_optional:
            reason = f"The filter {key} doesn't support virtual host or route specific configurations"
            context.report.error(path, reason)
            return
        wanted = getattr(context.registry.by_type(name), "route_config_type", name)
        if wanted != name and packed.value:  # Envoy takes an empty message for any other
            context.report.error(path, f"Unable to unpack as {wanted}", f"a route takes {wanted}")
    elif context.registry.by_type(name) is None:
        report = context.report.warning if is_optional else context.report.error
        reason = f"Didn't find a registered implementation for '{key}' with type URL: '{name}'"
        report(path, reason, hints.unknown_type(name))
