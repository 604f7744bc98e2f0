"""HTTP/1.1 connections to one host: a stack of idle ones.

A connection carries one request at a time.  Idle connections are taken last-in first-out, and the reactor
notices when one is closed, so that the next request does not have to.  Who waits, and connecting, is
:mod:`sidecar.upstream.connection_pool`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.codec.h1_choice import LLHTTP, H1Codec
from sidecar.codec.h1_chunks import ChunkedDecoder
from sidecar.codec.h1_stats import declare_h1_stats
from sidecar.net.peer_options import PeerOptions
from sidecar.net.reactor import Reactor, Transport
from sidecar.upstream.connection_pool import ConnectionPool
from sidecar.upstream.h1_connection import H1Connection

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["H1Pool"]


class H1Pool(ConnectionPool):
    """All HTTP/1.1 connections of this process to one host."""

    __slots__ = ("_all", "_idle", "codec", "http1", "max_requests", "rx_bytes", "tx_bytes")

    default_options = PeerOptions(alpn=("http/1.1",))

    def __init__(
        self, reactor: Reactor, cluster: Cluster, host: Host, *, priority: int = 0, codec: H1Codec = LLHTTP
    ) -> None:
        super().__init__(reactor, cluster, host, priority=priority)
        self.codec = codec
        self.http1 = cluster.config.http1
        declare_h1_stats(cluster.stats.scope)
        self._idle: list[H1Connection] = []
        self._all: set[H1Connection] = set()
        self.max_requests = cluster.max_requests_per_connection
        self.rx_bytes = cluster.stats.upstream_cx_rx_bytes_total
        self.tx_bytes = cluster.stats.upstream_cx_tx_bytes_total

    def make_chunked_decoder(self) -> ChunkedDecoder:
        """A decoder for one chunked response body.  Trailers that are kept are counted."""
        http1 = self.http1
        return self.codec.chunked_decoder(
            http1.max_headers_bytes, http1.max_headers_count if http1.enable_trailers else 0
        )

    # -- giving out -------------------------------------------------------------------------------
    def acquire(self) -> H1Connection | None:
        """An idle connection, or None: then ``wait``.

        Raises: UpstreamError, when the circuit breaker for requests is open.
        """
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection._transport
            if not transport.hangup:
                resources = self.resources
                if resources.requests >= resources.max_requests:
                    idle.append(connection)
                    raise self.refuse()
                resources.requests += 1
                transport.on_idle_event = None
                connection.requests += 1
                if connection.requests == self.max_requests:
                    self._end_soon(connection)
                return connection
            connection.close(local=False, active=False)
        return None

    def _end_soon(self, connection: H1Connection) -> None:
        """This is its last request."""
        self.cluster.stats.upstream_cx_max_requests.value += 1
        connection._must_close = True

    def serve(self, connection: H1Connection) -> bool:
        """Give the connection to the oldest who waits; False where nobody does."""
        if not self.may_serve():
            return False
        self.resources.requests += 1
        connection.requests += 1
        if connection.requests == self.max_requests:
            self._end_soon(connection)
        self.serve_next(connection)
        return True

    def give_back(self, connection: H1Connection, /) -> None:
        self.resources.requests -= 1
        connection.requests -= 1
        if connection._must_close:
            connection.close(local=True, active=False)
        else:
            self.put_idle(connection)

    def put_idle(self, connection: H1Connection) -> None:
        """Give the connection to the oldest waiter, or keep it for the next request."""
        transport = connection._transport
        if transport.hangup or (transport.ready and not connection.is_quiet()):
            connection.close(local=not transport.hangup, active=False)
        elif self._pending and self.serve(connection):
            if self._pending:
                self.connect_if_needed()  # as Envoy does for who still waits
        elif self.is_draining:
            connection.close(local=True, active=False)
        else:
            transport.on_idle_event = connection._on_idle_event
            connection.idle_since = self.reactor.clock() if self.cluster.idle_timeout_s < 60 else 0.0
            self._idle.append(connection)

    # -- connecting -------------------------------------------------------------------------------
    def has_connections(self) -> bool:
        return bool(self._all)

    def active_streams(self) -> int:
        return len(self._all) - len(self._idle)

    def free_places(self) -> int:
        return len(self._idle)

    def count_connection(self) -> None:
        self.cluster.stats.upstream_cx_http1_total.value += 1

    def make_connection(self, transport: Transport) -> H1Connection:
        """What serves requests on a transport that is connected."""
        return H1Connection(self, transport)

    def take_in(self, transport: Transport) -> None:
        connection = self.make_connection(transport)
        self._all.add(connection)
        # Even where the server has left already: its request is to see that, not to connect again.
        if not self.serve(connection):
            self.put_idle(connection)

    # -- ends -------------------------------------------------------------------------------------
    def drop_idle(self, connection: H1Connection) -> None:
        """Forget an idle connection that is about to be closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def on_closed(self, connection: H1Connection, *, local: bool, active: bool) -> None:
        """Count the end of a connection; open another when requests wait."""
        self._all.discard(connection)
        self.count_end(connection, local=local, active=active)

    def sweep_idle(self, now: float) -> None:
        """Close connections that were idle for the cluster's ``idle_timeout``."""
        timeout = self.cluster.idle_timeout_s
        if not timeout:
            return
        for connection in list(self._idle):
            if not connection.idle_since:
                connection.idle_since = now
            elif now - connection.idle_since > timeout:
                self._idle.remove(connection)
                self.cluster.stats.upstream_cx_idle_timeout.value += 1
                connection.close(local=True, active=False)

    def sweep_aged(self, now: float) -> None:
        """Let connections end that are older than the cluster's ``max_connection_duration``."""
        oldest = now - self.cluster.max_connection_duration_s
        for connection in [each for each in self._all if each.start_s < oldest and not each._must_close]:
            self.cluster.stats.upstream_cx_max_duration_reached.value += 1
            connection._must_close = True
            if connection in self._idle:
                self._idle.remove(connection)
                connection.close(local=True, active=False)

    def drain(self) -> None:
        """The host fails: let every connection end, the busy ones with their exchange."""
        for connection in self._all:
            connection._must_close = True
        self._close_idle()

    def close(self) -> None:
        """Close what is idle; what is in use closes when its exchange ends."""
        self.is_draining = True
        self._close_idle()

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close(local=True, active=False)
