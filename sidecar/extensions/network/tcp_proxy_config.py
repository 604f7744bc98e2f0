"""Compiles ``envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.network import ServerParts
from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.route_action import compile_metadata, duration_s
from sidecar.config.compile.substitution_format import compile_substitution_format
from sidecar.core.errors import ConfigError
from sidecar.extensions.network.tcp_proxy import TcpProxy, TcpProxyConfig, TcpRoute
from sidecar.extensions.network.tcp_stats import TcpStats
from sidecar.extensions.network.tcp_tlvs import Tlvs
from sidecar.extensions.network.tcp_tunnel_config import compile_tunneling
from sidecar.net.pipes import PipePool
from sidecar.net.reactor import adopted
from sidecar.router.hash_policy import by_filter_state, by_source_ip, combined
from sidecar.upstream.metadata_match import NAMESPACE, MetadataMatch

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = ["TcpProxyFactory"]

_DEFAULT_IDLE_S = 3600.0
_BACKOFF_FACTOR = 10
#: How long a cluster that is asked for may take.
_DEFAULT_DISCOVERY_S = 60.0
#: ``UpstreamConnectMode``.
_ON_DOWNSTREAM_DATA = 1


class TcpProxyFactory:
    """The network filter that carries bytes."""

    name = "envoy.filters.network.tcp_proxy"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

    def compile(self, message: Any, context: FactoryContext) -> TcpProxyCompiler:
        """A compiler that waits for the server's parts."""
        return TcpProxyCompiler(message, context)


class TcpProxyCompiler:
    """One TCP proxy's message (:class:`sidecar.api.network.NetworkFilterRecipe`)."""

    def __init__(self, message: Any, context: FactoryContext) -> None:
        self._message = message
        self._context = context

    def build(self, parts: ServerParts) -> TcpProxy:
        """The filter.  Raises: ConfigError with a path from the bootstrap's root."""
        message, context = self._message, self._context
        pipes = PipePool()
        context.on_close(pipes.close)
        return TcpProxy(
            self._config(parts),
            TcpStats(
                context.root_stats.scope(f"tcp.{message.stat_prefix}"),
                is_on_demand=message.HasField("on_demand"),
            ),
            parts.reactor,
            context.find_cluster,
            parts.get_pool,
            pipes,
            parts.is_draining if message.check_drain_close.value else None,
            parts.overload,
        )

    def server(self, built: TcpProxy) -> Callable[[Any, Transport, Strand], Coroutine[Any, Any, None]]:
        """The function that serves a connection."""
        return built.serve

    def _config(self, parts: ServerParts) -> TcpProxyConfig:
        message = self._message
        options = message.access_log_options
        if message.HasField("access_log_options"):
            for field in ("access_log_flush_interval", "flush_access_log_on_connected"):
                if field in {each.name for each, _ in message.ListFields()}:
                    reason = f"Only one of {field} or access_log_options can be specified."
                    raise ConfigError(f"{self._context.path}.{field}", reason)
        interval = message.access_log_flush_interval
        if options.HasField("access_log_flush_interval"):
            interval = options.access_log_flush_interval
        idle_s = _DEFAULT_IDLE_S
        if message.HasField("idle_timeout"):
            idle_s = duration_s(message.idle_timeout)
        attempts = 1
        if message.HasField("max_connect_attempts"):
            attempts = message.max_connect_attempts.value
        early = None
        if message.HasField("max_early_data_bytes"):
            early = message.max_early_data_bytes.value
        elif message.upstream_connect_mode:
            reason = "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE"
            raise ConfigError(f"{self._context.path}.upstream_connect_mode", reason)
        return TcpProxyConfig(
            stat_prefix=message.stat_prefix,
            routes=self._routes(),
            is_weighted=message.HasField("weighted_clusters"),
            idle_timeout_s=idle_s,
            max_connection_duration_s=duration_s(message.max_downstream_connection_duration),
            jitter_percent=message.max_downstream_connection_duration_jitter_percentage.value,
            max_connect_attempts=attempts,
            backoff_s=self._backoff(),
            log_interval_s=duration_s(interval),
            logs_start=options.flush_access_log_on_start,
            logs_connected=options.flush_access_log_on_connected or message.flush_access_log_on_connected,
            tunneling=compile_tunneling(message, self._context),
            tlvs=self._tlvs(),
            max_early_data_bytes=early,
            # A connection is served behind its handshake of TLS, whatever the mode.
            connects_on_data=message.upstream_connect_mode == _ON_DOWNSTREAM_DATA,
            access_logs=compile_access_logs(message, self._context, parts.registry),
            discover=self._discover(),
        )

    def _discover(self) -> Callable[[str], Awaitable[str]] | None:
        asked = self._message.on_demand
        if not asked.HasField("odcds_config"):
            return None
        clusters = self._context.on_demand_clusters
        source = clusters.source(asked.odcds_config, f"{self._context.path}.on_demand.odcds_config")
        timeout_s = duration_s(asked.timeout) if asked.HasField("timeout") else _DEFAULT_DISCOVERY_S

        async def discover(name: str) -> str:
            async with adopted():
                outcome: str = await clusters.discover(source, name, timeout_s)
            return outcome

        return discover

    def _backoff(self) -> tuple[float, float] | None:
        if not self._message.HasField("backoff_options"):
            return None
        options = self._message.backoff_options
        base = duration_s(options.base_interval)
        most = (
            duration_s(options.max_interval) if options.HasField("max_interval") else base * _BACKOFF_FACTOR
        )
        if most < base:
            reason = "max_backoff must be greater or equal to base_backoff"
            raise ConfigError(f"{self._context.path}.backoff_options", reason)
        return base, most

    def _tlvs(self) -> Tlvs | None:
        message, context = self._message, self._context
        if not message.proxy_protocol_tlvs:
            return None
        fixed: list[tuple[int, bytes]] = []
        made: list[tuple[int, Callable[[Any], str]]] = []
        for index, each in enumerate(message.proxy_protocol_tlvs):
            at = f"proxy_protocol_tlvs[{index}]"
            has_format = each.HasField("format_string")
            if bool(each.value) == has_format:
                words = (
                    "only one of 'value' or 'format_string' may"
                    if has_format
                    else "one of 'value' or 'format_string' must"
                )
                raise ConfigError(f"{context.path}.{at}", f"Invalid TLV configuration: {words} be set.")
            if has_format:
                text = compile_substitution_format(each.format_string, context, f"{at}.format_string")
                made.append((each.type & 255, text))
            else:
                fixed.append((each.type & 255, each.value))
        return Tlvs((*fixed, *made), message.proxy_protocol_tlv_merge_policy)

    def _routes(self) -> list[TcpRoute]:
        message = self._message
        policy = None
        if message.hash_policy:
            each = message.hash_policy[0]  # there is one at most
            kind = each.WhichOneof("policy_specifier")
            by = by_source_ip() if kind == "source_ip" else by_filter_state(each.filter_state.key)
            policy = combined([(by, False)])
        match = compile_metadata(message.metadata_match).get(NAMESPACE, {})
        if message.WhichOneof("cluster_specifier") == "cluster":
            return [TcpRoute(message.cluster, policy, MetadataMatch(match) if match else None)]
        clusters = message.weighted_clusters.clusters
        routes = []
        for each in clusters:
            own = {**match, **compile_metadata(each.metadata_match).get(NAMESPACE, {})}
            routes.append(TcpRoute(each.name, policy, MetadataMatch(own) if own else None, each.weight))
        return routes
