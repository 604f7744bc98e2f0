"""The network filter that carries bytes between a client and a host of a cluster (Envoy's ``TcpProxy``)."""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.core.errors import DeadlineExceeded, Disconnected, UpstreamError
from sidecar.extensions.network.tcp_stats import TcpStats
from sidecar.net.pause import pause
from sidecar.net.reactor import Signal, Strand, Transport
from sidecar.net.splice import Broken, PipePool, carry
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.net.reactor import Reactor

__all__ = ["TcpProxy", "TcpProxyConfig", "TcpRoute"]

#: Name in the filter state of a connection: the cluster that a filter chose for it.
CLUSTER_STATE = "envoy.tcp_proxy.cluster"
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """Where a connection goes, with what load balancers ask of a route."""

    cluster_name: str
    hash_policy: Any = None
    metadata_match: Any = None
    weight: int = 1
    name: str = ""
    virtual_host_name: str = ""
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    virtual_host_metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_filter_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TcpProxyConfig:
    """One compiled ``envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy``.  Durations: 0 for never."""

    stat_prefix: str
    #: One, or ``weighted_clusters``.
    routes: Sequence[TcpRoute]
    idle_timeout_s: float = 3600.0
    max_connection_duration_s: float = 0.0
    #: Of the duration, 0 to 100.
    jitter_percent: float = 0.0
    max_connect_attempts: int = 1
    #: Base and maximum of the pause between attempts; None for no pause.
    backoff_s: tuple[float, float] | None = None
    log_interval_s: float = 0.0
    logs_start: bool = False
    logs_connected: bool = False
    access_logs: Sequence[Any] = ()


class TcpProxy:
    """One filter; see the module."""

    def __init__(
        self,
        config: TcpProxyConfig,
        stats: TcpStats,
        reactor: Reactor,
        find_cluster: Callable[[str], Any],
        get_pool: Callable[..., Any],
        pipes: PipePool,
    ) -> None:
        self.config = config
        self.stats = stats
        self.reactor = reactor
        self.find_cluster = find_cluster
        self.get_pool = get_pool
        self.pipes = pipes
        self.access_logs = tuple(config.access_logs)
        self._total_weight = sum(route.weight for route in config.routes)

    def choose_route(self, connection: Any) -> TcpRoute:
        """What a filter chose for this connection, or one of ``weighted_clusters`` by chance."""
        state = connection.filter_state
        routes = self.config.routes
        if state is not None and CLUSTER_STATE in state:
            return TcpRoute(state[CLUSTER_STATE], routes[0].hash_policy)
        if len(routes) == 1:
            return routes[0]
        draw = random.getrandbits(64) % self._total_weight
        for route in routes:
            draw -= route.weight
            if draw < 0:
                return route
        raise AssertionError("the total is the sum of the weights")

    def refuse(self, connection: Any) -> None:
        """A filter in front closed the connection: it counts, and is logged."""
        self.stats.downstream_cx_total.value += 1
        self.log_end(connection)

    def log_end(self, connection: Any) -> None:
        """Have the end of the connection logged."""
        if self.access_logs:
            connection.at_end = (*connection.at_end, lambda: self.log(connection.stream, "TcpConnectionEnd"))

    def log(self, stream: Any, kind: str) -> None:
        """Write the line of a connection at a moment of it (``AccessLogType``)."""
        stream.access_log_type = kind
        for each in self.access_logs:
            each.log(stream)
        stream.access_log_type = "NotSet"

    async def serve(self, connection: Any, transport: Transport, strand: Strand) -> None:
        """Carry one connection to its end.  Closing the transport is the caller's."""
        await _Session(self, connection, transport, strand).run()


class _Session:
    """One client's connection, and the upstream's."""

    __slots__ = (
        "_back_is_done",
        "_connection",
        "_idle_s",
        "_last_end",
        "_over",
        "_proxy",
        "_strand",
        "_stream",
        "_transport",
        "_upstream",
    )

    def __init__(self, proxy: TcpProxy, connection: Any, transport: Transport, strand: Strand) -> None:
        self._proxy = proxy
        self._connection = connection
        self._transport = transport
        self._strand = strand
        self._stream = connection.stream
        self._upstream: Any = None
        self._idle_s = proxy.config.idle_timeout_s
        #: Who ended its side last.
        self._last_end: Transport | None = None
        self._back_is_done = False
        self._over = Signal(proxy.reactor)

    async def run(self) -> None:
        proxy, config, strand = self._proxy, self._proxy.config, self._strand
        proxy.stats.downstream_cx_total.value += 1
        now = proxy.reactor.clock()
        if config.max_connection_duration_s:
            start_timer(strand, now + self._duration_s(), self._expire, "max_duration", is_of_stream=False)
        if config.log_interval_s and proxy.access_logs:
            self._log_later()
        proxy.log_end(self._connection)
        if config.logs_start:
            proxy.log(self._stream, "TcpConnectionStart")
        try:
            await self._connect()
            if self._upstream is not None:
                await self._relay()
        except DeadlineExceeded as late:
            if late.kind == "idle":
                proxy.stats.idle_timeout.value += 1
            self._end(local=True)
        except Broken as broken:
            if broken.errno != errno.ECONNABORTED:  # that is a filter's doing
                self._end_broken(broken.transport)
        finally:
            self._end(local=True)

    # -- time -----------------------------------------------------------------------------------------
    def _duration_s(self) -> float:
        config = self._proxy.config
        jitter = _fraction() * config.jitter_percent / 100
        return config.max_connection_duration_s * (1 + jitter)

    def _expire(self) -> None:
        self._proxy.stats.max_downstream_connection_duration.value += 1
        self._stream.flags |= Flag.DURATION_TIMEOUT
        self._strand.fail(DeadlineExceeded("age"))

    def _log_later(self) -> None:
        when = self._proxy.reactor.clock() + self._proxy.config.log_interval_s
        start_timer(self._strand, when, self._log_period, "access_log_flush_interval", is_of_stream=False)

    def _log_period(self) -> None:
        self._proxy.log(self._stream, "TcpPeriodic")
        self._log_later()

    # -- the upstream -----------------------------------------------------------------------------------
    async def _connect(self) -> None:
        """Get a connection to a host; where there is none, the flags say why."""
        proxy, config, stream = self._proxy, self._proxy.config, self._stream
        attempts = 0
        while True:
            route = stream.route = proxy.choose_route(self._connection)
            cluster = stream.cluster = proxy.find_cluster(route.cluster_name)
            if cluster is None:
                proxy.stats.downstream_cx_no_route.value += 1
                stream.flags |= Flag.NO_CLUSTER_FOUND
                return
            stats = cluster.stats
            resources = cluster.resources[0]
            if resources.connections >= resources.max_connections:
                stats.upstream_cx_overflow.value += 1
                stream.flags |= Flag.UPSTREAM_OVERFLOW
                return
            if attempts >= config.max_connect_attempts:
                stats.upstream_cx_connect_attempts_exceeded.value += 1
                stream.flags |= Flag.CONNECT_ATTEMPTS_EXCEEDED
                return
            host = stream.upstream_host = cluster.choose_host(stream)
            if host is None:
                stream.flags |= Flag.NO_HEALTHY_UPSTREAM
                return
            attempts += 1
            stream.attempt_count = attempts
            try:
                upstream = await proxy.get_pool(cluster, host, stream, raw=True).wait()
            except UpstreamError as error:
                stream.flags |= error.flag
                stream.upstream_transport_failure = error.details.partition("|")[2]
                if config.backoff_s is not None and attempts < config.max_connect_attempts:
                    await pause(self._backoff_s(attempts))
                continue
            self._attach(upstream, cluster, host)
            return

    def _backoff_s(self, attempts: int) -> float:
        """A random part of what doubles with every attempt (``JitteredExponentialBackOffStrategy``)."""
        assert self._proxy.config.backoff_s is not None
        base, most = self._proxy.config.backoff_s
        return float(_fraction() * min(base * 2 ** (attempts - 1), most))

    def _attach(self, upstream: Any, cluster: Any, host: Any) -> None:
        stream = self._stream
        self._upstream = upstream
        stream.upstream = upstream
        stream.upstream_connection_id = upstream.connection_id
        stream.upstream_local_address = upstream.local_address
        cluster.stats.upstream_rq_total.value += 1
        host.rq_total += 1
        host.rq_active += 1

    # -- bytes ------------------------------------------------------------------------------------------
    async def _relay(self) -> None:
        proxy, strand, upstream = self._proxy, self._strand, self._upstream
        if proxy.config.logs_connected:
            proxy.log(self._stream, "TcpUpstreamConnected")
        self._touch()
        up = upstream.transport
        # What came while nobody read has no edge any more.
        self._transport.ready = up.ready = True
        back = proxy.reactor.spawn(
            f"to the client of connection {self._connection.connection_id}",
            self._carry_back,
            on_done=self._on_back_done,
            nursery=strand.nursery,
        )
        try:
            await carry(self._transport, up, self._count_up(), proxy.pipes)
            self._end_side(self._transport, up)
            if not self._back_is_done:
                await self._over.wait()
        finally:
            if not self._back_is_done:
                back.on_done = _ignore
                back.fail(Disconnected("the connection is over"))
        self._end(local=self._last_end is not up)

    async def _carry_back(self, strand: Strand) -> None:
        up = self._upstream.transport
        await carry(up, self._transport, self._count_down(), self._proxy.pipes)
        self._end_side(up, self._transport)

    def _on_back_done(self, error: BaseException | None) -> None:
        self._back_is_done = True
        if error is None:
            self._over.fire()
        else:
            self._strand.fail(error)

    def _end_side(self, ended: Transport, other: Transport) -> None:
        """``ended`` sends no more: say so to the other."""
        self._last_end = ended
        try:
            other.half_close()
        except OSError:
            pass  # it is gone, which its own side tells

    def _touch(self) -> None:
        if self._idle_s:
            self._strand.idle_deadline = self._proxy.reactor.clock() + self._idle_s

    def _count_up(self) -> Callable[[int], None]:
        stream, touch = self._stream, self._touch
        received = self._proxy.stats.downstream_cx_rx_bytes_total
        sent = stream.cluster.stats.upstream_cx_tx_bytes_total

        def count(size: int) -> None:
            stream.bytes_received += size
            received.value += size
            sent.value += size
            touch()

        return count

    def _count_down(self) -> Callable[[int], None]:
        stream, touch = self._stream, self._touch
        received = stream.cluster.stats.upstream_cx_rx_bytes_total
        sent = self._proxy.stats.downstream_cx_tx_bytes_total

        def count(size: int) -> None:
            stream.bytes_sent += size
            received.value += size
            sent.value += size
            touch()

        return count

    # -- the end ------------------------------------------------------------------------------------------
    def _end_broken(self, broken: Transport) -> None:
        """One side was reset: so is the other."""
        up = self._upstream.transport
        is_upstream = broken is up
        if is_upstream:
            self._stream.flags |= Flag.UPSTREAM_REMOTE_RESET
        other = self._transport if is_upstream else up
        try:
            other.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # it is closed
        self._end(local=not is_upstream)

    def _end(self, *, local: bool) -> None:
        """Give the upstream's connection back, once."""
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        self._strand.idle_deadline = 0.0
        stream = self._stream
        stream.upstream = None
        stream.upstream_host.rq_active -= 1
        upstream.end(local=local)


def _ignore(error: BaseException | None) -> None:
    return


def _fraction() -> float:
    """A random number from 0 up to 1."""
    return random.getrandbits(32) / 2**32
