"""Compiles ``envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.network import ServerParts
from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.route_action import compile_metadata, duration_s
from sidecar.core.errors import ConfigError
from sidecar.extensions.network.tcp_proxy import TcpProxy, TcpProxyConfig, TcpRoute
from sidecar.extensions.network.tcp_stats import TcpStats
from sidecar.extensions.network.tcp_tunnel_config import compile_tunneling
from sidecar.net.splice import PipePool
from sidecar.router.hash_policy import by_source_ip, combined
from sidecar.upstream.metadata_match import NAMESPACE, MetadataMatch

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = ["TcpProxyFactory"]

_DEFAULT_IDLE_S = 3600.0
_BACKOFF_FACTOR = 10


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
            TcpStats(context.root_stats.scope(f"tcp.{message.stat_prefix}")),
            parts.reactor,
            context.find_cluster,
            parts.get_pool,
            pipes,
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
        return TcpProxyConfig(
            stat_prefix=message.stat_prefix,
            routes=self._routes(),
            idle_timeout_s=idle_s,
            max_connection_duration_s=duration_s(message.max_downstream_connection_duration),
            jitter_percent=message.max_downstream_connection_duration_jitter_percentage.value,
            max_connect_attempts=attempts,
            backoff_s=self._backoff(),
            log_interval_s=duration_s(interval),
            logs_start=options.flush_access_log_on_start,
            logs_connected=options.flush_access_log_on_connected or message.flush_access_log_on_connected,
            tunneling=compile_tunneling(message, self._context),
            access_logs=compile_access_logs(message, self._context, parts.registry),
        )

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

    def _routes(self) -> list[TcpRoute]:
        message = self._message
        policy = None
        if message.hash_policy:
            # by_source_ip for each that asks for it; nothing else has a hash here.
            policies = [(by_source_ip(), False) for each in message.hash_policy if each.HasField("source_ip")]
            policy = combined(policies) if policies else None
        match = compile_metadata(message.metadata_match).get(NAMESPACE, {})
        if message.WhichOneof("cluster_specifier") == "cluster":
            return [TcpRoute(message.cluster, policy, MetadataMatch(match) if match else None)]
        clusters = message.weighted_clusters.clusters
        routes = []
        for each in clusters:
            own = {**match, **compile_metadata(each.metadata_match).get(NAMESPACE, {})}
            routes.append(TcpRoute(each.name, policy, MetadataMatch(own) if own else None, each.weight))
        return routes
