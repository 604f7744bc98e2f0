"""Compiles the network filters that have little to say: limits, the cluster by server name, fixed answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sidecar.api.context import FactoryContext
from sidecar.api.network import ServerParts
from sidecar.config.compile.chance import compile_flag
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.token_bucket import compile_token_bucket
from sidecar.core.errors import ConfigError
from sidecar.core.shared_memory import make_count
from sidecar.extensions.network.connection_filters import ConnectionLimit, LocalRateLimit, SniCluster
from sidecar.extensions.network.simple_terminals import DirectResponse, Echo

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = [
    "ConnectionLimitFactory",
    "DirectResponseFactory",
    "EchoFactory",
    "LocalRateLimitFactory",
    "SniClusterFactory",
]

_NETWORK = "envoy.extensions.filters.network"


class SniClusterFactory:
    """``SniCluster``, which has no fields."""

    name = "envoy.filters.network.sni_cluster"
    category = "envoy.filters.network"
    config_type = f"{_NETWORK}.sni_cluster.v3.SniCluster"

    def compile(self, message: Any, context: FactoryContext) -> SniCluster:
        return SniCluster()


class ConnectionLimitFactory:
    """``ConnectionLimit``: so many connections at once."""

    name = "envoy.filters.network.connection_limit"
    category = "envoy.filters.network"
    config_type = f"{_NETWORK}.connection_limit.v3.ConnectionLimit"

    def compile(self, message: Any, context: FactoryContext) -> ConnectionLimit:
        stats = context.root_stats.scope(f"connection_limit.{message.stat_prefix}")
        if not message.HasField("max_connections"):
            raise ConfigError("max_connections", "Field 'max_connections' is missing")
        enabled = compile_flag(message.runtime_enabled, context.runtime)
        count = make_count(context.shared_memory, f"{context.path} {message.stat_prefix}")
        return ConnectionLimit(
            stats, message.max_connections.value, duration_s(message.delay), enabled, count
        )


class LocalRateLimitFactory:
    """``LocalRateLimit``: so many connections in a while."""

    name = "envoy.filters.network.local_ratelimit"
    category = "envoy.filters.network"
    config_type = f"{_NETWORK}.local_ratelimit.v3.LocalRateLimit"

    def compile(self, message: Any, context: FactoryContext) -> LocalRateLimit:
        bucket = compile_token_bucket(message.token_bucket, context)
        scope = context.root_stats.scope(f"local_rate_limit.{message.stat_prefix}")
        return LocalRateLimit(bucket, scope, enabled=compile_flag(message.runtime_enabled, context.runtime))


class _Recipe:
    """A terminal filter that needs nothing of the server."""

    def __init__(self, built: Any) -> None:
        self._built = built

    def build(self, parts: ServerParts) -> Any:
        return self._built

    def server(self, built: Any) -> Callable[[Any, Transport, Strand], Coroutine[Any, Any, None]]:
        return built.serve  # type: ignore[no-any-return]  # of Echo and DirectResponse


class EchoFactory:
    """``Echo``, which has no fields."""

    name = "envoy.filters.network.echo"
    category = "envoy.filters.network"
    config_type = f"{_NETWORK}.echo.v3.Echo"

    def compile(self, message: Any, context: FactoryContext) -> _Recipe:
        return _Recipe(Echo())


class DirectResponseFactory:
    """``Config`` of direct_response: what everybody is told."""

    name = "envoy.filters.network.direct_response"
    category = "envoy.filters.network"
    config_type = f"{_NETWORK}.direct_response.v3.Config"

    def compile(self, message: Any, context: FactoryContext) -> _Recipe:
        body = b""
        if message.HasField("response"):
            body = context.read_data_source(message.response, f"{context.path}.response")
        return _Recipe(DirectResponse(body))
