"""The channels of ``google_grpc``: clusters of no configuration, and the client of their calls.

Their names, statistics and hosts are nobody else's.  Services that say the same share a channel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.config.compile.cluster import compile_cluster
from sidecar.config.compile.google_grpc import channel_cluster
from sidecar.observability.stats import Store
from sidecar.router.grpc_service import Channel, ChannelStats
from sidecar.router.http_client import HttpClient
from sidecar.upstream.cluster_manager import ClusterManager

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["GoogleChannels"]


class GoogleChannels:
    """Those of one server."""

    def __init__(
        self,
        reactor: Any,
        get_pool: Callable[..., Any],
        stats: Store,
        spawn: Callable[[str, Callable[[], Awaitable[None]]], None],
        compile_options: Callable[[], dict[str, Any]],
    ) -> None:
        """``spawn`` starts a lasting task; ``compile_options`` are what clusters are compiled with."""
        self._reactor = reactor
        self._get_pool = get_pool
        self._stats = stats
        self._spawn = spawn
        self._compile_options = compile_options
        self._store = Store()
        self._clusters: ClusterManager | None = None
        self._client: HttpClient | None = None
        self._channels: dict[bytes, Channel] = {}

    def open(self, message: Any, context: FactoryContext) -> Channel:
        """The channel of a ``GoogleGrpc`` at the context's path.  Raises: ConfigError."""
        key = message.SerializeToString(deterministic=True)
        found = self._channels.get(key)
        if found is None:
            found = self._channels[key] = self._make(message, context)
        return found

    def _make(self, message: Any, context: FactoryContext) -> Channel:
        name = f"google_grpc.{message.stat_prefix}.{len(self._channels)}"
        cluster, authority, is_secure = channel_cluster(message, name, context.path)
        inner = replace(context, stats=self._store, root_stats=self._store, on_close=_forever)
        made = compile_cluster(cluster, inner, **self._compile_options())
        if self._clusters is None:
            self._clusters = ClusterManager(self._store)
            self._client = HttpClient(
                self._reactor,
                self._clusters.clusters.get,
                self._get_pool,
                self._store,
                tells_timeout=False,
            )
            self._spawn("channels of google_grpc", self._clusters.run)
        self._clusters.add(made)
        scope = self._stats.scope(f"grpc.{message.stat_prefix}")
        scope.counter("google_grpc_client_creation").value += 1
        return Channel(self._client, name, authority, is_secure, ChannelStats(scope))


def _forever(closer: Callable[[], None]) -> None:
    """Channels stay as long as the server."""
