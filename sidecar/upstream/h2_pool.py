"""HTTP/2 connections to one host: every connection carries many streams.

The pool gives out streams on the oldest connection with room; who waits, and connecting, is
:mod:`sidecar.upstream.connection_pool`'s.  A connection that is told GOAWAY, or has
carried ``max_requests_per_connection`` streams, takes no more and closes when its last stream ends.
Prior knowledge alone (RFC 9113 §3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_stats import H2Stats
from sidecar.net.peer_options import PeerOptions
from sidecar.net.reactor import Reactor, Transport
from sidecar.upstream.connection_pool import ConnectionPool
from sidecar.upstream.h2_connection import H2UpstreamConnection, H2UpstreamStream

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["H2Pool"]


class H2Pool(ConnectionPool):
    """All HTTP/2 connections of this process to one host."""

    __slots__ = ("_codec_class", "_connections", "fails_on_goaway", "h2_stats", "settings")

    default_options = PeerOptions(alpn=("h2",))

    def __init__(
        self,
        reactor: Reactor,
        cluster: Cluster,
        host: Host,
        *,
        priority: int = 0,
        codec_class: Any = H2Connection,
    ) -> None:
        super().__init__(reactor, cluster, host, priority=priority)
        self._codec_class = codec_class
        self.settings = cluster.config.http2_settings
        self.h2_stats = H2Stats(cluster.stats.scope.scope("http2"))
        self._connections: list[H2UpstreamConnection] = []
        #: A GOAWAY with an error fails the streams that are under way (health checks).
        self.fails_on_goaway = False

    # -- giving out ---------------------------------------------------------------------------
    def acquire(self) -> H2UpstreamStream | None:
        """A stream on a connection with room, or None: then ``wait``.

        Raises: UpstreamError, when the circuit breaker for requests is open.
        """
        for connection in self._connections:
            if connection.has_room:
                resources = self.resources
                if resources.requests >= resources.max_requests:
                    raise self.refuse()
                return connection.reserve()
        return None

    def serve_waiters(self) -> None:
        """Give streams to those who wait, oldest first."""
        pending = self._pending
        if not pending:
            return
        for connection in self._connections:
            while pending and connection.has_room and self.may_serve():
                self.serve_next(connection.reserve())
        self.connect_if_needed()

    def give_back(self, stream: H2UpstreamStream, /) -> None:
        stream.reset()

    # -- connecting ---------------------------------------------------------------------------
    def streams_per_connection(self) -> int:
        return min(self.settings.max_concurrent_streams, self.cluster.max_requests_per_connection or 2**32)

    def has_connections(self) -> bool:
        return bool(self._connections)

    def active_streams(self) -> int:
        return sum(connection.active for connection in self._connections)

    def free_places(self) -> int:
        return sum(connection.free_places() for connection in self._connections)

    def count_connection(self) -> None:
        self.cluster.stats.upstream_cx_http2_total.value += 1

    def take_in(self, transport: Transport) -> None:
        connection = H2UpstreamConnection(self, transport, self._codec_class)
        self._connections.append(connection)
        connection.wire.flush_later()
        # Even where the server has left already: requests are to see that, not to connect again.
        has_left, transport.hangup = transport.hangup, False
        self.serve_waiters()
        transport.hangup = has_left
        if self.is_draining and not connection.active:
            connection.close(local=True)
            return
        self.reactor.spawn(f"read from {self.host.address}", connection.read)

    # -- ends ---------------------------------------------------------------------------------
    def on_closed(self, connection: H2UpstreamConnection, *, local: bool, active: bool) -> None:
        """Count the end of a connection; connect again when requests wait."""
        if connection in self._connections:
            self._connections.remove(connection)
        self.count_end(connection, local=local, active=active)

    def sweep_idle(self, now: float) -> None:
        """Close connections that were idle for the cluster's ``idle_timeout``."""
        timeout = self.cluster.idle_timeout_s
        if not timeout:
            return
        for connection in list(self._connections):
            if connection.active:
                continue
            if not connection.idle_since:
                connection.idle_since = now
            elif now - connection.idle_since > timeout:
                self.cluster.stats.upstream_cx_idle_timeout.value += 1
                connection.close(local=True)

    def sweep_aged(self, now: float) -> None:
        """Let connections end that are older than the cluster's ``max_connection_duration``."""
        oldest = now - self.cluster.max_connection_duration_s
        aged = [each for each in self._connections if each.start_s < oldest and not each.is_draining]
        for connection in aged:
            self.cluster.stats.upstream_cx_max_duration_reached.value += 1
            connection.is_draining = True
            if not connection.active:
                connection.close(local=True)

    def close(self) -> None:
        """Close what is idle; what is in use closes when its last stream ends."""
        self.is_draining = True
        self.drain()

    def drain(self) -> None:
        """The host fails: let every connection end, the busy ones with their last stream."""
        for connection in list(self._connections):
            connection.is_draining = True
            if not connection.active:
                connection.close(local=True)
