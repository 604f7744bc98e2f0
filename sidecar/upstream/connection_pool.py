"""What the pools of every protocol share: the queue of those who wait, connecting for them, and counting.

A pool has the connections of this process to one host in one routing priority.  Requests that find none wait
in a queue, the oldest is served first, and all of them are told when connecting fails (Envoy's
``ConnPoolImplBase``).  What a connection is, and when it takes another request, is said by
:mod:`sidecar.upstream.h1_pool`, :mod:`sidecar.upstream.h2_pool` and :mod:`sidecar.upstream.tcp_pool`; what is
allowed, by :mod:`sidecar.upstream.resources`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import UpstreamError
from sidecar.net.peer_options import PLAIN_OPTIONS
from sidecar.net.reactor import Reactor, Signal, Strand, Transport
from sidecar.upstream.pool import connect_failure, no_pool, overflow

if TYPE_CHECKING:
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host
    from sidecar.upstream.source import UpstreamSource

__all__ = ["ConnectionPool", "next_connection_id"]

next_connection_id = itertools.count(1).__next__

#: So many connections are begun at most for one request that came, or one connection that went.
_MOST_AT_ONCE = 3


class _Waiter:
    """A request in the queue; what it waits for is ``stream``."""

    __slots__ = ("error", "signal", "stream")

    def __init__(self, reactor: Reactor) -> None:
        self.signal = Signal(reactor)
        self.stream: Any = None
        self.error: UpstreamError | None = None


class ConnectionPool:
    """See the module."""

    __slots__ = (
        "_connecting",
        "_is_counted",
        "_pending",
        "cluster",
        "host",
        "is_draining",
        "key",
        "on_empty",
        "opener",
        "options",
        "reactor",
        "resources",
        "source",
    )

    #: Whether it counts against ``max_connection_pools``.
    is_limited = True
    #: What its connections ask for in their TLS handshake, where requests say nothing.
    default_options = PLAIN_OPTIONS

    def __init__(self, reactor: Reactor, cluster: Cluster, host: Host, *, priority: int = 0) -> None:
        self.reactor = reactor
        self.cluster = cluster
        self.host = host
        self.resources = cluster.resources[priority]
        self._pending: deque[_Waiter] = deque()
        self._connecting = 0
        self._is_counted = False
        #: Who connects for this pool; None for itself.
        self.opener: ConnectionPool | None = None
        self.options = self.default_options
        #: From where its connections come; None for the proxy itself.
        self.source: UpstreamSource | None = None
        #: The host has left: connections end with what is on them.
        self.is_draining = False
        #: Whom this pool serves, for the table of pools.
        self.key: Any = None
        #: Called when its last connection is gone and nobody waits.
        self.on_empty: Callable[[ConnectionPool], None] | None = None

    def join(self, opener: ConnectionPool) -> None:
        """Serve the queue of ``opener``, and let it make the connections."""
        self.opener = opener
        self._pending = opener._pending

    # -- what a protocol says ---------------------------------------------------------------------
    def streams_per_connection(self) -> int:
        """How many requests a connection that is being made will take."""
        return 1

    def has_connections(self) -> bool:
        """Whether there is any connection that has been made."""
        raise NotImplementedError

    def active_streams(self) -> int:
        """How many requests are under way on them."""
        raise NotImplementedError

    def free_places(self) -> int:
        """How many more requests they would take now."""
        raise NotImplementedError

    def count_connection(self) -> None:
        """Count a connection in the counter of its protocol."""

    def take_in(self, transport: Transport) -> None:
        """Go on with a transport that has been connected: for those who wait, if there are any."""
        raise NotImplementedError

    def give_back(self, stream: Any, /) -> None:
        """Take back what nobody began to use."""
        raise NotImplementedError

    def drain(self) -> None:
        """The host fails: let every connection end, the busy ones with what is on them."""
        raise NotImplementedError

    def break_off(self) -> None:
        """``close_connections_on_host_health_failure``: in Envoy it is about raw connections alone."""

    # -- the queue --------------------------------------------------------------------------------
    async def wait(self) -> Any:
        """Queue for a stream, opening one more connection if the limits allow.

        Raises: UpstreamError.  If cancelled: the place in the queue is given up.
        """
        stats = self.cluster.stats
        resources = self.resources
        if not self._is_counted:
            self._count_pool()
        if resources.pending >= resources.max_pending_requests:
            stats.upstream_rq_pending_overflow.value += 1
            self._give_up()
            raise overflow()
        stats.upstream_rq_pending_total.value += 1
        resources.pending += 1
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
            elif waiter.error is None:
                self._pending.remove(waiter)
                stats.upstream_rq_cancelled.value += 1
                self._check_empty()
            raise
        finally:
            resources.pending -= 1
            self.host.rq_pending_active -= 1
        if waiter.error is not None:
            raise waiter.error
        return waiter.stream

    def refuse(self) -> UpstreamError:
        """The error of a request that is one too many, counted."""
        self.cluster.stats.upstream_rq_active_overflow.value += 1
        return overflow()

    def may_serve(self) -> bool:
        """Whether somebody waits who may have a stream; who waits in vain is told."""
        resources = self.resources
        while self._pending and resources.requests >= resources.max_requests:
            error = self.refuse()
            error.is_immediate = False
            self._tell(self._pending.popleft(), error)
        return bool(self._pending)

    def serve_next(self, stream: Any, /) -> None:
        """Give ``stream`` to the oldest of those who wait; there must be one."""
        waiter = self._pending.popleft()
        waiter.stream = stream
        waiter.signal.fire()

    def _fail_pending(self, error: UpstreamError) -> None:
        """Nobody connects for those who wait: tell them."""
        waiters = list(self._pending)
        self._pending.clear()
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiters)
        for waiter in waiters:
            self._tell(waiter, error)

    @staticmethod
    def _tell(waiter: _Waiter, error: UpstreamError) -> None:
        waiter.error = error
        waiter.signal.fire()

    # -- connecting -------------------------------------------------------------------------------
    def connect_if_needed(self) -> None:
        """Open connections where more wait than those under way will serve, as far as the limits allow."""
        if self.opener is not None:
            self.opener.connect_if_needed()
            return
        for _ in range(_MOST_AT_ONCE):
            if not self.wants_connection() or not self._may_connect():
                return

    def wants_connection(self) -> bool:
        """Whether another connection is needed."""
        return len(self._pending) > self._connecting * self.streams_per_connection()

    def _may_connect(self) -> bool:
        """Begin to connect; False where that was the last connection, or one too many."""
        point = self.cluster.connection_shed
        if point is not None and point.shed():
            if not (self._connecting or self.has_connections()):
                while self._pending:
                    self._tell(self._pending.popleft(), overflow())
            return False
        resources = self.resources
        host = self.host
        is_allowed = (
            resources.connections < resources.max_connections
            and host.cx_active < resources.max_connections_per_host
        )
        if not is_allowed:
            self.cluster.stats.upstream_cx_overflow.value += 1
            if self._connecting or self.has_connections():
                return False  # requests wait for a connection to come free
        stats = self.cluster.stats
        self._connecting += 1
        stats.upstream_cx_total.value += 1
        self.count_connection()
        resources.add_connection()
        host.cx_total += 1
        host.cx_active += 1
        self.reactor.spawn(f"connect to {host.address}", self._connect)
        return is_allowed

    async def _connect(self, strand: Strand) -> None:
        cluster = self.cluster
        stats = cluster.stats
        started = self.reactor.clock()
        try:
            transport = await cluster.connector.connect(
                self.reactor, self.host, strand, options=self.options, source=self.source
            )
        except BaseException as broken:
            self._connecting -= 1
            is_local = True
            if isinstance(broken, UpstreamError):
                error = broken
                is_local = not error.details.startswith("remote")
                if error.details == "connection timeout":
                    stats.upstream_cx_connect_timeout.value += 1
                stats.upstream_cx_connect_fail.value += 1
                self.host.cx_connect_fail += 1
            else:
                error = connect_failure(str(broken), remote=False)
            self._count_closed(local=is_local, active=False, started=started)
            self._fail_pending(error)
            self._check_empty()
            if error is not broken:
                raise
            return
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
        else:
            (self.opener or self)._check_empty()

    def _count_closed(self, *, local: bool, active: bool, started: float) -> None:
        stats = self.cluster.stats
        self.resources.connections -= 1
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

    # -- the pool among others --------------------------------------------------------------------
    def _count_pool(self) -> None:
        """Be one of the pools that there may be.  Raises: UpstreamError."""
        resources = self.resources
        if self.is_limited:
            if resources.pools >= resources.max_pools and not self._free_another():
                self.cluster.stats.upstream_cx_pool_overflow.value += 1
                self._give_up()
                raise no_pool()
            resources.pools += 1
        self._is_counted = True

    def _free_another(self) -> bool:
        """Let a pool of this host go that nobody uses now; False where there is none."""
        for pool in self.host.pools:
            if (
                pool._is_counted
                and pool.is_limited
                and pool.resources is self.resources
                and not pool.is_used()
            ):
                pool.drain()
                if pool._is_counted:
                    pool._uncount()
                return True
        return False

    def is_used(self) -> bool:
        """Whether a request is under way on it, or waits."""
        return bool(self._pending) or self.active_streams() > 0

    def _check_empty(self) -> None:
        if self._is_counted and not self._pending and not self._connecting and not self.has_connections():
            self._uncount()
            if self.on_empty is not None:
                self.on_empty(self)

    def _give_up(self) -> None:
        """A request was refused: a pool for few, that has nothing, does not stay for it."""
        if self.on_empty is None or self._pending or self._connecting or self.has_connections():
            return
        if self._is_counted:
            self._uncount()
        self.on_empty(self)

    def _uncount(self) -> None:
        self._is_counted = False
        if self.is_limited:
            self.resources.pools -= 1
