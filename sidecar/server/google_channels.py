"""The channels of ``google_grpc``: clusters of no configuration, and the client of their calls.

Their names, statistics and hosts are nobody else's.  Services that say the same share a channel, which is
closed some time after the last of them is gone (Envoy's ``RawAsyncClientCache``).
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from sidecar.config.compile.cluster import compile_cluster
from sidecar.config.compile.google_grpc import channel_cluster
from sidecar.observability.stats import Store
from sidecar.router.grpc_service import Channel, ChannelStats
from sidecar.router.http_client import HttpClient
from sidecar.upstream.cluster_manager import ClusterManager

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.upstream.cluster import Cluster

__all__ = ["GoogleChannels"]

#: How often it is looked for channels that nobody uses; Envoy keeps one for so long.
_LOOK_S = 50.0


class GoogleChannels:
    """Those of one server."""

    def __init__(
        self,
        reactor: Any,
        get_pool: Callable[..., Any],
        stats: Store,
        spawn: Callable[[str, Callable[[], Awaitable[None]]], None],
        compile_options: Callable[[], dict[str, Any]],
        end: Callable[[Cluster], None],
    ) -> None:
        """``spawn`` starts a lasting task; ``compile_options`` are what clusters are compiled with; ``end``
        ends the connections of one.
        """
        self._reactor = reactor
        self._get_pool = get_pool
        self._stats = stats
        self._spawn = spawn
        self._compile_options = compile_options
        self._end = end
        #: Whether something ended that may have used a channel, and is still to be freed.
        self._has_ended = False
        self._made = 0
        self._store = Store()
        self._clusters: ClusterManager | None = None
        self._client: HttpClient | None = None
        self._channels: dict[bytes, weakref.ref[Channel]] = {}
        #: The names of those that have not been closed.
        self._open: dict[str, weakref.ref[Channel]] = {}

    def open(self, message: Any, context: FactoryContext) -> Channel:
        """The channel of a ``GoogleGrpc`` at the context's path.  Raises: ConfigError."""
        key = message.SerializeToString(deterministic=True)
        known = self._channels.get(key)
        found = None if known is None else known()
        if found is None:
            found = self._make(message, context)
            self._channels[key] = self._open[found.cluster] = weakref.ref(found)
        return found

    def something_ended(self) -> None:
        """A listener has, for example, with all that it used."""
        self._has_ended = True

    async def _look(self) -> None:
        while True:
            await trio.sleep(_LOOK_S)
            if self._open and self._has_ended:
                # A connection manager refers to itself; nobody looks for such as it while it serves.
                self._has_ended = False
                gc.collect()
            self.close_unused()

    def close_unused(self) -> None:
        """Close the channels that nobody has any more."""
        assert self._clusters is not None
        for name in [name for name, channel in self._open.items() if channel() is None]:
            del self._open[name]
            self._clusters.remove(name)
        self._channels = {key: each for key, each in self._channels.items() if each() is not None}

    def _make(self, message: Any, context: FactoryContext) -> Channel:
        name = f"google_grpc.{message.stat_prefix}.{self._made}"
        self._made += 1
        cluster, authority, is_secure = channel_cluster(message, name, context.path)
        inner = replace(context, stats=self._store, root_stats=self._store, on_close=_forever)
        made = compile_cluster(cluster, inner, **self._compile_options())
        if self._clusters is None:
            self._clusters = ClusterManager(self._store)
            self._clusters.on_retired = self._end
            self._client = HttpClient(
                self._reactor,
                self._clusters.clusters.get,
                self._get_pool,
                self._store,
                tells_timeout=False,
            )
            self._spawn("channels of google_grpc", self._clusters.run)
            self._spawn("unused channels of google_grpc", self._look)
        self._clusters.add(made)
        scope = self._stats.scope(f"grpc.{message.stat_prefix}")
        scope.counter("google_grpc_client_creation").value += 1
        return Channel(self._client, name, authority, is_secure, ChannelStats(scope))


def _forever(closer: Callable[[], None]) -> None:
    """What a channel is compiled with holds nothing that is to be closed."""
