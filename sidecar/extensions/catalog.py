"""THE list of extensions: the only module that names concrete ones.

It names them as text.  What is configured is imported when its message is first met, so that a proxy that
has no Wasm filter starts without wasmtime: most of a start was importing what nobody had asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from sidecar.api.listener_filter import ListenerFilter
from sidecar.config.compile.matchers import custom_matchers
from sidecar.config.registry import Deferred, Registry

__all__ = ["implied_listener_filters", "lint_script", "make_registry"]

#: What a factory's class is called with.
_PLUGINS, _BATCHES, _FLUSH, _REGISTRY = "plugins", "batches", "min_flush_bytes", "registry"
#: The message of Lua's matcher: no factory, as it makes a predicate and not an extension.
_LUA_MATCHER = "envoy.extensions.string_matcher.lua.v3.Lua"


class _Row(NamedTuple):
    """One extension: its class, and what the class says of itself (a test compares the two)."""

    place: str
    category: str
    name: str
    config_type: str
    route: str | None = None
    given: str = ""


_ROWS = (
    _Row(
        "network.http_connection_manager_config:HttpConnectionManagerFactory",
        "envoy.filters.network",
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ),
    _Row(
        "listener.tls_inspector_config:TlsInspectorFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.tls_inspector",
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    ),
    _Row(
        "listener.plain_config:HttpInspectorFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.http_inspector",
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    ),
    _Row(
        "listener.plain_config:OriginalDstFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.original_dst",
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    ),
    _Row(
        "listener.proxy_protocol_config:ProxyProtocolFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.proxy_protocol",
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    ),
    _Row(
        "listener.plain_config:ListenerRateLimitFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.local_ratelimit",
        "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
    ),
    _Row(
        "listener.plain_config:OriginalSrcFactory",
        "envoy.filters.listener",
        "envoy.filters.listener.original_src",
        "envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
    ),
    _Row(
        "transport_sockets.tls_config:DownstreamTlsFactory",
        "envoy.transport_sockets.downstream",
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    ),
    _Row(
        "network.tcp_proxy_config:TcpProxyFactory",
        "envoy.filters.network",
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    ),
    _Row(
        "udp.udp_proxy_config:UdpProxyFactory",
        "envoy.filters.udp_listener",
        "envoy.filters.udp_listener.udp_proxy",
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
    ),
    _Row(
        "transport_sockets.tls_config:UpstreamTlsFactory",
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    ),
    _Row(
        "transport_sockets.wrapping_config:UpstreamProxyProtocolFactory",
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.upstream_proxy_protocol",
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
    ),
    _Row(
        "transport_sockets.wrapping_config:Http11ProxyFactory",
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.http_11_proxy",
        "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
    ),
    _Row(
        "transport_sockets.tls_config:RawBufferFactory",
        "envoy.transport_sockets.downstream",
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    ),
    _Row(
        "network.connection_filters_config:SniClusterFactory",
        "envoy.filters.network",
        "envoy.filters.network.sni_cluster",
        "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
    ),
    _Row(
        "network.rbac_config:NetworkRbacFactory",
        "envoy.filters.network",
        "envoy.filters.network.rbac",
        "envoy.extensions.filters.network.rbac.v3.RBAC",
    ),
    _Row(
        "network.set_filter_state_config:SetFilterStateFactory",
        "envoy.filters.network",
        "envoy.filters.network.set_filter_state",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
    ),
    _Row(
        "network.ext_authz_config:NetworkExtAuthzFactory",
        "envoy.filters.network",
        "envoy.filters.network.ext_authz",
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    ),
    _Row(
        "network.connection_filters_config:ConnectionLimitFactory",
        "envoy.filters.network",
        "envoy.filters.network.connection_limit",
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    ),
    _Row(
        "network.connection_filters_config:LocalRateLimitFactory",
        "envoy.filters.network",
        "envoy.filters.network.local_ratelimit",
        "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    ),
    _Row(
        "network.connection_filters_config:EchoFactory",
        "envoy.filters.network",
        "envoy.filters.network.echo",
        "envoy.extensions.filters.network.echo.v3.Echo",
    ),
    _Row(
        "network.connection_filters_config:DirectResponseFactory",
        "envoy.filters.network",
        "envoy.filters.network.direct_response",
        "envoy.extensions.filters.network.direct_response.v3.Config",
    ),
    _Row(
        "http.router_config:RouterFactory",
        "envoy.filters.http",
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
    ),
    _Row(
        "http.upstream_codec_config:UpstreamCodecFactory",
        "envoy.filters.http.upstream",
        "envoy.filters.http.upstream_codec",
        "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    ),
    _Row(
        "http.header_mutation_config:HeaderMutationFactory",
        "envoy.filters.http",
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        route="envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    ),
    _Row(
        "http.original_ip_detection_config:XffDetectionFactory",
        "envoy.http.original_ip_detection",
        "envoy.http.original_ip_detection.xff",
        "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
    ),
    _Row(
        "http.request_id_config:UuidRequestIdFactory",
        "envoy.request_id",
        "envoy.request_id.uuid",
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
    ),
    _Row(
        "http.early_header_mutation_config:EarlyHeaderMutationFactory",
        "envoy.http.early_header_mutation",
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    ),
    _Row(
        "http.original_ip_detection_config:CustomHeaderDetectionFactory",
        "envoy.http.original_ip_detection",
        "envoy.http.original_ip_detection.custom_header",
        "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
    ),
    _Row(
        "http.match_delegate_config:MatchDelegateFactory",
        "envoy.filters.http",
        "envoy.filters.http.match_delegate",
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        route="envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute",
        given=_REGISTRY,
    ),
    _Row(
        "http.match_delegate_config:CompositeFactory",
        "envoy.filters.http",
        "envoy.filters.http.composite",
        "envoy.extensions.filters.http.composite.v3.Composite",
        route="envoy.extensions.filters.http.composite.v3.CompositePerRoute",
        given=_REGISTRY,
    ),
    _Row(
        "http.basic_auth_config:BasicAuthFactory",
        "envoy.filters.http",
        "envoy.filters.http.basic_auth",
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        route="envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute",
    ),
    _Row(
        "http.cors_config:CorsFactory",
        "envoy.filters.http",
        "envoy.filters.http.cors",
        "envoy.extensions.filters.http.cors.v3.Cors",
        route="envoy.extensions.filters.http.cors.v3.CorsPolicy",
    ),
    _Row(
        "http.csrf_config:CsrfFactory",
        "envoy.filters.http",
        "envoy.filters.http.csrf",
        "envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
        route="envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
    ),
    _Row(
        "http.buffer_config:BufferFactory",
        "envoy.filters.http",
        "envoy.filters.http.buffer",
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        route="envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    ),
    _Row(
        "http.compressor_config:CompressorFactory",
        "envoy.filters.http",
        "envoy.filters.http.compressor",
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        route="envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
    ),
    _Row(
        "http.decompressor_config:DecompressorFactory",
        "envoy.filters.http",
        "envoy.filters.http.decompressor",
        "envoy.extensions.filters.http.decompressor.v3.Decompressor",
    ),
    _Row(
        "http.ext_authz_config:ExtAuthzFactory",
        "envoy.filters.http",
        "envoy.filters.http.ext_authz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        route="envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    ),
    _Row(
        "http.ext_proc_config:ExtProcFactory",
        "envoy.filters.http",
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        route="envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
    ),
    _Row(
        "http.ratelimit_config:HttpRateLimitFactory",
        "envoy.filters.http",
        "envoy.filters.http.ratelimit",
        "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        route="envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
    ),
    _Row(
        "http.fault_config:FaultFactory",
        "envoy.filters.http",
        "envoy.filters.http.fault",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        route="envoy.extensions.filters.http.fault.v3.HTTPFault",
    ),
    _Row(
        "http.header_to_metadata_config:HeaderToMetadataFactory",
        "envoy.filters.http",
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        route="envoy.extensions.filters.http.header_to_metadata.v3.Config",
    ),
    _Row(
        "http.on_demand_config:OnDemandFactory",
        "envoy.filters.http",
        "envoy.filters.http.on_demand",
        "envoy.extensions.filters.http.on_demand.v3.OnDemand",
        route="envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
    ),
    _Row(
        "http.set_metadata_config:SetMetadataFactory",
        "envoy.filters.http",
        "envoy.filters.http.set_metadata",
        "envoy.extensions.filters.http.set_metadata.v3.Config",
    ),
    _Row(
        "http.jwt_authn_config:JwtAuthnFactory",
        "envoy.filters.http",
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        route="envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    ),
    _Row(
        "http.local_ratelimit_config:HttpLocalRateLimitFactory",
        "envoy.filters.http",
        "envoy.filters.http.local_ratelimit",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        route="envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    ),
    _Row(
        "http.rbac_config:HttpRbacFactory",
        "envoy.filters.http",
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        route="envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    ),
    _Row(
        "http.set_filter_state_config:SetHttpFilterStateFactory",
        "envoy.filters.http",
        "envoy.filters.http.set_filter_state",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        route="envoy.extensions.filters.http.set_filter_state.v3.Config",
    ),
    _Row(
        "http.json_to_metadata_config:JsonToMetadataFactory",
        "envoy.filters.http",
        "envoy.filters.http.json_to_metadata",
        "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
        route="envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
    ),
    _Row(
        "http.grpc_stats_config:GrpcStatsFactory",
        "envoy.filters.http",
        "envoy.filters.http.grpc_stats",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    ),
    _Row(
        "http.tap_config:TapFactory",
        "envoy.filters.http",
        "envoy.filters.http.tap",
        "envoy.extensions.filters.http.tap.v3.Tap",
    ),
    _Row(
        "http.lua_config:LuaFactory",
        "envoy.filters.http",
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        route="envoy.extensions.filters.http.lua.v3.LuaPerRoute",
    ),
    _Row(
        "http.lua_specifier:LuaSpecifierFactory",
        "envoy.router.cluster_specifier_plugin",
        "envoy.router.cluster_specifier_plugin.lua",
        "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig",
    ),
    _Row(
        "http.lua_own_config:OwnLuaFactory",
        "envoy.filters.http",
        "sidecar.filters.http.lua",
        "sidecar.extensions.filters.http.lua.v1.Lua",
        route="sidecar.extensions.filters.http.lua.v1.LuaPerRoute",
    ),
    _Row(
        "http.jwt_own_config:OwnJwtAuthnFactory",
        "envoy.filters.http",
        "sidecar.filters.http.jwt_authn",
        "sidecar.extensions.filters.http.jwt_authn.v1.JwtAuthentication",
        route="sidecar.extensions.filters.http.jwt_authn.v1.PerRouteConfig",
    ),
    _Row(
        "http.python_config:PythonFactory",
        "envoy.filters.http",
        "sidecar.filters.http.python",
        "sidecar.extensions.filters.http.python.v1.Python",
    ),
    _Row(
        "http.grpc_web_config:GrpcWebFactory",
        "envoy.filters.http",
        "envoy.filters.http.grpc_web",
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    ),
    _Row(
        "http.health_check_config:HealthCheckFactory",
        "envoy.filters.http",
        "envoy.filters.http.health_check",
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    ),
    _Row(
        "http.grpc_http1_bridge_config:GrpcHttp1BridgeFactory",
        "envoy.filters.http",
        "envoy.filters.http.grpc_http1_bridge",
        "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    ),
    _Row(
        "tracers.opentelemetry_config:OpenTelemetryFactory",
        "envoy.tracers",
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
    ),
    _Row(
        "admin_access:AdminAccessFactory",
        "envoy.bootstrap",
        "sidecar.admin.access",
        "sidecar.extensions.admin.v1.AdminAccess",
    ),
    _Row(
        "stat_sinks.sinks_config:StatsdFactory",
        "envoy.stats_sinks",
        "envoy.stat_sinks.statsd",
        "envoy.config.metrics.v3.StatsdSink",
    ),
    _Row(
        "stat_sinks.sinks_config:DogStatsdFactory",
        "envoy.stats_sinks",
        "envoy.stat_sinks.dog_statsd",
        "envoy.config.metrics.v3.DogStatsdSink",
    ),
    _Row(
        "stat_sinks.sinks_config:GraphiteStatsdFactory",
        "envoy.stats_sinks",
        "envoy.stat_sinks.graphite_statsd",
        "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink",
    ),
    _Row(
        "stat_sinks.sinks_config:OtlpMetricsFactory",
        "envoy.stats_sinks",
        "envoy.stat_sinks.open_telemetry",
        "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig",
    ),
    _Row(
        "stat_sinks.sinks_config:MetricsServiceFactory",
        "envoy.stats_sinks",
        "envoy.stat_sinks.metrics_service",
        "envoy.config.metrics.v3.MetricsServiceConfig",
    ),
    _Row(
        "http.wasm_config:WasmFactory",
        "envoy.filters.http",
        "envoy.filters.http.wasm",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        route="envoy.extensions.filters.http.wasm.v3.Wasm",
        given=_PLUGINS,
    ),
    _Row(
        "wasm.places_config:WasmNetworkFactory",
        "envoy.filters.network",
        "envoy.filters.network.wasm",
        "envoy.extensions.filters.network.wasm.v3.Wasm",
        given=_PLUGINS,
    ),
    _Row(
        "http.wasm_own_config:OwnWasmFactory",
        "envoy.filters.http",
        "sidecar.filters.http.wasm",
        "sidecar.extensions.filters.http.wasm.v1.Wasm",
        given=_PLUGINS,
    ),
    _Row(
        "wasm.places_config:WasmLoggerFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.wasm",
        "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
        given=_PLUGINS,
    ),
    _Row(
        "wasm.places_config:WasmServiceFactory",
        "envoy.bootstrap",
        "envoy.bootstrap.wasm",
        "envoy.extensions.wasm.v3.WasmService",
        given=_PLUGINS,
    ),
    _Row(
        "access_loggers.file_config:FileFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        given=_FLUSH,
    ),
    _Row(
        "access_loggers.file_config:StdoutFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        given=_FLUSH,
    ),
    _Row(
        "access_loggers.file_config:StderrFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.stderr",
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        given=_FLUSH,
    ),
    _Row(
        "access_loggers.service_config:HttpServiceFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        given=_BATCHES,
    ),
    _Row(
        "access_loggers.service_config:TcpServiceFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.tcp_grpc",
        "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
        given=_BATCHES,
    ),
    _Row(
        "access_loggers.otlp_log_config:OpenTelemetryLoggerFactory",
        "envoy.access_loggers",
        "envoy.access_loggers.open_telemetry",
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
    ),
)


def make_registry(*, min_flush_bytes: int | None = None, wasm_cache_dir: str = "none") -> Registry:
    """A fresh registry with every extension of this package.

    ``min_flush_bytes``: what an access log gathers before it is written (``--file-flush-min-size-kb``).
    ``wasm_cache_dir``: where compiled Wasm modules are kept.
    """
    custom_matchers[_LUA_MATCHER] = _compile_lua_matcher
    registry = Registry()

    @cache
    def given(what: str) -> Any:
        if what == _PLUGINS:
            return _load("wasm.plugin_config:Plugins")(wasm_cache_dir)
        return _load("access_loggers.service_config:ServiceBatches")()

    def opener(row: _Row) -> Callable[[], Any]:
        def make() -> Any:
            made = _load(row.place)
            if row.given == _FLUSH:
                return made() if min_flush_bytes is None else made(min_flush_bytes=min_flush_bytes)
            if row.given == _REGISTRY:
                delegates = made()
                delegates.registry = registry
                return delegates
            return made(given(row.given)) if row.given else made()

        return make

    for row in _ROWS:
        registry.register(Deferred(row.category, row.name, row.config_type, row.route, opener(row)))
    return registry


def _load(place: str) -> Any:
    """The class or function at ``module:name`` of this package."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"sidecar.extensions.{module}"), name)


def _compile_lua_matcher(*arguments: Any) -> Any:
    return _load("http.lua_matcher:compile_lua_matcher")(*arguments)


def lint_script(code: str) -> Any:
    """What :mod:`sidecar.extensions.http.lua_lint` finds in a script."""
    return _load("http.lua_lint:lint_script")(code)


def implied_listener_filters(listener: Any) -> list[ListenerFilter]:
    """The listener filters that other fields of an ``envoy.config.listener.v3.Listener`` ask for."""
    return [_load("listener.original_dst:OriginalDst")()] if listener.use_original_dst.value else []
