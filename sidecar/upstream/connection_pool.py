"""What the pools of every protocol share: the queue of those who wait, connecting for them, and counting.

A pool has the connections of this process to one host.  Requests that find none wait in a queue, the oldest
is served first, and all of them are told when connecting fails (Envoy's ``ConnPoolImplBase``).  What a
connection is, and when it takes another request, is said by :mod:`sidecar.upstream.h1_pool`,
:mod:`sidecar.upstream.h2_pool` and :mod:`sidecar.upstream.tcp_pool`.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.core.errors import UpstreamError
from sidecar.net.reactor import Reactor, Signal, Strand, Transport
from sidecar.upstream.pool import connect_failure

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["ConnectionPool", "next_connection_id"]

next_connection_id = itertools.count(1).__next__


class _Waiter:
    """A request in the queue; what it waits for is ``stream``."""

    __slots__ = ("error", "signal", "stream")

    def __init__(self, reactor: Reactor) -> None:
        self.signal = Signal(reactor)
        self.stream: Any = None
        self.error: UpstreamError | None = None


class ConnectionPool:
    """See the module."""

    __slots__ = ("_connecting", "_pending", "cluster", "host", "is_draining", "reactor")

    def __init__(self, reactor: Reactor, cluster: Cluster, host: Host) -> None:
        self.reactor = reactor
        self.cluster = cluster
        self.host = host
        self._pending: deque[_Waiter] = deque()
        self._connecting = 0
        #: The host has left: connections end with what is on them.
        self.is_draining = False

    # -- what a protocol says ---------------------------------------------------------------------
    def streams_per_connection(self) -> int:
        """How many requests a connection that is being made will take."""
        return 1

    def has_connections(self) -> bool:
        """Whether there is any connection that has been made."""
        raise NotImplementedError

    def count_connection(self) -> None:
        """Count a connection in the counter of its protocol."""

    def take_in(self, transport: Transport) -> None:
        """Go on with a transport that has been connected: for those who wait, if there are any."""
        raise NotImplementedError

    def give_back(self, stream: Any, /) -> None:
        """Take back what nobody began to use."""
        raise NotImplementedError

    # -- the queue --------------------------------------------------------------------------------
    async def wait(self) -> Any:
        """Queue for a stream, opening one more connection if the limits allow.

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
            self.connect_if_needed()
            if waiter.stream is None and waiter.error is None:
                await waiter.signal.wait()
        except BaseException:
            if waiter.stream is not None:
                self.give_back(waiter.stream)
            else:
                if waiter in self._pending:
                    self._pending.remove(waiter)
                stats.upstream_rq_cancelled.value += 1
            raise
        finally:
            stats.upstream_rq_pending_active.dec()
            self.host.rq_pending_active -= 1
        if waiter.error is not None:
            raise waiter.error
        return waiter.stream

    def serve_next(self, stream: Any, /) -> None:
        """Give ``stream`` to the oldest of those who wait; there must be one."""
        waiter = self._pending.popleft()
        waiter.stream = stream
        waiter.signal.fire()

    def _fail_pending(self, error: UpstreamError) -> None:
        """Nobody connects for those who wait: tell them."""
        waiters, self._pending = self._pending, deque()
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiters)
        for waiter in waiters:
            waiter.error = error
            waiter.signal.fire()

    # -- connecting -------------------------------------------------------------------------------
    def connect_if_needed(self) -> None:
        """Open a connection where more wait than those under way will serve."""
        if len(self._pending) <= self._connecting * self.streams_per_connection():
            return
        stats = self.cluster.stats
        if stats.upstream_cx_active.value >= self.cluster.config.default_limits.max_connections:
            stats.upstream_cx_overflow.value += 1
            if self._connecting or self.has_connections():
                return  # the request waits for a connection to come free
        self._connecting += 1
        host = self.host
        stats.upstream_cx_total.value += 1
        self.count_connection()
        stats.upstream_cx_active.inc()
        host.cx_total += 1
        host.cx_active += 1
        self.reactor.spawn(f"connect to {host.address}", self._connect)

    async def _connect(self, strand: Strand) -> None:
        cluster = self.cluster
        stats = cluster.stats
        started = self.reactor.clock()
        try:
            transport = await cluster.connector.connect(self.reactor, self.host, strand)
        except UpstreamError as error:
            self._connecting -= 1
            is_timeout = error.details == "connection timeout"
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
        self.take_in(transport)

    # -- ends -------------------------------------------------------------------------------------
    def count_end(self, connection: Any, *, local: bool, active: bool) -> None:
        """Count the end of a connection; connect again where requests wait."""
        self.cluster.stats.upstream_rq_per_cx.record(connection.requests)
        self._count_closed(local=local, active=active, started=connection.start_s)
        if self._pending:
            self.connect_if_needed()

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
