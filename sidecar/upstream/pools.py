"""Which pool serves a host: one of each kind per host, made when it is first used.

Where the downstream protocol decides (``use_downstream_protocol_config``) :attr:`Host.pool` stays None,
so that every request asks here; HTTP/1.0 goes on as HTTP/1.1 (``ClusterInfoImpl::upstreamHttpProtocol``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.codec.h1_choice import h1_codec
from sidecar.codec.h2_choice import h2_codec_class
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.h2_pool import H2Pool

if TYPE_CHECKING:
    from sidecar.net.reactor import Reactor
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.cluster_manager import ClusterManager
    from sidecar.upstream.host import Host

__all__ = ["PoolTable"]


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

    def get(self, cluster: Cluster, host: Host, protocol: str) -> Any:
        """The pool of ``host`` for a request that came by ``protocol``."""
        if cluster.use_downstream_protocol:
            return self._get_by_protocol(cluster, host, http2=protocol == "HTTP/2")
        pool: Any = host.pool
        if pool is None:
            pool = host.pool = self._make(cluster, host, http2=cluster.http2)
        return pool

    def _get_by_protocol(self, cluster: Cluster, host: Host, *, http2: bool) -> Any:
        for pool in host.pools:
            if isinstance(pool, H2Pool) is http2:
                return pool
        return self._make(cluster, host, http2=http2)

    def _make(self, cluster: Cluster, host: Host, *, http2: bool) -> H1Pool | H2Pool:
        pool: H1Pool | H2Pool
        if http2:
            pool = H2Pool(self._reactor, cluster, host, codec_class=self._h2_codec_class)
        else:
            pool = H1Pool(self._reactor, cluster, host, codec=self._h1_codec)
        host.pools = (*host.pools, pool)
        cluster.on_hosts_removed = self._on_hosts_removed
        return pool

    def make(self, cluster: Cluster, host: Host) -> Any:
        """A fresh pool for health checks; who asked closes it."""
        return self._make(cluster, host, http2=cluster.http2)

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

    @staticmethod
    def _on_hosts_removed(hosts: Sequence[Host]) -> None:
        for host in hosts:
            for pool in host.pools:
                pool.close()
            host.pool = None
            host.pools = ()
            if host.tcp_pool is not None:
                host.tcp_pool.close()
                host.tcp_pool = None
