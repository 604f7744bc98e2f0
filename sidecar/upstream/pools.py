"""Which pool serves a host: one of each kind per host, made when it is first used."""

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

    def get(self, cluster: Cluster, host: Host) -> Any:
        """The pool of ``host``."""
        pool: Any = host.pool
        if pool is None:
            if cluster.http2:
                pool = H2Pool(self._reactor, cluster, host, codec_class=self._h2_codec_class)
            else:
                pool = H1Pool(self._reactor, cluster, host, codec=self._h1_codec)
            host.pool = pool
            cluster.on_hosts_removed = self._on_hosts_removed
        return pool

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; called about once a second."""
        for cluster in self._clusters.clusters.values():
            for host in cluster.hosts:
                if host.pool is not None:
                    host.pool.sweep_idle(now)

    def sweep_aged(self, now: float) -> None:
        """Close connections that are too old; called every tenth of a second, as few clusters ask for it."""
        for cluster in self._clusters.clusters.values():
            if cluster.max_connection_duration_s:
                for host in cluster.hosts:
                    if host.pool is not None:
                        host.pool.sweep_aged(now)

    def close(self) -> None:
        """End every pool."""
        for cluster in self._clusters.clusters.values():
            self._on_hosts_removed(cluster.hosts)

    @staticmethod
    def _on_hosts_removed(hosts: Sequence[Host]) -> None:
        for host in hosts:
            if host.pool is not None:
                host.pool.close()
                host.pool = None
            if host.tcp_pool is not None:
                host.tcp_pool.close()
                host.tcp_pool = None
