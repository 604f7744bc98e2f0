"""HTTP/2 connections to one host: every connection carries many streams.

The pool gives out streams on the oldest connection with room, opens a connection when there is none, and
queues requests meanwhile, as Envoy's ``ConnPoolImplBase`` does.  A connection that is told GOAWAY, or has
carried ``max_requests_per_connection`` streams, takes no more and closes when its last stream ends.
Prior knowledge alone (RFC 9113 §3.3).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_stats import H2Stats
from sidecar.core.errors import UpstreamError
from sidecar.net.reactor import Reactor, Signal, Strand
from sidecar.upstream.h1_pool import open_transport
from sidecar.upstream.h2_connection import H2UpstreamConnection, H2UpstreamStream
from sidecar.upstream.pool import connect_failure

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["H2Pool"]


class _Waiter:
    """A request in the queue."""

    __slots__ = ("error", "signal", "stream")

    def __init__(self, reactor: Reactor) -> None:
        self.signal = Signal(reactor)
        self.stream: H2UpstreamStream | None = None
        self.error: UpstreamError | None = None


class H2Pool:
    """All HTTP/2 connections of this process to one host."""

    __slots__ = (
        "_codec_class",
        "_connecting",
        "_connections",
        "_pending",
        "cluster",
        "h2_stats",
        "host",
        "is_draining",
        "reactor",
        "settings",
    )

    def __init__(
        self, reactor: Reactor, cluster: Cluster, host: Host, *, codec_class: Any = H2Connection
    ) -> None:
        self.reactor = reactor
        self.cluster = cluster
        self.host = host
        self._codec_class = codec_class
        self.settings = cluster.config.http2_settings
        self.h2_stats = H2Stats(cluster.stats.scope.scope("http2"))
        self._connections: list[H2UpstreamConnection] = []
        self._pending: deque[_Waiter] = deque()
        self._connecting = 0
        self.is_draining = False

    # -- giving out ---------------------------------------------------------------------------
    def acquire(self) -> H2UpstreamStream | None:
        """A stream on a connection with room, or None: then ``wait``.

        Raises: UpstreamError, when the circuit breaker for requests is open.
        """
        for connection in self._connections:
            if connection.has_room:
                self._check_requests()
                return connection.reserve()
        return None

    def _check_requests(self) -> None:
        stats = self.cluster.stats
        if stats.upstream_rq_active.value >= self.cluster.config.default_limits.max_requests:
            stats.upstream_rq_pending_overflow.value += 1
            raise UpstreamError("overflow", flag=Flag.UPSTREAM_OVERFLOW, details="overflow")

    async def wait(self) -> H2UpstreamStream:
        """Queue for a stream, connecting if nobody is.

        Raises: UpstreamError.  If cancelled: the place in the queue is given up.
        """
        stats = self.cluster.stats
        if stats.upstream_rq_pending_active.value >= self.cluster.config.default_limits.max_pending_requests:
            stats.upstream_rq_pending_overflow.value += 1
            raise UpstreamError("overflow", flag=Flag.UPSTREAM_OVERFLOW, details="overflow")
        stats.upstream_rq_pending_total.value += 1
        stats.upstream_rq_pending_active.inc()
        self.host.rq_pending_active += 1
        waiter = _Waiter(self.reactor)
        self._pending.append(waiter)
        try:
            self._connect_if_needed()
            while waiter.stream is None and waiter.error is None:
                await waiter.signal.wait()
        except BaseException:
            if waiter.stream is not None:
                waiter.stream.reset()
            elif waiter in self._pending:
                self._pending.remove(waiter)
            stats.upstream_rq_cancelled.value += 1
            raise
        finally:
            stats.upstream_rq_pending_active.dec()
            self.host.rq_pending_active -= 1
        if waiter.stream is None:
            assert waiter.error is not None
            raise waiter.error
        return waiter.stream

    def serve_waiters(self) -> None:
        """Give streams to those who wait, oldest first."""
        pending = self._pending
        if not pending:
            return
        for connection in self._connections:
            while pending and connection.has_room:
                waiter = pending.popleft()
                waiter.stream = connection.reserve()
                waiter.signal.fire()
        self._connect_if_needed()

    # -- connecting ---------------------------------------------------------------------------
    def _connect_if_needed(self) -> None:
        if self.is_draining or len(self._pending) <= self._connecting * self.settings.max_concurrent_streams:
            return
        stats = self.cluster.stats
        if stats.upstream_cx_active.value >= self.cluster.config.default_limits.max_connections:
            stats.upstream_cx_overflow.value += 1
            if self._connections:
                return
        self._connecting += 1
        stats.upstream_cx_total.value += 1
        stats.upstream_cx_http2_total.value += 1
        stats.upstream_cx_active.inc()
        self.host.cx_total += 1
        self.host.cx_active += 1
        self.reactor.spawn(f"connect to {self.host.address}", self._connect)

    async def _connect(self, strand: Strand) -> None:
        stats = self.cluster.stats
        started = self.reactor.clock()
        try:
            transport = await open_transport(self.reactor, self.host, strand, self.cluster.connect_timeout_s)
        except UpstreamError as error:
            is_timeout = error.details == "connection timeout"
            self._connecting -= 1
            stats.upstream_cx_connect_fail.value += 1
            if is_timeout:
                stats.upstream_cx_connect_timeout.value += 1
            self.host.cx_connect_fail += 1
            self._count_closed(local=is_timeout, active=False, started=started)
            self._fail_pending(error)
            return
        except BaseException as broken:
            self._connecting -= 1
            self._count_closed(local=True, active=False, started=started)
            self._fail_pending(connect_failure(str(broken), remote=False))
            raise
        self._connecting -= 1
        stats.upstream_cx_connect_ms.record(int((self.reactor.clock() - started) * 1000))
        connection = H2UpstreamConnection(self, transport, self._codec_class)
        self._connections.append(connection)
        connection.wire.flush_later()
        # Even where the server has left already: requests are to see that, not to connect again.
        has_left, transport.hangup = transport.hangup, False
        self.serve_waiters()
        transport.hangup = has_left
        self.reactor.spawn(f"read from {self.host.address}", connection.read)

    def _fail_pending(self, error: UpstreamError) -> None:
        """Nobody connects for those who wait: tell them."""
        waiters, self._pending = self._pending, deque()
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiters)
        for waiter in waiters:
            waiter.error = error
            waiter.signal.fire()

    # -- ends ---------------------------------------------------------------------------------
    def on_closed(self, connection: H2UpstreamConnection, *, local: bool, active: bool) -> None:
        """Count the end of a connection; connect again when requests wait."""
        if connection in self._connections:
            self._connections.remove(connection)
        self.cluster.stats.upstream_rq_per_cx.record(connection.requests)
        self._count_closed(local=local, active=active, started=connection.start_s)
        if self._pending:
            self._connect_if_needed()

    def _count_closed(self, *, local: bool, active: bool, started: float) -> None:
        stats = self.cluster.stats
        stats.upstream_cx_active.dec()
        self.host.cx_active -= 1
        stats.upstream_cx_destroy.value += 1
        stats.upstream_cx_length_ms.record(int((self.reactor.clock() - started) * 1000))
        (stats.upstream_cx_destroy_local if local else stats.upstream_cx_destroy_remote).value += 1
        if active:
            stats.upstream_cx_destroy_with_active_rq.value += 1
            (
                stats.upstream_cx_destroy_local_with_active_rq
                if local
                else stats.upstream_cx_destroy_remote_with_active_rq
            ).value += 1

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
