"""``envoy.config.cluster.v3.Cluster`` compiled to a :class:`sidecar.upstream.cluster.Cluster`.

The message was decoded and checked before; what is not implemented was refused or warned about there
(:mod:`sidecar.config.unsupported`), so what is left out here is left out knowingly: a cluster of a type
that is still to come has no hosts, a load balancing policy that is still to come is ROUND_ROBIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.codec.h1_types import UPSTREAM_HTTP1
from sidecar.codec.h2_types import H2Settings
from sidecar.config.compile.addresses import compile_address
from sidecar.config.compile.cluster_dns import compile_dns, compile_resolver
from sidecar.config.compile.cluster_policies import compile_cluster_policies, compile_measure
from sidecar.config.compile.connect_options import compile_connect_options
from sidecar.config.compile.http1_options import compile_http1_options
from sidecar.config.compile.http2_options import compile_http2_options
from sidecar.config.compile.http_11_proxy import compile_http_proxy
from sidecar.config.compile.load_balancing import compile_lb_policy, whole_percent
from sidecar.config.compile.localities import (
    LocalityWeights,
    compile_drops,
    compile_locality,
    compile_locality_weights,
)
from sidecar.config.compile.outlier_detection import compile_outliers
from sidecar.config.compile.proxy_protocol import compile_host_tlvs
from sidecar.config.compile.transport_socket import compile_request_names, compile_transport_sockets
from sidecar.config.compile.upstream_filters import compile_upstream_filters
from sidecar.config.messages import type_name, unpack
from sidecar.config.registry import Registry
from sidecar.core.address import Address
from sidecar.core.errors import ConfigError
from sidecar.net.dns import ResolverSettings
from sidecar.net.limited_transport import read_limit
from sidecar.router.upstream_filters import UpstreamFilters
from sidecar.upstream.cluster import (
    Cluster,
    ClusterConfig,
    DnsSettings,
    EdsSettings,
    OriginalDstSettings,
    PathSource,
)
from sidecar.upstream.discovery import Endpoint
from sidecar.upstream.resources import CircuitBreakerLimits, RetryBudget

if TYPE_CHECKING:
    from sidecar.upstream.health_check import HealthCheckSettings

__all__ = [
    "ResolverSettings",
    "compile_cluster",
    "compile_cluster_config",
    "compile_endpoints",
    "compile_resolver",
]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DNS_CLUSTER = "envoy.extensions.clusters.dns.v3.DnsCluster"
#: ``Cluster.ClusterProtocolSelection``.
_USE_DOWNSTREAM_PROTOCOL = 1
#: The types whose endpoints stand in the cluster itself.
_OWN_ENDPOINTS = ("STATIC", "STRICT_DNS", "LOGICAL_DNS")
_NO_LIMIT = 2**64 - 1
#: Names that ``cluster_type`` may have for the types of the enum.
_CUSTOM_TYPES = {
    "envoy.cluster.static": "STATIC",
    "envoy.cluster.strict_dns": "STRICT_DNS",
    "envoy.cluster.logical_dns": "LOGICAL_DNS",
    "envoy.cluster.original_dst": "ORIGINAL_DST",
    "envoy.cluster.dns": "STRICT_DNS",
}


def compile_cluster(
    message: Any,
    context: FactoryContext,
    *,
    resolver: ResolverSettings | None = None,
    manager_bind: Any = None,
    added_via_api: bool = False,
    version_info: str = "",
    registry: Registry | None = None,
) -> Cluster:
    """The cluster, with its stats in ``context.root_stats``; its hosts come when the manager takes it.

    ``resolver`` is what the bootstrap says about DNS, ``manager_bind`` the cluster manager's ``BindConfig``.
    Raises: ConfigError with a path from the root (``context.path`` is the path of ``message``).
    """
    config = compile_cluster_config(
        message,
        context,
        resolver=resolver,
        manager_bind=manager_bind,
        added_via_api=added_via_api,
        version_info=version_info,
        registry=registry,
    )
    return Cluster(config, context.root_stats, memory=context.shared_memory)


def compile_cluster_config(
    message: Any,
    context: FactoryContext,
    *,
    resolver: ResolverSettings | None = None,
    manager_bind: Any = None,
    added_via_api: bool = False,
    version_info: str = "",
    registry: Registry | None = None,
) -> ClusterConfig:
    """The same without stats or state."""
    kind, dns = _compile_type(message, context, resolver)
    options = _http_options(message)
    # The options of the cluster itself are the deprecated place; one place alone counts, as in Envoy.
    http2: bool
    by_downstream: bool
    is_auto = False
    if options is None:
        common = message.common_http_protocol_options
        http2 = message.HasField("http2_protocol_options")
        by_downstream = message.protocol_selection == _USE_DOWNSTREAM_PROTOCOL
        http2_options = message.http2_protocol_options
        http1_options = message.http_protocol_options
        http1_path = "http_protocol_options"
    else:
        common = options.common_http_protocol_options
        kind_of_options = options.WhichOneof("upstream_protocol_options")
        is_auto = kind_of_options == "auto_config"
        by_downstream = kind_of_options == "use_downstream_protocol_config"
        protocols = getattr(options, kind_of_options)
        http2 = protocols.HasField("http2_protocol_options") and not is_auto
        http2_options = protocols.http2_protocol_options
        http1_options = protocols.http_protocol_options
        http1_path = (
            f"typed_extension_protocol_options[{_HTTP_OPTIONS}].{kind_of_options}.http_protocol_options"
        )
    limits = {}
    if common.HasField("max_headers_count"):
        limits["max_headers_count"] = common.max_headers_count.value
    if common.HasField("max_response_headers_kb"):
        limits["max_headers_bytes"] = common.max_response_headers_kb.value * 1024
    max_requests = 0
    if common.HasField("max_requests_per_connection"):
        max_requests = common.max_requests_per_connection.value
    elif message.HasField("max_requests_per_connection"):
        max_requests = message.max_requests_per_connection.value
    assignment = message.load_assignment
    drop_per_million, drop_category = compile_drops(assignment)
    return ClusterConfig(
        name=message.name,
        type=kind,
        alt_stat_name=message.alt_stat_name,
        per_endpoint_stats=message.track_cluster_stats.per_endpoint_stats,
        endpoints=tuple(compile_endpoints(assignment, kind, context, "load_assignment"))
        if kind in _OWN_ENDPOINTS
        else (),
        connect_timeout_s=_seconds(message, "connect_timeout", 5.0),
        connect_options=compile_connect_options(message, context, manager_bind),
        preconnect_ratio=_wrapped(message.preconnect_policy, "per_upstream_preconnect_ratio", 1),
        lb_policy=compile_lb_policy(message, context),
        panic_threshold=whole_percent(message.common_lb_config, "healthy_panic_threshold", 50),
        overprovisioning_factor=_wrapped(assignment.policy, "overprovisioning_factor", 140),
        weighted_priority_health=assignment.policy.weighted_priority_health,
        drop_per_million=drop_per_million,
        drop_category=drop_category,
        close_connections_on_host_set_change=message.common_lb_config.close_connections_on_host_set_change,
        merge_window_s=int(_seconds(message.common_lb_config, "update_merge_window", 1.0) * 1000) / 1000,
        read_limit=read_limit(_wrapped(message, "per_connection_buffer_limit_bytes", 0)),
        max_requests_per_connection=max_requests,
        http1=compile_http1_options(
            http1_options,
            f"{context.path}.{http1_path}" if context.path else http1_path,
            **{"max_headers_bytes": UPSTREAM_HTTP1.max_headers_bytes, **limits},
        ),
        idle_timeout_s=_seconds(common, "idle_timeout", 3600.0),
        max_connection_duration_s=_seconds(common, "max_connection_duration", 0.0),
        max_stream_duration_s=_seconds(common, "max_stream_duration", 0.0),
        http2=http2,
        use_downstream_protocol=by_downstream,
        connection_pool_per_downstream_connection=message.connection_pool_per_downstream_connection,
        http2_settings=compile_http2_options(http2_options, **limits)
        if http2 or by_downstream or is_auto
        else H2Settings(),
        default_limits=_compile_limits(message, 0, context),
        high_limits=_compile_limits(message, 1, context),
        dns=dns,
        eds=_compile_eds(message) if kind == "EDS" else None,
        original_dst=_compile_original_dst(message) if kind == "ORIGINAL_DST" else None,
        outliers=compile_outliers(
            message, options, _under(context, f"typed_extension_protocol_options[{_HTTP_OPTIONS}]")
        ),
        health_checks=_health_checks(message, context),
        ignore_new_hosts_until_first_hc=message.common_lb_config.ignore_new_hosts_until_first_hc,
        ignore_health_on_host_removal=message.ignore_health_on_host_removal,
        close_connections_on_host_health_failure=message.close_connections_on_host_health_failure,
        metadata=metadata_to_dict(message.metadata),
        policies=compile_cluster_policies(
            options,
            f"{context.path}.typed_extension_protocol_options[{_HTTP_OPTIONS}]",
            context.runtime,
            _compile_filters(message, options, context, registry),
            compile_measure(message, context.root_stats),
        ),
        transport_sockets=compile_transport_sockets(message, context),
        request_names=compile_request_names(
            message.upstream_http_protocol_options
            if options is None
            else options.upstream_http_protocol_options
        ),
        is_auto=is_auto,
        added_via_api=added_via_api,
        version_info=version_info,
        message=message,
    )


def _health_checks(message: Any, context: FactoryContext) -> tuple[HealthCheckSettings, ...]:
    if not message.health_checks:
        return ()
    from sidecar.config.compile.health_check import compile_health_checks

    return compile_health_checks(message, context)


def _compile_filters(
    message: Any, options: Any, context: FactoryContext, registry: Registry | None
) -> UpstreamFilters | None:
    """The ``http_filters`` of a cluster, which count among its stats."""
    if options is None or not options.http_filters or registry is None:
        return None
    at = context.at("")
    at.path = f'{context.path}.typed_extension_protocol_options["{_HTTP_OPTIONS}"].http_filters'
    at.stats = context.root_stats.scope(f"cluster.{message.alt_stat_name or message.name}")
    # A cluster waits for what is discovered before it is used.
    awaited: list[Any] = []
    at.before_serving = awaited.append
    made = compile_upstream_filters(options.http_filters, at, registry)
    if made is not None:
        made.awaited = awaited
    return made


def metadata_to_dict(metadata: Any) -> dict[str, dict[str, Any]]:
    """``envoy.config.core.v3.Metadata.filter_metadata`` as plain dictionaries."""
    return {name: json_format.MessageToDict(value) for name, value in metadata.filter_metadata.items()}


def _compile_type(
    message: Any, context: FactoryContext, resolver: ResolverSettings | None
) -> tuple[str, DnsSettings]:
    if message.WhichOneof("cluster_discovery_type") == "cluster_type":
        custom = message.cluster_type
        if type_name(custom.typed_config.type_url) == _DNS_CLUSTER:
            settings = unpack(custom.typed_config)
            if settings is not None:
                kind = "LOGICAL_DNS" if settings.all_addresses_in_single_endpoint else "STRICT_DNS"
                return kind, compile_dns(message, settings, context, resolver)
        kind = _CUSTOM_TYPES.get(custom.name, "")
        if not kind:
            return custom.name, DnsSettings()
    else:
        kind = message.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[message.type].name
    if kind not in _OWN_ENDPOINTS:
        return kind, DnsSettings()
    return kind, compile_dns(message, None, context, resolver)


def _compile_eds(message: Any) -> EdsSettings:
    eds = message.eds_cluster_config
    source = eds.eds_config
    name = eds.service_name or message.name
    kind = source.WhichOneof("config_source_specifier")
    if kind == "path_config_source":
        path = source.path_config_source
        return EdsSettings(name, PathSource(path.path, path.watched_directory.path))
    if kind in ("ads", "api_config_source"):
        return EdsSettings(name, stream=source)
    return EdsSettings(name, PathSource(source.path) if kind == "path" else None)


def _compile_original_dst(message: Any) -> OriginalDstSettings:
    settings = message.original_dst_lb_config
    header = None
    if settings.use_http_header:
        header = settings.http_header_name.lower().encode() or b"x-envoy-original-dst-host"
    key = settings.metadata_key
    return OriginalDstSettings(
        header,
        (key.key, *(segment.key for segment in key.path)) if settings.HasField("metadata_key") else (),
        settings.upstream_port_override.value if settings.HasField("upstream_port_override") else None,
        _seconds(message, "cleanup_interval", 5.0),
    )


def compile_endpoints(assignment: Any, kind: str, context: FactoryContext, place: str) -> Iterator[Endpoint]:
    """The endpoints of an ``envoy.config.endpoint.v3.ClusterLoadAssignment`` that stands at ``place``.

    Raises: ConfigError.
    """
    prefix = f"{place}." if place else ""
    weights = compile_locality_weights(assignment)
    for i, locality in enumerate(assignment.endpoints):
        for j, endpoint in enumerate(locality.lb_endpoints):
            path = f"{prefix}endpoints[{i}].lb_endpoints[{j}]"
            if endpoint.WhichOneof("host_identifier") == "endpoint_name":
                raise _error(
                    context,
                    f"{path}.endpoint_name",
                    "named endpoints are not supported",
                )
            yield _compile_endpoint(locality, endpoint, kind, context, f"{path}.endpoint", weights)


def _compile_endpoint(
    locality: Any, lb_endpoint: Any, kind: str, context: FactoryContext, path: str, weights: LocalityWeights
) -> Endpoint:
    endpoint = lb_endpoint.endpoint
    address: Address | None
    name, port = "", 0
    socket_address = endpoint.address.socket_address
    is_named = kind in ("STRICT_DNS", "LOGICAL_DNS")
    if is_named and endpoint.address.WhichOneof("address") != "socket_address":
        # Envoy takes it, and looks up a name that is empty.
        here = f"{context.path}.{path}.address" if context.path else f"{path}.address"
        context.warn(here, f"a {kind} cluster resolves the name of a socket_address, and here is none")
    if is_named:
        name, port = socket_address.address, socket_address.port_value
        address = None
        if socket_address.resolver_name:
            raise _error(
                context,
                f"{path}.address.socket_address.resolver_name",
                f"{kind} clusters must NOT have a custom resolver name set",
            )
    else:
        address = compile_address(endpoint.address, context, f"{path}.address")
    more = tuple(
        compile_address(each.address, context, f"{path}.additional_addresses[{number}].address")
        for number, each in enumerate(endpoint.additional_addresses)
    )
    where = compile_locality(locality.locality)
    checked = endpoint.health_check_config
    health = lb_endpoint.DESCRIPTOR.fields_by_name["health_status"].enum_type
    return Endpoint(
        address=address,
        name=name,
        port=port,
        hostname=endpoint.hostname,
        additional_addresses=more,
        weight=_wrapped(lb_endpoint, "load_balancing_weight", 1),
        priority=0 if kind == "LOGICAL_DNS" else locality.priority,
        locality=where,
        locality_weight=weights.get((locality.priority, where), 0),
        health_status=health.values_by_number[lb_endpoint.health_status].name,
        metadata=metadata_to_dict(lb_endpoint.metadata),
        locality_metadata=metadata_to_dict(locality.metadata),
        proxy_tlvs=compile_host_tlvs(lb_endpoint.metadata),
        http_proxy=compile_http_proxy(lb_endpoint.metadata),
        health_port=checked.port_value,
        health_address=compile_address(checked.address, context, f"{path}.health_check_config.address")
        if checked.HasField("address")
        else None,
        health_hostname=checked.hostname,
        has_no_health_checks=checked.disable_active_health_check,
    )


def _compile_limits(message: Any, priority: int, context: FactoryContext) -> CircuitBreakerLimits:
    per_host = _NO_LIMIT
    for number, threshold in reversed(list(enumerate(message.circuit_breakers.per_host_thresholds))):
        for field, _ in threshold.ListFields():
            if field.name not in ("priority", "max_connections", "track_remaining"):
                path = f"circuit_breakers.per_host_thresholds[{number}].{field.name}"
                raise _error(context, path, "Unsupported field in per_host_thresholds")
        if threshold.priority == priority:
            per_host = _wrapped(threshold, "max_connections", _NO_LIMIT)
    for threshold in message.circuit_breakers.thresholds:
        if threshold.priority == priority:
            return CircuitBreakerLimits(
                max_connections=_wrapped(threshold, "max_connections", 1024),
                max_pending_requests=_wrapped(threshold, "max_pending_requests", 1024),
                max_requests=_wrapped(threshold, "max_requests", 1024),
                max_retries=_wrapped(threshold, "max_retries", 3),
                max_connection_pools=_wrapped(threshold, "max_connection_pools", _NO_LIMIT),
                track_remaining=threshold.track_remaining,
                retry_budget=_compile_retry_budget(threshold),
                max_connections_per_host=per_host,
            )
    return CircuitBreakerLimits(max_connections_per_host=per_host)


def _compile_retry_budget(threshold: Any) -> RetryBudget | None:
    if not threshold.HasField("retry_budget"):
        return None
    budget = threshold.retry_budget
    return RetryBudget(_percent(budget, "budget_percent", 20.0), _wrapped(budget, "min_retry_concurrency", 3))


def _http_options(message: Any) -> Any:
    packed = message.typed_extension_protocol_options.get(_HTTP_OPTIONS)
    return None if packed is None else unpack(packed)


def _wrapped(message: Any, field: str, otherwise: int) -> int:
    value: int = getattr(message, field).value if message.HasField(field) else otherwise
    return value


def _percent(message: Any, field: str, otherwise: float) -> float:
    value: float = getattr(message, field).value if message.HasField(field) else otherwise
    return value


def _seconds(message: Any, field: str, otherwise: float) -> float:
    if not message.HasField(field):
        return otherwise
    duration = getattr(message, field)
    seconds: float = duration.seconds + duration.nanos / 1e9
    return seconds


def _under(context: FactoryContext, path: str) -> str:
    return f"{context.path}.{path}" if context.path else path


def _error(context: FactoryContext, path: str, reason: str) -> ConfigError:
    return ConfigError(_under(context, path), reason)
