"""One connection of a TCP proxy: to a host, with as many attempts as there may be, then bytes both ways."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Flag
from sidecar.core.errors import DeadlineExceeded, Disconnected, UpstreamError
from sidecar.extensions.network.tcp_attempts import TcpAttempts, fraction
from sidecar.extensions.network.tcp_early import EarlyData
from sidecar.extensions.network.tcp_tunnel import HttpTunnel
from sidecar.net.reactor import Signal, Strand, Transport, turn
from sidecar.net.splice import Broken, carry
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.core.overload import LoadShedPoint
    from sidecar.extensions.network.tcp_proxy import TcpProxy

__all__ = ["TcpSession"]

_RESET = struct.pack("ii", 1, 0)
#: What ended the session → what logs call it.
_REASONS = {"idle": "tcp_session_idle_timeout", "age": "max_connection_duration_reached"}
#: Name in the filter state of a connection: milliseconds in the place of ``idle_timeout``.
_IDLE_STATE = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
_READ_SIZE = 65536
#: Reads that were at hand before others have their turn.
_READS_PER_TURN = 16


class TcpSession(TcpAttempts):
    """One client's connection, and the upstream's."""

    __slots__ = (
        "_back_is_done",
        "_early",
        "_idle_s",
        "_last_end",
        "_over",
        "_strand",
        "_transport",
        "_upstream_ended",
    )

    def __init__(self, proxy: TcpProxy, connection: Any, transport: Transport, strand: Strand) -> None:
        super().__init__(proxy, connection)
        self._transport = transport
        self._strand = strand
        state = connection.filter_state
        own = None if state is None else state.get(_IDLE_STATE)
        # A text of 0 is no time at all, where a field of 0 is for ever.
        self._idle_s = proxy.config.idle_timeout_s if own is None else max(own / 1000, 1e-6)
        #: What came before there was an upstream; None where nothing is read then.
        self._early: EarlyData | None = None
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
            if config.max_early_data_bytes is not None:
                early = self._early = EarlyData(
                    self._transport, strand, config.max_early_data_bytes, self._count_early
                )
                if config.connects_on_data:
                    await early.wait()
                early.start()
            if proxy.connect_shed is not None and proxy.connect_shed.shed():
                self._stream.flags |= Flag.OVERLOAD_MANAGER_TERMINATED
                return
            await self._connect()
            if self._upstream is not None:
                await self._relay()
        except DeadlineExceeded as late:
            if late.kind == "idle":
                proxy.stats.idle_timeout.value += 1
            self._tell_reason(_REASONS.get(late.kind, ""))
            self._end(local=True)
        except Broken as broken:
            if broken.errno != errno.ECONNABORTED:  # that is a filter's doing
                self._end_broken(broken.transport)
        except UpstreamError as error:
            self._end_reset(error)
        finally:
            if self._early is not None:
                self._early.stop()
                self._early = None  # it knows this session
            self._strand.idle_deadline = 0.0
            self._end(local=True)

    # -- time -----------------------------------------------------------------------------------------
    def _duration_s(self) -> float:
        config = self._proxy.config
        jitter = fraction() * config.jitter_percent / 100
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
            is_ended = self._early is not None and await self._send_early(self._early, upstream)
            if up is not None:
                if proxy.data_shed is not None and not is_ended:
                    await self._send_watched(up, proxy.data_shed)
                elif not is_ended:
                    await carry(self._transport, up, self._count_up(), proxy.pipes, proxy.stats.waits)
                has_halves = not isinstance(upstream, HttpTunnel)
                if has_halves:
                    await self._end_side(self._transport, up)
            else:
                if not is_ended:
                    await self._send_up(upstream)
                await upstream.send_end()
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
        waits = self._waits_down()
        if isinstance(upstream, HttpTunnel):
            await self._send_down(upstream.early)
            await carry(up, self._transport, count, self._proxy.pipes, waits)
            raise _TunnelEnded("the upstream ended it")
        await carry(up, self._transport, count, self._proxy.pipes, waits)
        await self._end_side(up, self._transport)

    async def _send_early(self, early: EarlyData, upstream: Any) -> bool:
        """Send what came before; whether that was all."""
        data = early.take()
        if data and upstream.transport is None:
            await upstream.send(data)
        elif data:
            try:
                await upstream.transport.send_all(data)
            except OSError as error:
                raise Broken(upstream.transport, error) from error
            self._stream.cluster.stats.upstream_cx_tx_bytes_total.value += len(data)
        return early.is_ended

    def _count_early(self, size: int) -> None:
        stats = self._proxy.stats
        stats.early_data_received_count_total.value += 1
        stats.downstream_cx_rx_bytes_total.value += size
        self._stream.bytes_received += size

    async def _send_watched(self, up: Transport, shed: LoadShedPoint) -> None:
        """The client's bytes, as long as the overload manager lets them pass."""
        count = self._count_up()
        reads = 0
        while data := await self._receive():
            if shed.shed():
                self._stream.bytes_received += len(data)
                self._proxy.stats.downstream_cx_rx_bytes_total.value += len(data)
                self._stream.flags |= Flag.OVERLOAD_MANAGER_TERMINATED
                raise _Drained("overload")
            try:
                await up.send_all(data)
            except OSError as error:
                raise Broken(up, error) from error
            count(len(data))
            reads += 1
            if not reads % _READS_PER_TURN:
                await turn()

    async def _receive(self) -> bytes:
        try:
            return await self._transport.receive(_READ_SIZE)
        except OSError as error:
            raise Broken(self._transport, error) from error

    async def _send_up(self, tunnel: HttpTunnel) -> None:
        """The client's bytes as a body."""
        stream = self._stream
        received = self._proxy.stats.downstream_cx_rx_bytes_total
        reads = 0
        while True:
            data = await self._receive()
            if not data:
                break
            stream.bytes_received += len(data)
            received.value += len(data)
            await tunnel.send(data)
            self._moved()
            reads += 1
            if not reads % _READS_PER_TURN:
                await turn()

    async def _send_back(self, strand: Strand) -> None:
        """The upstream's body to the client."""
        tunnel: HttpTunnel = self._upstream
        while data := await tunnel.receive():
            await self._send_down(data)
        if not tunnel.has_halves:
            raise _TunnelEnded("the upstream ended it")
        try:
            await self._transport.end()
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
        self._moved()

    def _on_back_done(self, error: BaseException | None) -> None:
        self._back_is_done = True
        if error is None:
            self._over.fire()
        else:
            self._strand.fail(error)

    async def _end_side(self, ended: Transport, other: Transport) -> None:
        """``ended`` sends no more: say so to the other."""
        self._last_end = ended
        try:
            await other.end()
        except OSError:
            pass  # it is gone, which its own side tells

    def _touch(self) -> None:
        if self._idle_s:
            self._strand.idle_deadline = self._proxy.reactor.clock() + self._idle_s

    def _moved(self) -> None:
        """Bytes were carried; with ``check_drain_close`` they are the last ones while it drains."""
        if self._idle_s:
            self._strand.idle_deadline = self._proxy.reactor.clock() + self._idle_s
        proxy = self._proxy
        if proxy.is_draining is not None and proxy.is_draining():
            proxy.stats.downstream_cx_drain_close.value += 1
            raise _Drained("the listener drains")

    def _waits_down(self) -> tuple[Any, Any]:
        stats = self._stream.cluster.stats
        return (
            stats.upstream_flow_control_paused_reading_total,
            stats.upstream_flow_control_resumed_reading_total,
        )

    def _count_up(self) -> Callable[[int], None]:
        stream, touch = self._stream, self._moved
        received = self._proxy.stats.downstream_cx_rx_bytes_total
        sent = stream.cluster.stats.upstream_cx_tx_bytes_total

        def count(size: int) -> None:
            stream.bytes_received += size
            received.value += size
            sent.value += size
            touch()

        return count

    def _count_down(self) -> Callable[[int], None]:
        stream, touch = self._stream, self._moved
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
                self._stream.upstream_close_type = "RemoteReset"
            self._connection.detected_close_type = "LocalReset" if is_upstream else "RemoteReset"
            _reset_at_close(self._transport if is_upstream else up)
        self._end(local=not is_upstream)

    def _end_reset(self, error: UpstreamError) -> None:
        """The tunnel broke; that its stream was reset is handed on."""
        if error.flag & Flag.UPSTREAM_REMOTE_RESET and not self._upstream_ended:
            self._stream.flags |= Flag.UPSTREAM_REMOTE_RESET
            _reset_at_close(self._transport)
        self._end(local=not isinstance(error.__cause__, OSError))

    def _tell_reason(self, reason: str) -> None:
        """Why the proxy ends both connections."""
        self._connection.local_close_reason = reason
        if self._upstream is not None:
            self._stream.upstream_local_close_reason = reason

    def _end(self, *, local: bool) -> None:
        """Give the upstream's connection back, once."""
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        self._detach()
        upstream.end(local=local)


class _Drained(Disconnected):
    """The connection ends since its listener drains, or the proxy has too much to do."""


class _TunnelEnded(Disconnected):
    """A tunnel that has no halves is over."""


def _reset_at_close(transport: Transport) -> None:
    try:
        transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # it is closed


def _ignore(error: BaseException | None) -> None:
    return
