"""HTTP/2 connections to one host: every connection carries many streams.

The pool gives out streams on the oldest connection with room, opens a connection when there is none, and
queues requests meanwhile, as Envoy's ``ConnPoolImplBase`` does.  A connection that is told GOAWAY, or has
carried ``max_requests_per_connection`` streams, takes no more and closes when its last stream ends.
Prior knowledge alone (RFC 9113 §3.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Flag
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_stats import H2Stats
from sidecar.codec.h2_types import ErrorCode, H2Settings
from sidecar.core.address import Address
from sidecar.core.errors import Disconnected, RemoteProtocolError, UpstreamError
from sidecar.core.headers import Field, HeaderMap, ResponseHeaders
from sidecar.net.h2_wire import H2Body, H2Wire
from sidecar.net.reactor import Reactor, Signal, Strand, Transport
from sidecar.upstream.h1_pool import next_connection_id, open_transport
from sidecar.upstream.pool import connection_termination, protocol_error, remote_reset

if TYPE_CHECKING:
    from sidecar.codec.h2_types import H2Codec
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["H2Pool", "H2UpstreamConnection", "H2UpstreamStream"]

_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host")
)
_READ_SIZE = 65536


def _refused() -> UpstreamError:
    """The upstream did not look at the stream: another may."""
    return UpstreamError(
        "remote refused stream reset",
        flag=Flag.UPSTREAM_REMOTE_RESET,
        details="remote refused stream reset",
        retryable=True,
    )


class H2UpstreamStream:
    """One request on one connection (:class:`sidecar.upstream.pool.UpstreamStream`)."""

    __slots__ = ("_body", "_connection", "_error", "_is_over", "_response", "_signal", "_stream_id")

    protocol = "HTTP/2"

    def __init__(self, connection: H2UpstreamConnection) -> None:
        self._connection = connection
        self._stream_id = 0
        self._signal = Signal(connection.pool.reactor)
        self._response: ResponseHeaders | None = None
        self._body: H2Body | None = None
        self._error: UpstreamError | None = None
        self._is_over = False

    @property
    def connection_id(self) -> int:
        return self._connection.connection_id

    @property
    def local_address(self) -> str:
        return self._connection.local_address

    # -- the request --------------------------------------------------------------------------
    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        connection = self._connection
        codec = connection.codec
        if not codec.can_open or connection.is_closed:
            # It went while this request came here: nothing of it was sent.
            raise self._error or _refused()
        headers = request.headers
        fields: list[Field] = list(headers.pseudo_fields())
        if headers.method == b"CONNECT" and headers.protocol is None:
            fields = [field for field in fields if field[0] in (b":method", b":authority")]
        elif headers.scheme is None:
            fields.append((b":scheme", b"http"))
        if _CONNECTION_FIELDS.isdisjoint(headers.index()):
            fields += headers.fields
        else:
            fields += [field for field in headers.fields if field[0] not in _CONNECTION_FIELDS]
        stream_id = self._stream_id = codec.open_stream()
        connection.started(self, stream_id)
        end_stream = request.body is None or body == b""
        codec.send_headers(stream_id, fields, end_stream)
        connection.wire.flush_later()
        if body and not end_stream:
            if len(body) <= codec.send_window(stream_id) and not connection.wire.is_congested:
                codec.send_data(stream_id, body, True)
            else:
                # The response must not wait for it: it may come first, and say why.
                connection.pool.reactor.spawn("request body", lambda _strand: self._send_rest(body))
        return None

    async def _send_rest(self, data: bytes) -> None:
        # Where the stream is gone, whoever waits for the response is told.
        await self._connection.wire.send_body(self._stream_id, data, True)

    async def _send(self, data: bytes, end_stream: bool) -> None:
        if not await self._connection.wire.send_body(self._stream_id, data, end_stream):
            raise self._error or connection_termination()

    async def send_data(self, data: bytes) -> None:
        await self._send(data, False)

    async def send_end(self, trailers: HeaderMap | None) -> None:
        if trailers is None or not trailers.fields:
            await self._send(b"", True)
            return
        connection = self._connection
        if connection.codec.is_closed(self._stream_id):
            raise self._error or connection_termination()
        connection.codec.send_trailers(self._stream_id, trailers.fields)
        connection.wire.flush_later()

    # -- the response -------------------------------------------------------------------------
    async def response(self) -> ResponseMessage:
        while self._response is None:
            if self._error is not None:
                raise self._error
            await self._signal.wait()
        source = self._body
        body: Body | None = source
        if source is not None:
            whole = source.take_whole()
            if whole is not None:
                body = FixedBody(whole)
        return ResponseMessage(self._response, body)

    # -- the end ------------------------------------------------------------------------------
    def release(self) -> None:
        if self._end():
            self._connection.pool.cluster.stats.upstream_rq_tx_reset.value += 1

    def reset(self) -> None:
        self._end()

    def _end(self) -> bool:
        """Let the connection go on without this stream; whether it had to be reset."""
        if self._is_over:
            return False
        self._is_over = True
        connection = self._connection
        stream_id = self._stream_id
        is_unfinished = (
            bool(stream_id) and not connection.is_closed and not connection.codec.is_closed(stream_id)
        )
        if is_unfinished:
            # Envoy knows no CANCEL: that the client left is an internal error to the upstream.
            connection.codec.reset_stream(stream_id, ErrorCode.INTERNAL_ERROR)
            connection.pool.h2_stats.tx_reset.value += 1
            connection.wire.on_window(stream_id)
            connection.wire.flush_later()
        if self._body is not None:
            self._body.discard()
        connection.ended(self, stream_id)
        return is_unfinished

    # -- what the connection says -------------------------------------------------------------
    def take_response(self, headers: ResponseHeaders, body: H2Body | None) -> None:
        """The final head is here."""
        self._response = headers
        self._body = body
        self._signal.fire()

    def fail(self, error: UpstreamError) -> None:
        """The stream is gone."""
        if self._error is None:
            self._error = error
        if self._body is not None:
            self._body.fail(error)
        self._signal.fire()


class H2UpstreamConnection:
    """One connection; the codec's handler."""

    __slots__ = (
        "_reserved",
        "_streams",
        "codec",
        "connection_id",
        "idle_since",
        "is_closed",
        "is_draining",
        "local_address",
        "pool",
        "requests",
        "start_s",
        "strand",
        "transport",
        "wire",
    )

    def __init__(self, pool: H2Pool, transport: Transport, codec_class: Any) -> None:
        self.pool = pool
        self.transport = transport
        self.codec: H2Codec = codec_class(self, client=True, settings=pool.settings)
        self.wire = H2Wire(pool.reactor, transport, self.codec, pool.cluster.stats.upstream_cx_tx_bytes_total)
        self.connection_id = next_connection_id()
        self.local_address = Address.from_sockaddr(transport.sock.family, transport.sock.getsockname()).text
        self.requests = 0
        self.start_s = pool.reactor.clock()
        self.idle_since = 0.0
        self.is_draining = False
        self.is_closed = False
        #: Streams given out that have not begun.
        self._reserved = 0
        self._streams: dict[int, H2UpstreamStream] = {}
        self.strand: Strand | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more stream can be given out."""
        if self.is_draining or self.is_closed or self.transport.hangup or not self.codec.can_open:
            return False
        limit = min(self.pool.settings.max_concurrent_streams, self.codec.peer_max_concurrent_streams)
        return len(self._streams) + self._reserved < limit

    @property
    def active(self) -> int:
        """Streams on this connection, those about to begin among them."""
        return len(self._streams) + self._reserved

    def reserve(self) -> H2UpstreamStream:
        """A stream for somebody."""
        self._reserved += 1
        self.requests += 1
        self.idle_since = 0.0
        limit = self.pool.cluster.max_requests_per_connection
        if limit and self.requests >= limit and not self.is_draining:
            self.pool.cluster.stats.upstream_cx_max_requests.value += 1
            self.is_draining = True
        return H2UpstreamStream(self)

    def started(self, stream: H2UpstreamStream, stream_id: int) -> None:
        """The stream has its id."""
        self._reserved -= 1
        self._streams[stream_id] = stream
        self.pool.h2_stats.streams_active.inc()

    def ended(self, stream: H2UpstreamStream, stream_id: int) -> None:
        """The exchange on the stream is over."""
        if not stream_id:
            self._reserved -= 1
        elif self._streams.pop(stream_id, None) is not None:
            self.pool.h2_stats.streams_active.dec()
        if not self.active and not self.is_closed:
            if self.is_draining or self.pool.is_draining:
                self.close(local=True)
                return
            self.idle_since = self.pool.reactor.clock()
        self.pool.serve_waiters()

    # -- reading ------------------------------------------------------------------------------
    async def read(self, strand: Strand) -> None:
        """Feed the codec until the connection ends."""
        self.strand = strand
        stats = self.pool.cluster.stats
        rx_bytes = stats.upstream_cx_rx_bytes_total
        error: UpstreamError | None = None
        try:
            while True:
                data = await self.transport.receive(_READ_SIZE)
                if not data:
                    break
                rx_bytes.value += len(data)
                self.codec.receive_data(data)
                self.wire.flush_later()
        except RemoteProtocolError as broken:
            stats.upstream_cx_protocol_error.value += 1
            self.pool.h2_stats.count_error(broken.details)
            self.wire.flush()
            error = protocol_error()
        except (OSError, Disconnected):
            error = None
        finally:
            self.strand = None
            self._lose(error or connection_termination())
            self.close(local=error is not None)

    def _lose(self, error: UpstreamError) -> None:
        for stream in list(self._streams.values()):
            stream.fail(error)
        self.wire.break_off()

    def close(self, *, local: bool) -> None:
        """Close the connection; ``local`` says who ended it."""
        if self.is_closed:
            return
        self.is_closed = True
        if local and not self.wire.is_broken:
            self.codec.goaway(ErrorCode.NO_ERROR)
            self.pool.h2_stats.goaway_sent.value += 1
            self.wire.flush()
        strand, self.strand = self.strand, None
        active = bool(self._streams)
        if not self.transport.is_closed:
            self.transport.close()
        if strand is not None:
            strand.fail(Disconnected("closed"))
        self.pool.on_closed(self, local=local, active=active)

    # -- the codec's handler ------------------------------------------------------------------
    def on_headers(self, stream_id: int, fields: list[Field], end_stream: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            headers = ResponseHeaders(int(fields[0][1]), fields[1:])
            stream.take_response(headers, None if end_stream else H2Body(self.wire, stream_id))

    def on_informational(self, stream_id: int, fields: list[Field]) -> None:
        """100 and 103 are not forwarded."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool, flow_bytes: int) -> None:
        stream = self._streams.get(stream_id)
        body = None if stream is None else stream._body
        if body is None:
            self.codec.consume(stream_id, flow_bytes)
        else:
            body.push(data, end_stream, flow_bytes)

    def on_trailers(self, stream_id: int, fields: list[Field]) -> None:
        self.pool.h2_stats.trailers.value += 1
        stream = self._streams.get(stream_id)
        if stream is not None and stream._body is not None:
            stream._body.end(HeaderMap(fields))

    def on_reset(self, stream_id: int, error_code: int, remote: bool) -> None:
        stats = self.pool.h2_stats
        if remote:
            stats.rx_reset.value += 1
        else:
            stats.tx_reset.value += 1
            stats.count_error(self.codec.details)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if remote and error_code == ErrorCode.REFUSED_STREAM:
                stream.fail(_refused())
            elif remote or error_code == ErrorCode.INTERNAL_ERROR:
                # The latter: headers beyond the limits, which Envoy takes for a reset by the peer.
                stream.fail(remote_reset())
            else:
                stream.fail(protocol_error())
            self.wire.on_window(stream_id)

    def on_window(self, stream_id: int) -> None:
        self.wire.on_window(stream_id)

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        if not self.is_draining:
            self.is_draining = True
            self.pool.cluster.stats.upstream_cx_close_notify.value += 1
        if not self.active:
            self.close(local=True)

    def on_settings(self) -> None:
        self.pool.serve_waiters()


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
        configured = cluster.config.http2_settings
        self.settings = H2Settings(
            hpack_table_size=configured.hpack_table_size,
            max_concurrent_streams=configured.max_concurrent_streams,
            initial_stream_window_size=configured.initial_stream_window_size,
            initial_connection_window_size=configured.initial_connection_window_size,
        )
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
            waiters, self._pending = self._pending, deque()
            stats.upstream_rq_pending_failure_eject.value += len(waiters)
            for waiter in waiters:
                waiter.error = error
                waiter.signal.fire()
            return
        except BaseException:
            self._connecting -= 1
            self._count_closed(local=True, active=False, started=started)
            raise
        self._connecting -= 1
        stats.upstream_cx_connect_ms.record(int((self.reactor.clock() - started) * 1000))
        connection = H2UpstreamConnection(self, transport, self._codec_class)
        self._connections.append(connection)
        connection.wire.flush_later()
        self.reactor.spawn(f"read from {self.host.address}", connection.read)
        self.serve_waiters()

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

    def close(self) -> None:
        """Close what is idle; what is in use closes when its last stream ends."""
        self.is_draining = True
        for connection in list(self._connections):
            connection.is_draining = True
            if not connection.active:
                connection.close(local=True)
