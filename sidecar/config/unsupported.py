"""The fields of Envoy's API that sidecar knows and does not implement yet: THE table.

An entry names a message and a field, the subject of the work that will bring it, and what happens
when the field is set:

``warn``
    The configuration is used without it.  For what changes no answer's correctness or safety.
``refuse_to_serve``
    ``--mode validate`` gives Envoy's verdict with a warning, and serving is refused: to leave the
    thing out would let through what it should stop (TLS, authorization), or answer wrongly.
``refuse``
    An error, also when validating.  For what Envoy refuses too.

An entry with a predicate applies only where it holds, also to a field of the positive table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sidecar.core.dataclass import dataclass

__all__ = ["ENTRIES", "EXTENSIONS", "SUBJECTS", "Action", "Entry", "extension_entry"]

Action = Literal["warn", "refuse_to_serve", "refuse"]
WARN: Action = "warn"
STOP: Action = "refuse_to_serve"

_CORE = "envoy.config.core.v3"
_ROUTE = "envoy.config.route.v3"
_BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
_LISTENER = "envoy.config.listener.v3"
_CLUSTER = "envoy.config.cluster.v3.Cluster"
_ENDPOINT = "envoy.config.endpoint.v3"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_UDP_PROXY = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_FILTER_STATE_VALUE = "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue"
#: Objects of the filter state that Envoy makes, and nothing here looks at.
_OTHER_OBJECTS = frozenset(
    (
        "envoy.network.upstream_server_name", "envoy.network.application_protocols",
        "envoy.network.upstream_subject_alt_names",
        "envoy.filters.listener.original_dst.local_ip", "envoy.filters.listener.original_dst.remote_ip",
        "envoy.upstream.dynamic_host", "envoy.upstream.dynamic_port", "envoy.network.network_namespace",
        "envoy.network.transport_socket.http_11_proxy.info",
    )
)  # fmt: skip
_PROC = "envoy.extensions.filters.http.ext_proc.v3"
_NETWORK_AUTHZ = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True, slots=True)
class Entry:
    """One field, or a value of it, that is not implemented."""

    message: str
    field: str
    action: Action
    subject: str
    #: Which values are meant, in words; None for every value.
    value: str | None = None
    when: Callable[[Any], bool] | None = None


def _rows(message: str, action: Action, subject: str, fields: str) -> tuple[Entry, ...]:
    return tuple(Entry(message, field, action, subject) for field in fields.split())


def _is_known_cluster_type(custom: Any) -> bool:
    return custom.typed_config.type_url.endswith("/envoy.extensions.clusters.dns.v3.DnsCluster") or (
        custom.name in ("envoy.cluster.static", "envoy.cluster.strict_dns", "envoy.cluster.logical_dns")
        or (
            custom.name in ("envoy.cluster.original_dst", "envoy.cluster.dns")
            and not custom.HasField("typed_config")
        )
    )


ENTRIES: tuple[Entry, ...] = (
    # Bootstrap
    *_rows(
        _BOOTSTRAP,
        WARN,
        "xDS",
        "node_context_params config_sources default_config_source xds_delegate_extension",
    ),
    *_rows(_BOOTSTRAP, WARN, "xDS", "xds_config_tracker_extension hds_config"),
    *_rows(_BOOTSTRAP, WARN, "runtime", "flags_path"),
    Entry(
        "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction",
        "runtime_fraction",
        WARN,
        "runtime",
        "its runtime_key",
        when=lambda message: bool(message.runtime_fraction.runtime_key),
    ),
    *_rows(_BOOTSTRAP, WARN, "statistics tags", "deferred_stat_options stats_eviction_interval"),
    *_rows("envoy.config.trace.v3.OpenTelemetryConfig", STOP, "tracing", "exporter"),
    *_rows("envoy.type.tracing.v3.CustomTag", WARN, "tracing", "value_type"),
    *_rows(_BOOTSTRAP, WARN, "tracing", "perf_tracing_file_path"),
    *_rows(f"{_BOOTSTRAP[:-9]}ClusterManager", WARN, "xDS", "enable_deferred_cluster_creation"),
    *_rows(f"{_BOOTSTRAP[:-9]}ClusterManager.OutlierDetection", WARN, "outlier detection", "event_service"),
    *_rows(_BOOTSTRAP, WARN, "watchdog", "watchdog watchdogs fatal_actions"),
    *_rows(_BOOTSTRAP, STOP, "TLS", "certificate_provider_instances"),
    *_rows(_BOOTSTRAP, WARN, "bootstrap extensions", "listener_manager"),
    *_rows("envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", STOP, "xDS", "dynamic_config"),
    *_rows("envoy.extensions.common.matching.v3.ExtensionWithMatcher", STOP, "generic matching", "matcher"),
    # Addresses
    *_rows(f"{_CORE}.Address", STOP, "internal listeners", "envoy_internal_address"),
    *_rows(f"{_CORE}.SocketAddress", STOP, "custom resolvers", "resolver_name named_port"),
    *_rows(f"{_CORE}.SocketAddress", STOP, "interception", "network_namespace_filepath"),
    *_rows(f"{_CORE}.DataSource", WARN, "file watching", "watched_directory"),
    # Listeners
    *_rows(f"{_LISTENER}.UdpListenerConfig", STOP, "UDP and HTTP/3", "quic_options"),
    # Envoy does not look at it without QUIC.
    *_rows(f"{_LISTENER}.UdpListenerConfig", WARN, "UDP and HTTP/3", "udp_packet_packet_writer_config"),
    *_rows(_UDP_PROXY, STOP, "tunnels of datagrams", "tunneling_config"),
    *_rows(
        f"{_UDP_PROXY}.UdpAccessLogOptions",
        WARN,
        "tunnels of datagrams",
        "flush_access_log_on_tunnel_connected",
    ),
    *_rows(f"{_UDP_PROXY}.SessionFilter", STOP, "xDS", "config_discovery"),
    *_rows(f"{_LISTENER}.Listener", STOP, "internal listeners", "internal_listener api_listener"),
    *_rows(f"{_LISTENER}.Listener", STOP, "xDS", "fcds_config"),
    *_rows(f"{_LISTENER}.Listener", STOP, "interception", "deprecated_v1"),
    *_rows(f"{_TCP}.OnDemand", STOP, "xdstp names", "resources_locator"),
    *_rows(
        "envoy.extensions.filters.http.on_demand.v3.OnDemandCds", STOP, "xdstp names", "resources_locator"
    ),
    *_rows(
        _TCP,
        WARN,
        "TCP proxy",
        "downstream_idle_timeout upstream_idle_timeout",
    ),
    *_rows(
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        STOP,
        "filter state",
        "on_downstream_data",
    ),
    Entry(
        _FILTER_STATE_VALUE,
        "object_key",
        STOP,
        "filter state",
        "objects that nothing here looks at",
        when=lambda message: (message.factory_key or message.object_key) in _OTHER_OBJECTS,
    ),
    *_rows(_FILTER_STATE_VALUE, WARN, "filter state", "shared_with_upstream"),
    *_rows("envoy.config.rbac.v3.RBAC", WARN, "RBAC", "audit_logging_options"),
    # Envoy 1.40 does not look at it.
    *_rows("envoy.config.rbac.v3.Policy", WARN, "CEL", "checked_condition"),
    *_rows("envoy.config.rbac.v3.Permission", STOP, "RBAC", "matcher"),
    *_rows("envoy.config.rbac.v3.Principal", STOP, "RBAC", "custom"),
    *_rows(
        "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
        WARN,
        "runtime",
        "runtime_enabled",
    ),
    # Hidden in Envoy's API, and without effect there, too.
    *_rows(
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        WARN,
        "PROXY protocol (Envoy 1.40 does not look at it either)",
        "allow_unspecified_address tlv_as_pool_key",
    ),
    # TLS
    *_rows(_CLUSTER, STOP, "generic matching", "transport_socket_matcher"),
    *_rows(
        f"{_TLS}.CommonTlsContext",
        STOP,
        "certificate providers",
        "tls_certificate_provider_instance tls_certificate_certificate_provider "
        "tls_certificate_certificate_provider_instance validation_context_certificate_provider "
        "validation_context_certificate_provider_instance custom_tls_certificate_selector",
    ),
    *_rows(f"{_TLS}.CommonTlsContext", STOP, "handshakers", "custom_handshaker"),
    *_rows(f"{_TLS}.TlsParameters", STOP, "FIPS", "compliance_policies"),
    *_rows(f"{_TLS}.TlsCertificate", STOP, "private key providers", "private_key_provider"),
    *_rows(
        f"{_TLS}.CertificateValidationContext",
        STOP,
        "certificate providers",
        "ca_certificate_provider_instance",
    ),
    *_rows(
        f"{_TLS}.CommonTlsContext.CombinedCertificateValidationContext",
        STOP,
        "certificate providers",
        "validation_context_certificate_provider validation_context_certificate_provider_instance",
    ),
    *_rows(f"{_TLS}.Secret", WARN, "generic secrets", "generic_secret"),
    *_rows(f"{_TLS}.TlsKeyLog", STOP, "key logs by address", "local_address_range remote_address_range"),
    *_rows(f"{_LISTENER}.FilterChain", STOP, "listener filters", "use_proxy_proto"),
    *(
        Entry(
            f"{_LISTENER}.{message}",
            "config_discovery",
            STOP,
            "xDS",
            f"of {what}",
            when=lambda found, kind=kind: any(  # type: ignore[misc]
                url.endswith(kind) for url in found.config_discovery.type_urls
            ),
        )
        for message, kind, what in (
            ("Filter", ".HttpConnectionManager", "a connection manager"),
            ("ListenerFilter", ".OriginalSrc", "original_src"),
        )
    ),
    # HTTP connection manager
    *_rows(f"{_HCM.rpartition('.')[0]}.ScopedRds", STOP, "xDS", "srds_resources_locator"),
    *_rows(_HCM, STOP, "client certificates", "forward_client_cert_matcher"),
    *(
        Entry(
            f"{message}.UpgradeConfig",
            "upgrade_type",
            STOP,
            "CONNECT-UDP",
            "CONNECT-UDP",
            when=lambda message: message.upgrade_type.lower() == "connect-udp",
        )
        for message in (_HCM, f"{_ROUTE}.RouteAction")
    ),
    *_rows(_HCM, WARN, "UDP and HTTP/3", "http3_protocol_options"),
    # It is about connections whose destination a listener filter restored: without one Envoy ignores it too.
    *_rows(_HCM, WARN, "listener filters", "forward_proto_config"),
    Entry(_HCM, "codec_type", STOP, "UDP and HTTP/3", "HTTP3", when=lambda message: message.codec_type == 3),
    *_rows(
        f"{_CORE}.HttpProtocolOptions",
        WARN,
        "HTTP connection limits",
        "max_connection_duration",
    ),
    *_rows(f"{_CORE}.HttpProtocolOptions", WARN, "HTTP connection limits", "max_requests_per_connection"),
    *_rows(f"{_CORE}.HttpProtocolOptions", WARN, "HTTP connection limits", "max_stream_duration"),
    # Routes
    *_rows(f"{_ROUTE}.RouteConfiguration", STOP, "route specifiers", "route_specifiers"),
    *_rows(f"{_ROUTE}.VirtualHost", STOP, "route specifiers", "route_specifiers"),
    *_rows(f"{_ROUTE}.Route", STOP, "route specifiers", "route_specifiers"),
    # None of these extensions is part of Envoy: whatever stands there is refused.
    *_rows(f"{_ROUTE}.RetryPolicy", STOP, "retries", "retry_options_predicates"),
    *_rows(
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        STOP,
        "limits that a cluster shares",
        "local_cluster_rate_limit",
    ),
    *_rows(f"{_CORE}.ProxyProtocolConfig", STOP, "PROXY protocol", "pass_through_tlvs added_tlvs"),
    *_rows(f"{_ROUTE}.RouteAction", WARN, "timeouts", "early_data_policy"),
    *_rows("envoy.config.tap.v3.OutputSink", STOP, "taps", "streaming_grpc custom_sink"),
    *_rows(
        "envoy.config.tap.v3.OutputConfig",
        WARN,
        "taps (Envoy looks at it for sockets alone)",
        "min_streamed_sent_bytes",
    ),
    # Clusters
    *_rows(f"{_CORE}.HealthCheck", STOP, "health checks (redis, thrift)", "custom_health_check"),
    *_rows(
        f"{_CORE}.HealthCheck",
        WARN,
        "health checks (Envoy does not look at it either)",
        "alt_port event_service",
    ),
    *_rows(f"{_CORE}.HealthCheck.HttpHealthCheck", WARN, "TLS", "use_alpn_protocol"),
    Entry(
        f"{_CORE}.HealthCheck.HttpHealthCheck",
        "codec_client_type",
        STOP,
        "UDP and HTTP/3",
        "HTTP3",
        when=lambda message: message.codec_client_type == 2,
    ),
    *_rows(
        "envoy.config.cluster.v3.OutlierDetection",
        WARN,
        "outlier detection (Envoy 1.40 does not look at it either)",
        "monitors",
    ),
    *_rows(_CLUSTER, STOP, "xDS", "lrs_server"),
    *_rows(f"{_CORE}.ConfigSource", STOP, "xDS", "self"),
    *_rows(f"{_CORE}.ApiConfigSource", WARN, "xDS", "config_validators"),
    *_rows(f"{_BOOTSTRAP}.DynamicResources", STOP, "xDS", "lds_resources_locator cds_resources_locator"),
    *_rows(f"{_CORE}.ConfigSource", WARN, "xDS", "authorities"),
    Entry(
        _CLUSTER,
        "cluster_type",
        STOP,
        "cluster types",
        "all but static, strict_dns, logical_dns, dns and original_dst",
        when=lambda message: not _is_known_cluster_type(message.cluster_type),
    ),
    *_rows(
        "envoy.config.cluster.v3.UpstreamConnectionOptions",
        WARN,
        "connection pools",
        "set_local_interface_name_on_upstream_connections",
    ),
    *_rows(f"{_CLUSTER}.PreconnectPolicy", WARN, "connection pools", "predictive_preconnect_ratio"),
    *_rows(_CLUSTER, STOP, "upstream filters", "filters"),
    *_rows(f"{_HTTP_OPTIONS}.UseDownstreamHttpConfig", STOP, "UDP and HTTP/3", "http3_protocol_options"),
    *_rows(f"{_HTTP_OPTIONS}.AutoHttpConfig", STOP, "UDP and HTTP/3", "http3_protocol_options"),
    *_rows(
        f"{_HTTP_OPTIONS}.AutoHttpConfig",
        WARN,
        "UDP and HTTP/3",
        "alternate_protocols_cache_options",
    ),
    *_rows(f"{_HTTP_OPTIONS}.ExplicitHttpConfig", STOP, "UDP and HTTP/3", "http3_protocol_options"),
    *_rows(f"{_ENDPOINT}.ClusterLoadAssignment", WARN, "load balancing", "named_endpoints"),
    *_rows(
        f"{_ENDPOINT}.LocalityLbEndpoints",
        STOP,
        "xDS",
        "leds_cluster_locality_config",
    ),
    # Envoy takes it, and no host from it.
    *_rows(f"{_ENDPOINT}.LocalityLbEndpoints", WARN, "endpoint discovery", "load_balancer_endpoints"),
    *_rows(f"{_ENDPOINT}.LbEndpoint", STOP, "xDS", "endpoint_name"),
    *_rows("envoy.extensions.filters.http.header_to_metadata.v3.Config", WARN, "statistics", "stat_prefix"),
    *_rows(
        "envoy.extensions.compression.brotli.compressor.v3.Brotli",
        WARN,
        "compression",
        "disable_literal_context_modeling",
    ),
    *_rows(_NETWORK_AUTHZ, WARN, "alerts of TLS that a filter sends", "send_tls_alert_on_denial"),
    # In Envoy other code of it may look at that, and nothing of a configuration.
    *_rows(_AUTHZ, WARN, "statistics of calls in filter state", "filter_metadata"),
    *_rows(
        f"{_PROC}.ExternalProcessor",
        STOP,
        "external processors",
        "processing_request_modifier on_processing_response",
    ),
    *_rows(f"{_PROC}.ExternalProcessor", WARN, "tracing", "emit_client_span"),
    *_rows(f"{_PROC}.MetadataOptions", STOP, "external processors", "cluster_metadata_forwarding_namespaces"),
    *_rows(f"{_PROC}.MetadataOptions.MetadataNamespaces", STOP, "external processors", "typed"),
    *_rows(f"{_PROC}.ExtProcOverrides", STOP, "external processors", "processing_request_modifier"),
    *_rows(f"{_PROC}.ExtProcOverrides", WARN, "tracing", "emit_client_span"),
    *_rows(
        f"{_PROC}.ExtProcOverrides",
        WARN,
        "what Envoy does not read",
        "async_mode request_attributes response_attributes",
    ),
    # Envoy's other client for gRPC (docs/adr/0004) has credentials that belong to Google's services.
    *_rows(
        f"{_CORE}.GrpcService.GoogleGrpc",
        STOP,
        "gRPC without a cluster",
        "channel_credentials_plugin call_credentials call_credentials_plugin config channel_args",
    ),
    *_rows(
        f"{_CORE}.GrpcService.GoogleGrpc", WARN, "gRPC without a cluster", "per_stream_buffer_limit_bytes"
    ),
    *_rows(
        f"{_CORE}.GrpcService.GoogleGrpc.ChannelCredentials", STOP, "gRPC without a cluster", "google_default"
    ),
    *_rows("envoy.extensions.matching.input_matchers.ip.v3.Ip", WARN, "statistics", "stat_prefix"),
    # Access logs and filters
    *_rows("envoy.extensions.wasm.v3.VmConfig", WARN, "precompiled Wasm code", "allow_precompiled"),
)

#: Extensions that Envoy has and sidecar has not yet: what leaving one out means, by the start of
#: ``category/message name``; the longest start that fits counts.
EXTENSIONS: dict[str, tuple[Action, str]] = {
    "": (WARN, "further extensions"),
    "/xds.type.matcher.v3.": (STOP, "generic matching"),
    "/envoy.extensions.matching.": (STOP, "generic matching"),
    "/envoy.type.matcher.v3.": (STOP, "generic matching"),
    "envoy.matching.": (STOP, "generic matching"),
    "envoy.string_matcher": (STOP, "matchers"),
    "envoy.rate_limit_descriptors/": (STOP, "rate limits"),
    "envoy.router.cluster_specifier_plugin/": (STOP, "cluster choice"),
    # Leaving out a filter must not open what it closes; filters that only add are warned about.
    "envoy.filters.http/": (STOP, "further HTTP filters"),
    "envoy.filters.http/envoy.extensions.filters.http.oauth2.": (STOP, "OAuth2"),
    "envoy.filters.http.upstream/": (STOP, "further HTTP filters on the way to an upstream"),
    "envoy.http.early_header_mutation/": (STOP, "header mutation extensions"),
    "envoy.request_id/": (STOP, "request id extensions"),
    "envoy.http.original_ip_detection/": (STOP, "internal addresses"),
    "envoy.filters.network/": (STOP, "further network filters"),
    "envoy.filters.listener/": (STOP, "listener filters"),
    "envoy.filters.udp_listener/": (STOP, "UDP listener filters"),
    "envoy.filters.udp.session/": (STOP, "session filters of datagrams"),
    "envoy.transport_sockets.downstream/": (STOP, "further transport sockets"),
    "envoy.transport_sockets.upstream/": (STOP, "further transport sockets"),
    "envoy.access_loggers/": (WARN, "further access loggers"),
    "envoy.access_loggers/envoy.extensions.access_loggers.fluentd.": (STOP, "Fluentd: log to OpenTelemetry"),
    "envoy.formatter/": (STOP, "access log formatters"),
    "envoy.load_balancing_policies/": (WARN, "load balancing"),
    # It goes round its hosts without the reports of their load that it is for.
    (
        "envoy.load_balancing_policies/envoy.extensions.load_balancing_policies."
        "client_side_weighted_round_robin."
    ): (WARN, "load reports of hosts (ORCA)"),
    "envoy.internal_redirect_predicates/": (STOP, "internal redirects"),
    "envoy.retry_host_predicates/": (STOP, "retries"),
    "envoy.retry_priorities/": (STOP, "priorities"),
    "envoy.health_check.event_sinks/": (WARN, "health checks"),
    "envoy.stats_sinks/": (WARN, "statistics sinks"),
    "envoy.stats_sinks/envoy.config.metrics.v3.HystrixSink": (STOP, "Hystrix: ask /stats/prometheus"),
    "envoy.tracers/": (WARN, "tracing by other protocols than OpenTelemetry"),
    "envoy.tracers.opentelemetry.samplers/": (STOP, "tracing"),
    "envoy.tracers.opentelemetry.resource_detectors/": (WARN, "tracing"),
    "envoy.upstream_options/": (WARN, "connection pools"),
}

#: Subjects of fields that have no entry, by the start of the message's name.
SUBJECTS: dict[str, str] = {
    "envoy.config.core.v3.Http2ProtocolOptions": "HTTP/2 options",
    "envoy.config.core.v3.Http1ProtocolOptions": "HTTP/1 options",
    "envoy.config.core.v3.HttpProtocolOptions": "HTTP connection limits",
    "envoy.extensions.filters.http.lua.": "Lua",
    "envoy.extensions.filters.http.router.": "router options",
    "envoy.extensions.wasm.": "Wasm",
    "envoy.extensions.upstreams.http.": "connection pools",
    "envoy.config.listener.": "listener options",
    "envoy.config.cluster.": "cluster options",
    "envoy.config.route.": "route options",
    "envoy.config.bootstrap.": "bootstrap options",
}


def extension_entry(category: str, message: str) -> tuple[Action, str]:
    """What to do about an extension of Envoy's that sidecar has not, and its subject."""
    key = f"{category}/{message}"
    best = max((start for start in EXTENSIONS if key.startswith(start)), key=len)
    return EXTENSIONS[best]


def subject_of(message: str) -> str | None:
    """The subject of a field without an entry."""
    fitting = [start for start in SUBJECTS if message.startswith(start)]
    return SUBJECTS[max(fitting, key=len)] if fitting else None
