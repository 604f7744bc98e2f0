"""One connection of a TCP proxy: to a host, with as many attempts as there may be, then bytes both ways."""

from __future__ import annotations

import errno
import random
import socket
import struct
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.core.errors import DeadlineExceeded, Disconnected, UpstreamError
from sidecar.extensions.network.tcp_tunnel import DISABLED_STATE, HttpTunnel, open_tunnel
from sidecar.net.pause import pause
from sidecar.net.reactor import Signal, Strand, Transport, turn
from sidecar.net.splice import Broken, carry
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.extensions.network.tcp_proxy import TcpProxy

__all__ = ["TcpSession"]

_RESET = struct.pack("ii", 1, 0)
_READ_SIZE = 65536
#: Reads that were at hand before others have their turn.
_READS_PER_TURN = 16


class TcpSession:
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
        "_upstream_ended",
    )

    def __init__(self, proxy: TcpProxy, connection: Any, transport: Transport, strand: Strand) -> None:
        self._proxy = proxy
        self._connection = connection
        self._transport = transport
        self._strand = strand
        self._stream = connection.stream
        #: A :class:`sidecar.upstream.tcp_pool.TcpConnection`, or a tunnel.
        self._upstream: Any = None
        self._idle_s = proxy.config.idle_timeout_s
        #: Who ended its side last.
        self._last_end: Transport | None = None
        self._back_is_done = False
        #: A tunnel's upstream has ended its half.
        self._upstream_ended = False
        self._over = Signal(proxy.reactor)

    async def run(self) -> None:
        proxy, config, strand = self._proxy, self._proxy.config, self._strand
        proxy.stats.downstream_cx_total.value += 1
        self._stream.request_id = proxy.make_id()
        now = proxy.reactor.clock()
        if config.max_connection_duration_s:
            start_timer(strand, now + self._duration_s(), self._expire, "max_duration", is_of_stream=False)
        if config.log_interval_s and proxy.access_logs:
            self._log_later()
        proxy.log_end(self._connection)
        if config.logs_start:
            proxy.log(self._stream, "TcpConnectionStart")
        self._touch()
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
        except UpstreamError as error:
            self._end_reset(error)
        finally:
            self._strand.idle_deadline = 0.0
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
            host = stream.upstream_host = cluster.choose_host(stream)
            if host is None:
                stream.flags |= Flag.NO_HEALTHY_UPSTREAM
                return
            attempts += 1
            stream.attempt_count = attempts
            try:
                self._upstream = await self._reach(cluster, host)
            except UpstreamError as error:
                if not error.flag & Flag.UPSTREAM_OVERFLOW:
                    stream.flags |= error.flag
                stream.upstream_transport_failure = error.details.partition("|")[2]
                if attempts >= config.max_connect_attempts:
                    stats.upstream_cx_connect_attempts_exceeded.value += 1
                    stream.flags |= Flag.CONNECT_ATTEMPTS_EXCEEDED
                    return
                if config.backoff_s is not None:
                    await pause(self._backoff_s(attempts))
                continue
            return

    async def _reach(self, cluster: Any, host: Any) -> Any:
        """A connection to ``host``, or a tunnel by it.  Raises: UpstreamError."""
        proxy, stream = self._proxy, self._stream
        tunneling = proxy.config.tunneling
        if tunneling is not None:
            state = self._connection.filter_state
            if state is None or not state.get(DISABLED_STATE):
                try:
                    return await open_tunnel(
                        tunneling, proxy.get_pool(cluster, host, stream), stream, self._attach
                    )
                except BaseException:
                    self._detach()
                    raise
        upstream = await proxy.get_pool(cluster, host, stream, raw=True).wait()
        self._attach(upstream)
        return upstream

    def _backoff_s(self, attempts: int) -> float:
        """A random part of what doubles with every attempt (``JitteredExponentialBackOffStrategy``)."""
        assert self._proxy.config.backoff_s is not None
        base, most = self._proxy.config.backoff_s
        return float(_fraction() * min(base * 2 ** (attempts - 1), most))

    def _attach(self, upstream: Any) -> None:
        """Be on a connection, or on a stream that asks for a tunnel."""
        stream = self._stream
        stream.upstream = upstream
        stream.upstream_connection_id = upstream.connection_id
        stream.upstream_local_address = upstream.local_address
        stream.upstream_tls = upstream.tls
        stream.cluster.stats.upstream_rq_total.value += 1
        host = stream.upstream_host
        host.rq_total += 1
        host.rq_active += 1

    def _detach(self) -> None:
        stream = self._stream
        if stream.upstream is not None:
            stream.upstream = None
            stream.upstream_host.rq_active -= 1

    # -- bytes ------------------------------------------------------------------------------------------
    async def _relay(self) -> None:
        proxy, strand, upstream = self._proxy, self._strand, self._upstream
        if proxy.config.logs_connected:
            proxy.log(self._stream, "TcpUpstreamConnected")
        self._touch()
        # What came while nobody read has no edge any more.
        self._transport.ready = True
        up: Transport | None = upstream.transport
        if up is not None:
            up.ready = True
        back = proxy.reactor.spawn(
            f"to the client of connection {self._connection.connection_id}",
            self._carry_back if up is not None else self._send_back,
            on_done=self._on_back_done,
            nursery=strand.nursery,
        )
        try:
            if up is not None:
                await carry(self._transport, up, self._count_up(), proxy.pipes)
                has_halves = not isinstance(upstream, HttpTunnel)
                if has_halves:
                    self._end_side(self._transport, up)
            else:
                await self._send_up(upstream)
                has_halves = upstream.has_halves
            if has_halves and not (self._back_is_done or self._upstream_ended):
                await self._over.wait()
        finally:
            if not self._back_is_done:
                back.on_done = _ignore
                back.fail(Disconnected("the connection is over"))
        self._end(local=up is None or self._last_end is not up)

    async def _carry_back(self, strand: Strand) -> None:
        upstream = self._upstream
        up = upstream.transport
        count = self._count_down()
        if isinstance(upstream, HttpTunnel):
            await self._send_down(upstream.early)
            await carry(up, self._transport, count, self._proxy.pipes)
            raise _TunnelEnded("the upstream ended it")
        await carry(up, self._transport, count, self._proxy.pipes)
        self._end_side(up, self._transport)

    async def _send_up(self, tunnel: HttpTunnel) -> None:
        """The client's bytes as a body."""
        transport, stream = self._transport, self._stream
        received = self._proxy.stats.downstream_cx_rx_bytes_total
        reads = 0
        while True:
            try:
                data = await transport.receive(_READ_SIZE)
            except OSError as error:
                raise Broken(transport, error) from error
            if not data:
                break
            stream.bytes_received += len(data)
            received.value += len(data)
            self._touch()
            await tunnel.send(data)
            reads += 1
            if not reads % _READS_PER_TURN:
                await turn()
        await tunnel.send_end()

    async def _send_back(self, strand: Strand) -> None:
        """The upstream's body to the client."""
        tunnel: HttpTunnel = self._upstream
        while data := await tunnel.receive():
            await self._send_down(data)
        if not tunnel.has_halves:
            raise _TunnelEnded("the upstream ended it")
        try:
            self._transport.half_close()
        except OSError:
            pass  # it is gone, which its own side tells
        self._upstream_ended = True
        self._over.fire()
        await tunnel.broken()

    async def _send_down(self, data: bytes) -> None:
        if not data:
            return
        transport = self._transport
        try:
            await transport.send_all(data)
        except OSError as error:
            raise Broken(transport, error) from error
        self._stream.bytes_sent += len(data)
        self._proxy.stats.downstream_cx_tx_bytes_total.value += len(data)
        self._touch()

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
        """One side was reset: so is the other, but where a tunnel is between them."""
        up = self._upstream.transport
        is_upstream = broken is up
        if not isinstance(self._upstream, HttpTunnel):
            if is_upstream:
                self._stream.flags |= Flag.UPSTREAM_REMOTE_RESET
            _reset_at_close(self._transport if is_upstream else up)
        self._end(local=not is_upstream)

    def _end_reset(self, error: UpstreamError) -> None:
        """The tunnel broke; that its stream was reset is handed on."""
        if error.flag & Flag.UPSTREAM_REMOTE_RESET and not self._upstream_ended:
            self._stream.flags |= Flag.UPSTREAM_REMOTE_RESET
            _reset_at_close(self._transport)
        self._end(local=not isinstance(error.__cause__, OSError))

    def _end(self, *, local: bool) -> None:
        """Give the upstream's connection back, once."""
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        self._detach()
        upstream.end(local=local)


class _TunnelEnded(Disconnected):
    """A tunnel that has no halves is over."""


def _reset_at_close(transport: Transport) -> None:
    try:
        transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # it is closed


def _ignore(error: BaseException | None) -> None:
    return


def _fraction() -> float:
    """A random number from 0 up to 1."""
    return random.getrandbits(32) / 2**32
