"""THE list of extensions: the only module that names concrete ones."""

from __future__ import annotations

from typing import Any

from sidecar.api.listener_filter import ListenerFilter
from sidecar.config.compile.matchers import custom_matchers
from sidecar.config.registry import Registry
from sidecar.extensions.access_loggers.file_config import FileFactory, StderrFactory, StdoutFactory
from sidecar.extensions.access_loggers.log_file import DEFAULT_MIN_FLUSH_BYTES
from sidecar.extensions.access_loggers.otlp_log_config import OpenTelemetryLoggerFactory
from sidecar.extensions.access_loggers.service_config import (
    HttpServiceFactory,
    ServiceBatches,
    TcpServiceFactory,
)
from sidecar.extensions.admin_access import AdminAccessFactory
from sidecar.extensions.http.buffer_config import BufferFactory
from sidecar.extensions.http.compressor_config import CompressorFactory
from sidecar.extensions.http.cors_config import CorsFactory
from sidecar.extensions.http.csrf_config import CsrfFactory
from sidecar.extensions.http.decompressor_config import DecompressorFactory
from sidecar.extensions.http.early_header_mutation_config import EarlyHeaderMutationFactory
from sidecar.extensions.http.ext_authz_config import ExtAuthzFactory
from sidecar.extensions.http.ext_proc_config import ExtProcFactory
from sidecar.extensions.http.fault_config import FaultFactory
from sidecar.extensions.http.grpc_http1_bridge_config import GrpcHttp1BridgeFactory
from sidecar.extensions.http.grpc_stats_config import GrpcStatsFactory
from sidecar.extensions.http.grpc_web_config import GrpcWebFactory
from sidecar.extensions.http.header_mutation_config import HeaderMutationFactory
from sidecar.extensions.http.header_to_metadata_config import HeaderToMetadataFactory
from sidecar.extensions.http.health_check_config import HealthCheckFactory
from sidecar.extensions.http.json_to_metadata_config import JsonToMetadataFactory
from sidecar.extensions.http.jwt_authn_config import JwtAuthnFactory
from sidecar.extensions.http.jwt_own_config import OwnJwtAuthnFactory
from sidecar.extensions.http.local_ratelimit_config import HttpLocalRateLimitFactory
from sidecar.extensions.http.lua_config import LuaFactory
from sidecar.extensions.http.lua_lint import lint_script
from sidecar.extensions.http.lua_matcher import LUA_MATCHER, compile_lua_matcher
from sidecar.extensions.http.lua_own_config import OwnLuaFactory
from sidecar.extensions.http.lua_specifier import LuaSpecifierFactory
from sidecar.extensions.http.match_delegate_config import CompositeFactory, MatchDelegateFactory
from sidecar.extensions.http.on_demand_config import OnDemandFactory
from sidecar.extensions.http.original_ip_detection_config import (
    CustomHeaderDetectionFactory,
    XffDetectionFactory,
)
from sidecar.extensions.http.python_config import PythonFactory
from sidecar.extensions.http.ratelimit_config import HttpRateLimitFactory
from sidecar.extensions.http.rbac_config import HttpRbacFactory
from sidecar.extensions.http.request_id_config import UuidRequestIdFactory
from sidecar.extensions.http.router_config import RouterFactory
from sidecar.extensions.http.set_filter_state_config import SetHttpFilterStateFactory
from sidecar.extensions.http.set_metadata_config import SetMetadataFactory
from sidecar.extensions.http.upstream_codec_config import UpstreamCodecFactory
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.extensions.http.wasm_own_config import OwnWasmFactory
from sidecar.extensions.listener.original_dst import OriginalDst
from sidecar.extensions.listener.plain_config import (
    HttpInspectorFactory,
    ListenerRateLimitFactory,
    OriginalDstFactory,
    OriginalSrcFactory,
)
from sidecar.extensions.listener.proxy_protocol_config import ProxyProtocolFactory
from sidecar.extensions.listener.tls_inspector_config import TlsInspectorFactory
from sidecar.extensions.network.connection_filters_config import (
    ConnectionLimitFactory,
    DirectResponseFactory,
    EchoFactory,
    LocalRateLimitFactory,
    SniClusterFactory,
)
from sidecar.extensions.network.ext_authz_config import NetworkExtAuthzFactory
from sidecar.extensions.network.http_connection_manager_config import HttpConnectionManagerFactory
from sidecar.extensions.network.rbac_config import NetworkRbacFactory
from sidecar.extensions.network.set_filter_state_config import SetFilterStateFactory
from sidecar.extensions.network.tcp_proxy_config import TcpProxyFactory
from sidecar.extensions.stat_sinks.sinks_config import (
    DogStatsdFactory,
    GraphiteStatsdFactory,
    MetricsServiceFactory,
    OtlpMetricsFactory,
    StatsdFactory,
)
from sidecar.extensions.tracers.opentelemetry_config import OpenTelemetryFactory
from sidecar.extensions.transport_sockets.tls_config import (
    DownstreamTlsFactory,
    RawBufferFactory,
    UpstreamTlsFactory,
)
from sidecar.extensions.transport_sockets.wrapping_config import (
    Http11ProxyFactory,
    UpstreamProxyProtocolFactory,
)
from sidecar.extensions.udp.udp_proxy_config import UdpProxyFactory
from sidecar.extensions.wasm.places_config import WasmLoggerFactory, WasmNetworkFactory, WasmServiceFactory
from sidecar.extensions.wasm.plugin_config import Plugins

__all__ = ["implied_listener_filters", "lint_script", "make_registry"]


def make_registry(
    *, min_flush_bytes: int = DEFAULT_MIN_FLUSH_BYTES, wasm_cache_dir: str = "none"
) -> Registry:
    """A fresh registry with every extension of this package.

    ``min_flush_bytes``: what an access log gathers before it is written (``--file-flush-min-size-kb``).
    ``wasm_cache_dir``: where compiled Wasm modules are kept.
    """
    custom_matchers[LUA_MATCHER] = compile_lua_matcher
    plugins = Plugins(wasm_cache_dir)
    batches = ServiceBatches()
    delegates = MatchDelegateFactory()
    registry = delegates.registry = Registry(
        [
            HttpConnectionManagerFactory(),
            TlsInspectorFactory(),
            HttpInspectorFactory(),
            OriginalDstFactory(),
            ProxyProtocolFactory(),
            ListenerRateLimitFactory(),
            OriginalSrcFactory(),
            DownstreamTlsFactory(),
            TcpProxyFactory(),
            UdpProxyFactory(),
            UpstreamTlsFactory(),
            UpstreamProxyProtocolFactory(),
            Http11ProxyFactory(),
            RawBufferFactory(),
            SniClusterFactory(),
            NetworkRbacFactory(),
            SetFilterStateFactory(),
            NetworkExtAuthzFactory(),
            ConnectionLimitFactory(),
            LocalRateLimitFactory(),
            EchoFactory(),
            DirectResponseFactory(),
            RouterFactory(),
            UpstreamCodecFactory(),
            HeaderMutationFactory(),
            XffDetectionFactory(),
            UuidRequestIdFactory(),
            EarlyHeaderMutationFactory(),
            CustomHeaderDetectionFactory(),
            delegates,
            CompositeFactory(),
            CorsFactory(),
            CsrfFactory(),
            BufferFactory(),
            CompressorFactory(),
            DecompressorFactory(),
            ExtAuthzFactory(),
            ExtProcFactory(),
            HttpRateLimitFactory(),
            FaultFactory(),
            HeaderToMetadataFactory(),
            OnDemandFactory(),
            SetMetadataFactory(),
            JwtAuthnFactory(),
            HttpLocalRateLimitFactory(),
            HttpRbacFactory(),
            SetHttpFilterStateFactory(),
            JsonToMetadataFactory(),
            GrpcStatsFactory(),
            LuaFactory(),
            LuaSpecifierFactory(),
            OwnLuaFactory(),
            OwnJwtAuthnFactory(),
            PythonFactory(),
            GrpcWebFactory(),
            HealthCheckFactory(),
            GrpcHttp1BridgeFactory(),
            OpenTelemetryFactory(),
            AdminAccessFactory(),
            StatsdFactory(),
            DogStatsdFactory(),
            GraphiteStatsdFactory(),
            OtlpMetricsFactory(),
            MetricsServiceFactory(),
            WasmFactory(plugins),
            WasmNetworkFactory(plugins),
            OwnWasmFactory(plugins),
            WasmLoggerFactory(plugins),
            WasmServiceFactory(plugins),
            FileFactory(min_flush_bytes=min_flush_bytes),
            StdoutFactory(min_flush_bytes=min_flush_bytes),
            StderrFactory(min_flush_bytes=min_flush_bytes),
            HttpServiceFactory(batches),
            TcpServiceFactory(batches),
            OpenTelemetryLoggerFactory(),
        ]
    )
    return registry


def implied_listener_filters(listener: Any) -> list[ListenerFilter]:
    """The listener filters that other fields of an ``envoy.config.listener.v3.Listener`` ask for."""
    return [OriginalDst()] if listener.use_original_dst.value else []
