"""The filter of UDP listeners that keeps sessions between clients and hosts (Envoy's ``UdpProxyFilter``).

A session is a client's address and the address it sent to; its datagrams go to one host, through a socket of
its own.  With ``use_per_packet_load_balancing`` a host is chosen for every datagram, and there is a session
for each host that was.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.plain_connection import PlainConnection, make_stream
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.extensions.network.tcp_proxy import TcpRoute
from sidecar.extensions.udp.due import Due
from sidecar.extensions.udp.udp_session import UdpSession, session_metadata
from sidecar.extensions.udp.udp_stats import UdpClusterStats, UdpStats
from sidecar.net.datagrams import DatagramSettings
from sidecar.upstream.host import Health, Host

if TYPE_CHECKING:
    from sidecar.api.udp import UdpPort
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.upstream.cluster import Cluster

__all__ = ["UdpCluster", "UdpProxy", "UdpProxyConfig", "UdpProxyFilter"]

logger = logging.getLogger("sidecar.udp")

_next_session = itertools.count().__next__
#: More entries of the past than this are let go of.
_MANY_OVER = 1024
_UPSTREAM_SOCKET = DatagramSettings(prefer_gro=True)


@dataclass(frozen=True, slots=True)
class UdpProxyConfig:
    """One compiled ``envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig``."""

    stat_prefix: str
    #: From a :class:`PlainConnection` to the name of its cluster; None for none.
    find_route: Callable[[PlainConnection], str | None]
    #: Every cluster that may be found.
    cluster_names: Sequence[str]
    hash_policy: Any = None
    idle_timeout_s: float = 60.0
    upstream_socket: DatagramSettings = _UPSTREAM_SOCKET
    use_original_src_ip: bool = False
    use_per_packet_load_balancing: bool = False
    #: ``access_log``, and ``access_log_options.access_log_flush_interval`` (0 for never).
    session_logs: Sequence[Any] = ()
    log_interval_s: float = 0.0
    proxy_logs: Sequence[Any] = ()


class UdpProxy:
    """The filter for all sockets of its listener."""

    def __init__(
        self, config: UdpProxyConfig, stats: UdpStats, reactor: Reactor, find_cluster: Callable[[str], Any]
    ) -> None:
        self.config = config
        self.stats = stats
        self.reactor = reactor
        self.find_cluster = find_cluster
        self.access_logs = (*config.session_logs, *config.proxy_logs)

    def open(self, port: UdpPort, strand: Strand) -> UdpProxyFilter:
        """Serve a socket."""
        kind = PerPacketFilter if self.config.use_per_packet_load_balancing else UdpProxyFilter
        return kind(self, port, strand)


class UdpCluster:
    """A cluster as one filter uses it."""

    __slots__ = ("cluster", "route", "rx_bytes", "rx_datagrams", "stats", "tx_bytes", "tx_datagrams")

    def __init__(self, cluster: Cluster, hash_policy: Any) -> None:
        self.cluster = cluster
        self.route = TcpRoute(cluster.name, hash_policy)
        self.stats = UdpClusterStats(cluster.stats.scope)
        self.rx_datagrams = self.stats.sess_rx_datagrams
        self.tx_datagrams = self.stats.sess_tx_datagrams
        self.rx_bytes = cluster.stats.upstream_cx_rx_bytes_total
        self.tx_bytes = cluster.stats.upstream_cx_tx_bytes_total


class UdpProxyFilter:
    """The sessions of one socket."""

    def __init__(self, proxy: UdpProxy, port: UdpPort, strand: Strand) -> None:
        self.proxy = proxy
        self.port = port
        self.reactor = proxy.reactor
        self.sessions: dict[Any, UdpSession] = {}
        self._due = Due(strand)
        self._clusters: dict[str, UdpCluster] = {}
        for name in proxy.config.cluster_names:
            self._use(name)
        self._start = PlainConnection(0, "", "", port.listener_name, port.traffic_direction)
        self._clock = self.reactor.clock
        stats = proxy.stats
        self._rx_bytes = stats.downstream_sess_rx_bytes
        self._rx_datagrams = stats.downstream_sess_rx_datagrams

    # -- datagrams ---------------------------------------------------------------------------------------
    def on_datagrams(self, run: list[bytes], peer: Any, local: bytes | None) -> None:
        """Datagrams came from a client."""
        key = peer if local is None else (peer, local)
        session = self.sessions.get(key)
        if session is None:
            if len(run) > 1:
                # The first connects the socket, or finds nobody, as the others will.
                for data in run:
                    self.on_datagrams([data], peer, local)
                return
            session = self._begin(key, peer, local)
            if session is None:
                return
        elif session.host.health is Health.UNHEALTHY:
            session = self._replace(session, peer)
        self._carry(session, run)

    def _carry(self, session: UdpSession, run: list[bytes]) -> None:
        session.last = self._clock()
        if len(run) > 1 and session.send_run(run):
            count, length = len(run), sum(map(len, run))
            self._rx_bytes.value += length
            self._rx_datagrams.value += count
            session.rx_bytes += length
            session.rx_datagrams += count
            session.cluster.tx_datagrams.value += count
            session.cluster.tx_bytes.value += length
            return
        for data in run:
            length = len(data)
            self._rx_bytes.value += length
            self._rx_datagrams.value += 1
            session.rx_bytes += length
            session.rx_datagrams += 1
            cluster = session.cluster
            try:
                session.send(data)
            except OSError:
                cluster.stats.sess_tx_errors.value += 1
            else:
                cluster.tx_datagrams.value += 1
                cluster.tx_bytes.value += length

    def on_receive_error(self) -> None:
        """The listener's socket could not be read."""
        self.proxy.stats.downstream_sess_rx_errors.value += 1

    # -- sessions ----------------------------------------------------------------------------------------
    def _begin(self, key: Any, peer: Any, local: bytes | None) -> UdpSession | None:
        """A session for a client that has none; None where it cannot have one."""
        connection = self._connection(peer, local)
        cluster = self._route(connection)
        if cluster is None:
            return None
        host = self._choose(cluster, connection)
        if host is None:
            cluster.cluster.stats.upstream_cx_none_healthy.value += 1
            return None
        return self._open(key, peer, local, cluster, host, connection)

    def _connection(self, peer: Any, local: bytes | None) -> PlainConnection:
        port = self.port
        return PlainConnection(
            0, port.peer_text(peer), port.local_text(local), port.listener_name, port.traffic_direction
        )

    def _route(self, connection: PlainConnection) -> UdpCluster | None:
        name = self.proxy.config.find_route(connection)
        cluster = None if name is None else self._use(name)
        if cluster is None:
            self.proxy.stats.downstream_sess_no_route.value += 1
        return cluster

    def _use(self, name: str) -> UdpCluster | None:
        """The cluster of this name as it is now; clusters come, go, and are replaced."""
        cluster = self.proxy.find_cluster(name)
        used = self._clusters.get(name)
        if used is not None:
            if used.cluster is cluster:
                return used
            used.cluster.removal_watchers.remove(self._on_hosts_removed)
            del self._clusters[name]
        if cluster is None:
            return None
        used = self._clusters[name] = UdpCluster(cluster, self.proxy.config.hash_policy)
        cluster.removal_watchers.append(self._on_hosts_removed)
        return used

    def _choose(self, cluster: UdpCluster, connection: PlainConnection) -> Host | None:
        picker = cluster.cluster.picker
        host = None if picker is None else picker.pick()
        if host is not None:
            return host
        stream = make_stream(connection)
        stream.route = cluster.route
        stream.remote_address = connection.remote_address
        return cluster.cluster.find_host(stream)

    def _open(
        self,
        key: Any,
        peer: Any,
        local: bytes | None,
        cluster: UdpCluster,
        host: Host,
        connection: PlainConnection,
    ) -> UdpSession | None:
        """A new session; None where the circuit breaker or the system has no room for it."""
        config, stats = self.proxy.config, self.proxy.stats
        resources = cluster.cluster.resources[0]
        if resources.connections >= resources.max_connections:
            self._refuse(cluster, connection)
            return None
        try:
            session = UdpSession(self, cluster, host, key, peer, local, _next_session())
        except OSError as error:
            logger.warning("no session for %s: %s", connection.remote_address, error)
            cluster.stats.sess_tx_errors.value += 1
            return None
        resources.add_session()
        stats.downstream_sess_total.value += 1
        stats.downstream_sess_active.inc()
        self.sessions[key] = session
        now = session.last = self._clock()
        self._due.add(now + config.idle_timeout_s, session.look_if_idle)
        if config.session_logs:
            connection.connection_id = session.number
            session.stream = make_stream(connection)
            if config.log_interval_s:
                self._due.add(now + config.log_interval_s, session.log_period)
        return session

    def _refuse(self, cluster: UdpCluster, connection: PlainConnection) -> None:
        """There are as many as ``max_connections``: a session that ends at once, as in Envoy."""
        self.proxy.stats.downstream_sess_total.value += 1
        cluster.cluster.stats.upstream_cx_overflow.value += 1
        connection.connection_id = _next_session()
        if not self.proxy.config.session_logs:
            return
        stream = make_stream(connection)
        stream.flags |= Flag.UPSTREAM_OVERFLOW
        stream.dynamic_metadata = session_metadata(cluster.cluster.name, None)
        stream.access_log_type = "UdpSessionEnd"
        for each in self.proxy.config.session_logs:
            each.log(stream)

    def _replace(self, session: UdpSession, peer: Any) -> UdpSession:
        """A session with a host that is well; the one that is where there is no such host."""
        cluster = session.cluster
        connection = self._connection(peer, session.local)
        host = self._choose(cluster, connection)
        if host is None or host is session.host or host.health is Health.UNHEALTHY:
            return session
        self.end_session(session)
        made = self._open(session.key, peer, session.local, cluster, host, connection)
        return session if made is None else made

    def end_session(self, session: UdpSession) -> None:
        """Forget a session, and log it."""
        if session.is_closed:
            return
        self.sessions.pop(session.key, None)
        self.proxy.stats.downstream_sess_active.dec()
        session.cluster.cluster.resources[0].remove_session()
        session.close()
        if len(self._due) > _MANY_OVER + 4 * len(self.sessions):
            self._due.forget(_is_over)

    def _on_hosts_removed(self, hosts: Sequence[Host]) -> None:
        gone = set(hosts)
        for session in list(self.sessions.values()):
            if session.host in gone:
                self.end_session(session)

    # -- the end -----------------------------------------------------------------------------------------
    def close(self) -> None:
        """End the sessions; the proxy's line comes last."""
        for used in self._clusters.values():
            used.cluster.removal_watchers.remove(self._on_hosts_removed)
        self._due.stop()
        for session in list(self.sessions.values()):
            self.end_session(session)
        if self.proxy.config.proxy_logs:
            self._log()

    def _log(self) -> None:
        stats = self.proxy.stats
        stream = make_stream(self._start)
        stream.access_log_type = "NotSet"
        stream.request_id = None
        stream.bytes_received = stats.downstream_sess_rx_bytes.value
        stream.bytes_sent = stats.downstream_sess_tx_bytes.value
        stream.dynamic_metadata = {
            "udp.proxy.proxy": {
                "bytes_sent": stats.downstream_sess_tx_bytes.value,
                "bytes_received": stats.downstream_sess_rx_bytes.value,
                "errors_sent": stats.downstream_sess_tx_errors.value,
                "errors_received": stats.downstream_sess_rx_errors.value,
                "datagrams_sent": stats.downstream_sess_tx_datagrams.value,
                "datagrams_received": stats.downstream_sess_rx_datagrams.value,
                "no_route": stats.downstream_sess_no_route.value,
                "session_total": stats.downstream_sess_total.value,
                "idle_timeout": stats.idle_timeout.value,
            }
        }
        for each in self.proxy.config.proxy_logs:
            each.log(stream)


class PerPacketFilter(UdpProxyFilter):
    """``use_per_packet_load_balancing``: a host for every datagram, a session for each that was chosen."""

    def on_datagrams(self, run: list[bytes], peer: Any, local: bytes | None) -> None:
        """Datagrams came from a client."""
        for data in run:
            self._on_datagram(data, peer, local)

    def _on_datagram(self, data: bytes, peer: Any, local: bytes | None) -> None:
        connection = self._connection(peer, local)
        cluster = self._route(connection)
        if cluster is None:
            return
        host = self._choose(cluster, connection)
        if host is None:
            cluster.cluster.stats.upstream_cx_none_healthy.value += 1
            return
        key = (peer, local, host)
        session = self.sessions.get(key)
        if session is None:
            session = self._open(key, peer, local, cluster, host, connection)
            if session is None:
                return
        self._carry(session, [data])


def _is_over(look: Callable[[float], float]) -> bool:
    session = getattr(look, "__self__", None)
    return isinstance(session, UdpSession) and session.is_closed
