"""Which pool serves a request to a host: made when it is first used, kept at the host.

There is one for each protocol, each routing priority, and, where the cluster says so, for each connection of
a client, or for each name that requests want in the TLS handshake (``auto_sni``); with ``original_src``, for
each address of a client.  What most requests use
stands at :attr:`Host.pool`, so that they need not ask here; where a request decides that stays None.
HTTP/1.0 goes on as HTTP/1.1 (``ClusterInfoImpl::upstreamHttpProtocol`` and
``ClusterManagerImpl::httpConnPool``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.codec.h1_choice import h1_codec
from sidecar.codec.h2_choice import h2_codec_class
from sidecar.net.peer_options import PeerOptions
from sidecar.upstream.auto_pool import AutoPool
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.h2_pool import H2Pool
from sidecar.upstream.preconnect import EagerAutoPool, EagerH1Pool, EagerH2Pool, EagerTcpPool
from sidecar.upstream.source import UpstreamSource
from sidecar.upstream.tcp_pool import TcpPool

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Reactor
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import ClusterManager
    from sidecar.upstream.connection_pool import ConnectionPool
    from sidecar.upstream.host import Host

__all__ = ["PoolTable"]

_H1, _H2, _TCP = "h1", "h2", "tcp"
_AUTO = "auto"
_DEFAULTS = {_H1: H1Pool.default_options, _H2: H2Pool.default_options, _AUTO: AutoPool.default_options}
_USUAL: dict[str, Any] = {_H1: H1Pool, _H2: H2Pool, _TCP: TcpPool}
_EAGER: dict[str, Any] = {_H1: EagerH1Pool, _H2: EagerH2Pool, _TCP: EagerTcpPool}
#: Protocol, routing priority, the client's connection (0 for all), what the handshake asks for, from where.
_Key = tuple[str, int, int, PeerOptions | None, UpstreamSource | None]


class PoolTable:
    """Makes pools, and ends those of hosts that left."""

    def __init__(
        self,
        reactor: Reactor,
        clusters: ClusterManager,
        *,
        http1_codec: str = "llhttp",
        http2_codec: str = "native",
    ) -> None:
        self._reactor = reactor
        self._clusters = clusters
        self._h1_codec = h1_codec(http1_codec)
        self._h2_codec_class = h2_codec_class(http2_codec)
        self._has_sources = False

    def ask_for_sources(self) -> None:
        """From now on clients' connections may say from where to connect to hosts: every request asks."""
        self._has_sources = True
        for cluster in self._clusters.clusters.values():
            for host in cluster.hosts:
                if host.pool is not None:
                    host.pools_by_key[host.pool.key] = host.pool
                    host.pool = None

    def get(
        self, cluster: Cluster, host: Host, stream: Stream, priority: int = 0, *, raw: bool = False
    ) -> Any:
        """The pool of ``host`` for a request; ``raw`` where its bytes are carried as they are.

        ``priority`` is a ``RoutingPriority``.
        """
        source = stream.connection.upstream_source if self._has_sources else None
        sockets = cluster.config.transport_sockets
        if sockets is not None and not sockets.has_layers:
            sockets = None
        ends = None if sockets is None else sockets.client_ends(host, stream.connection)
        if raw:
            options = None if ends is None else PeerOptions(client=ends)
            return self._find(cluster, host, (_TCP, priority, 0, options, source))
        http2 = cluster.http2
        if cluster.use_downstream_protocol:
            http2 = stream.protocol == "HTTP/2"
        client = stream.connection.connection_id if cluster.has_pools_of_clients else 0
        kind = _AUTO if cluster.config.is_auto else _H2 if http2 else _H1
        names = cluster.config.request_names
        options = None if names is None else names.options(stream.request.headers, _DEFAULTS[kind])
        if ends is not None:
            options = replace(options or _DEFAULTS[kind], client=ends)
        key = (kind, priority, client, options, source)
        is_usual = not (priority or client or options is not None or self._has_sources or sockets is not None)
        if cluster.use_downstream_protocol or not is_usual:
            return self._find(cluster, host, key)
        pool: Any = host.pool
        if pool is None:
            pool = host.pool = self._make(cluster, host, key)
        return pool

    def _find(self, cluster: Cluster, host: Host, key: _Key) -> Any:
        # There may be one for every client: they are not searched.
        pool = host.pools_by_key.get(key)
        if pool is not None:
            return pool
        pool = host.pools_by_key[key] = self._make(cluster, host, key)
        if key[2] or key[3] is not None or key[4] is not None:
            # Clients choose what it is for: it goes when it has nothing any more.
            pool.on_empty = _forget
        return pool

    def _make(self, cluster: Cluster, host: Host, key: _Key) -> ConnectionPool:
        kind, priority, _, options, source = key
        pool: ConnectionPool
        if kind == _AUTO:
            make = EagerAutoPool if cluster.config.preconnect_ratio > 1.0 else AutoPool
            pool = make(
                H1Pool(self._reactor, cluster, host, priority=priority, codec=self._h1_codec),
                H2Pool(self._reactor, cluster, host, priority=priority, codec_class=self._h2_codec_class),
                priority=priority,
            )
        else:
            pool = self._make_one(cluster, host, kind, priority)
        pool.key = key
        pool.source = source
        if options is not None:
            pool.options = options
        host.pools = (*host.pools, pool)
        cluster.on_hosts_removed = self._on_hosts_removed
        return pool

    def _make_one(self, cluster: Cluster, host: Host, kind: str, priority: int) -> Any:
        make = (_EAGER if cluster.config.preconnect_ratio > 1.0 else _USUAL)[kind]
        codec = {"codec_class": self._h2_codec_class} if kind == _H2 else {"codec": self._h1_codec}
        return make(self._reactor, cluster, host, priority=priority, **codec)

    def make(self, cluster: Cluster, host: Host) -> Any:
        """A fresh pool for health checks; who asked closes it."""
        pool = self._make(cluster, host, (_H2 if cluster.http2 else _H1, 0, 0, None, None))
        if isinstance(pool, H2Pool):
            pool.fails_on_goaway = True
        return pool

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; called about once a second."""
        for cluster in self._clusters.clusters.values():
            for host in cluster.hosts:
                for pool in host.pools:
                    pool.sweep_idle(now)

    def sweep_aged(self, now: float) -> None:
        """Close connections that are too old; called every tenth of a second, as few clusters ask for it."""
        for cluster in self._clusters.clusters.values():
            if cluster.max_connection_duration_s:
                for host in cluster.hosts:
                    for pool in host.pools:
                        pool.sweep_aged(now)

    def close(self) -> None:
        """End every pool."""
        for cluster in self._clusters.clusters.values():
            self._on_hosts_removed(cluster.hosts)

    def end(self, hosts: Sequence[Host]) -> None:
        """End the pools of hosts that are used no more."""
        self._on_hosts_removed(hosts)

    @staticmethod
    def _on_hosts_removed(hosts: Sequence[Host]) -> None:
        for host in hosts:
            for pool in host.pools:
                pool.close()
            host.pool = None
            host.pools = ()
            host.pools_by_key.clear()


def _forget(pool: ConnectionPool) -> None:
    """The pool of a client's connection has nothing any more: it is made again if that is needed."""
    host = pool.host
    host.pools = tuple(each for each in host.pools if each is not pool)
    if host.pools_by_key.get(pool.key) is pool:
        del host.pools_by_key[pool.key]
