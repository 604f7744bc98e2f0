"""Entries of extensions: each names its message, and the message is one that fits the place."""

from __future__ import annotations

from typing import Any

from sidecar.config import hints, known_extensions
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name
from sidecar.config.registry import resolve_any

__all__ = ["CATEGORIES", "check_entry", "check_protocol_options", "check_route_filters"]

_ANY = "google.protobuf.Any"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
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
    ("envoy.config.bootstrap.v3.Bootstrap", "stats_sinks"): "envoy.stats_sinks",
    ("envoy.config.bootstrap.v3.Admin", "access_log"): "envoy.access_loggers",
    ("envoy.config.trace.v3.Tracing", "http"): "envoy.tracers",
    (f"{_HCM}.Tracing", "provider"): "envoy.tracers",
    (_HCM, "http_filters"): "envoy.filters.http",
    (_HCM, "access_log"): "envoy.access_loggers",
    ("envoy.config.route.v3.RetryPolicy", "retry_host_predicate"): "envoy.retry_host_predicates",
    ("envoy.config.route.v3.RouteMatch", "path_match_policy"): "envoy.path.match",
    ("envoy.config.route.v3.RouteAction", "path_rewrite_policy"): "envoy.path.rewrite",
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
        "stateful_formatter",
    ): "envoy.http.stateful_header_formatters",
}


def check_entry(context: Context, path: Path, entry: Any, category: str) -> None:
    """One message with a ``name`` and a ``typed_config``, whatever its type."""
    packed = getattr(entry, "typed_config", None)
    if packed is None or packed.DESCRIPTOR.full_name != _ANY:
        return
    descriptor = entry.DESCRIPTOR
    if not packed.type_url:
        if context.report.has_failed((*path, "typed_config")):
            return
        oneof = descriptor.fields_by_name["typed_config"].containing_oneof
        if oneof is not None and entry.WhichOneof(oneof.name) not in (None, "typed_config"):
            return
        report = context.report.warning if getattr(entry, "is_optional", False) else context.report.error
        lines = hints.unknown_extension(entry.name, category) if entry.name else None
        report(path, f"Didn't find a registered implementation for '{entry.name}' with type URL: ''", lines)
        return
    name = type_name(packed.type_url)
    resolved = resolve_any(packed)[0]
    factory = context.registry.by_type(resolved)
    if factory is not None and (not category or factory.category == category):
        return
    known = known_extensions.types(category)
    if resolved in known or (factory is not None and resolved not in known_extensions.types()):
        return
    if not known and resolved in known_extensions.types():
        return
    report = context.report.warning if getattr(entry, "is_optional", False) else context.report.error
    fitting = known_extensions.config_type(entry.name, category)
    hint = (
        f"{entry.name} stands for type.googleapis.com/{fitting}" if fitting and fitting != resolved else None
    )
    report(
        (*path, "typed_config"),
        f"Didn't find a registered implementation for '{entry.name}' with type URL: '{resolved or name}'",
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
    """``typed_per_filter_config`` of a route, virtual host or cluster weight: the message fits a filter."""
    for key, packed in message.typed_per_filter_config.items():
        name = resolve_any(packed)[0]
        if name in known_extensions.types("envoy.filters.http") or name == _FILTER_CONFIG:
            continue
        if context.registry.by_type(name) is None:
            context.report.error(
                (*path, "typed_per_filter_config", key),
                f"Didn't find a registered implementation for '{key}' with type URL: '{name}'",
                hints.unknown_type(name),
            )
