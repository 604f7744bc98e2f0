"""One HTTP/2 connection to an upstream host, and the streams on it.

Bytes are :mod:`sidecar.net.h2_wire`'s and frames the codec's; who may open a stream here, and when, is said
by :mod:`sidecar.upstream.h2_pool`, which makes the connections.  RFC 9113.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Flag
from sidecar.codec.h2_sizes import MeteredCodec
from sidecar.codec.h2_stream import H2Run
from sidecar.codec.h2_types import GOAWAY_DETAILS, ErrorCode, KnownFields
from sidecar.core.address import Address
from sidecar.core.errors import (
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    UpstreamError,
    forget_frames,
)
from sidecar.core.headers import Field, HeaderMap, RequestHeaders, ResponseHeaders
from sidecar.net.h2_keepalive import Keepalive
from sidecar.net.h2_wire import READ_AHEAD_BYTES, H2Body, H2MetadataBody, H2Wire
from sidecar.net.reactor import Signal, Strand, Transport
from sidecar.upstream.connection_pool import next_connection_id
from sidecar.upstream.pool import INTERIM, connection_termination, protocol_error, remote_reset

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.api.stream_metadata import StreamMetadata
    from sidecar.api.wire import WireBytes
    from sidecar.codec.h2_types import H2Codec
    from sidecar.observability.stats import Counter
    from sidecar.upstream.h2_pool import H2Pool

__all__ = ["H2UpstreamConnection", "H2UpstreamStream"]

_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host")
)
_READ_SIZE = 65536
#: After a read that was full.
_LONG_READ_SIZE = 262144
#: A body up to this size is joined where all of it is here before anybody asks.
_WHOLE_MOST = 65536
#: In the place of a type that an upgrade asks for.
TUNNEL = b"tunnel"


def _connect_error() -> UpstreamError:
    """RST_STREAM with CONNECT_ERROR."""
    reason = "remote error with CONNECT request"
    return UpstreamError(reason, flag=Flag.UPSTREAM_REMOTE_RESET, details=reason)


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

    __slots__ = (
        "_body",
        "_carried",
        "_connection",
        "_early",
        "_error",
        "_has_body",
        "_interim",
        "_is_ended",
        "_is_over",
        "_response",
        "_signal",
        "_stream_id",
        "_upgrade",
        "_whole",
        "_wire",
        "grpc_status",
    )

    protocol = "HTTP/2"

    def __init__(self, connection: H2UpstreamConnection) -> None:
        self._connection = connection
        self._stream_id = 0
        self._signal = Signal(connection.pool.reactor)
        self._response: ResponseHeaders | None = None
        #: A 1xx that nobody has taken yet.
        self._interim: ResponseMessage | None = None
        #: A body follows the head.  It is made when a part of it comes that is not the whole.
        self._has_body = False
        self._body: H2Body | None = None
        self._whole: bytes | None = None
        self._error: UpstreamError | None = None
        self._is_over = False
        #: The head of a tunnel ended the request.
        self._is_ended = False
        #: ``grpc-status`` of the trailers, as the upstream sent it.
        self.grpc_status: bytes | None = None
        #: METADATA of the exchange, both ways; and what came of it ahead of the response.
        self._carried: StreamMetadata | None = None
        self._early: list[list[Field]] = []
        #: The type that an upgrade asks for.
        self._upgrade: bytes | None = None
        #: Where it counts what it takes on the wire; mostly None.
        self._wire: WireBytes | None = None

    def measure(self, wire: WireBytes) -> None:
        """Count into ``wire`` what the exchange that begins takes."""
        self._wire = wire

    def carry(self, metadata: StreamMetadata) -> None:
        """Take METADATA along, both ways."""
        self._carried = metadata

    @property
    def connection_id(self) -> int:
        return self._connection.connection_id

    @property
    def tls(self) -> Any:
        return self._connection.tls

    @property
    def local_address(self) -> str:
        return self._connection.local_address

    @property
    def is_answered(self) -> bool:
        """Whether all of the response has come."""
        if self._response is None:
            return False
        return not self._has_body or self._whole is not None or self.body().is_complete

    # -- the request --------------------------------------------------------------------------
    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        connection = self._connection
        codec = connection.codec
        if connection.is_closed:
            # It went while this request came here: nothing of it was sent.
            raise self._error or _refused()
        headers = request.headers
        fields: list[Field]
        method, path, authority = headers.method, headers.path, headers.authority
        if (
            method is None
            or path is None
            or authority is None
            or method == b"CONNECT"
            or headers.protocol is not None
        ):
            fields = list(headers.pseudo_fields())
            if method == b"CONNECT" and headers.protocol is None:
                fields = [field for field in fields if field[0] in (b":method", b":authority")]
            elif headers.scheme is None:
                fields.append((b":scheme", b"http"))
        else:
            fields = [
                (b":authority", authority),
                (b":path", path),
                (b":method", method),
                (b":scheme", headers.scheme or b"http"),
            ]
        if _CONNECTION_FIELDS.isdisjoint(headers.index()):
            fields += headers.fields
        else:
            fields += [field for field in headers.fields if field[0] not in _CONNECTION_FIELDS]
        if connection.keepalive is not None:
            connection.keepalive.before_stream()
        try:
            stream_id = self._stream_id = codec.open_stream()
        except LocalProtocolError:
            raise self._error or _refused() from None
        connection.started(self, stream_id)
        if self._wire is not None:
            codec = connection.metered()
            codec.watch(stream_id, self._wire)
        wire = connection.wire
        if not wire.is_scheduled:
            wire.flush_later()
        end_stream = request.body is None or body == b""
        if body and not wire.is_congested and codec.send_whole(stream_id, tuple(fields), body):
            return None
        codec.send_headers(stream_id, fields, end_stream)
        if self._carried is not None and not body and not end_stream:
            self._carried.begin(self)
        if body and not end_stream:
            if len(body) <= codec.send_window(stream_id) and not connection.wire.is_congested:
                codec.send_data(stream_id, body, True)
            else:
                # The response must not wait for it: it may come first, and say why.
                connection.pool.reactor.spawn("request body", lambda _strand: self._send_rest(body))
        return None

    def start_tunnel(self, request: RequestMessage) -> Awaitable[None] | None:
        """Send the head of an upgrade or a CONNECT (RFC 8441, RFC 9113 §8.5).  Raises: UpstreamError."""
        headers = request.headers
        sent = RequestHeaders(headers.method, headers.path, headers.authority, headers.scheme)
        sent.fields = list(headers.fields)
        upgrade = headers.get(b"upgrade")
        if upgrade is not None:
            self._upgrade = upgrade
            sent.method = b"CONNECT"
            sent.protocol = upgrade
            if sent.get(b"content-length") == b"0":
                sent.remove(b"content-length")
        body = request.body
        self._is_ended = body is not None and body.whole == b""
        return self.start(RequestMessage(sent, None if self._is_ended else body), None)

    async def tunnel_response(self, stream: Stream | None) -> ResponseMessage:
        """The answer; an accepted upgrade as HTTP/1.1 says it.  Raises: UpstreamError."""
        response = await self.response(stream)
        headers = response.headers
        if self._upgrade is not None and headers.status == 200:
            headers.status = 101
            headers.set(b"upgrade", self._upgrade)
            headers.set(b"connection", b"upgrade")
        if 200 <= headers.status < 300 or headers.status == 101:
            headers.remove(b"content-length")  # RFC 9110 §9.3.6
        return response

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        """The client ended its side: so does the stream."""
        if not self._is_ended:
            await self.send_end(trailers)
        return True

    def become_tunnel(self) -> None:
        """The stream carries a connection by itself: a reset is one, whatever has come before."""
        self._upgrade = TUNNEL

    async def broken(self) -> None:
        """Wait until the stream is reset.  Raises: UpstreamError, always."""
        while self._error is None:
            await self._signal.wait()
        raise self._error

    def send_metadata(self, pairs: list[Field]) -> None:
        """Hand on METADATA of the client, where the cluster allows it."""
        self._connection.codec.send_metadata(self._stream_id, pairs)
        self._connection.wire.flush_later()

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
    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        while True:
            if self._interim is not None:
                interim, self._interim = self._interim, None
                if stream is not None:
                    waiting = stream.hcm.router.take_interim(stream, interim)
                    if waiting is not None:
                        await waiting
            if self._response is not None:
                break
            if self._error is not None:
                raise self._error
            await self._signal.wait()
        body: Body | None = None
        if self._early and self._carried is not None:
            early, self._early = self._early, []
            for pairs in early:
                self._carried.give(pairs)
        if self._whole is not None:
            body = FixedBody(self._whole)
        elif self._has_body:
            source = body = self.body()
            whole = source.take_whole() if source.size <= _WHOLE_MOST else None
            if whole is not None:
                body = FixedBody(whole)
        return ResponseMessage(self._response, body)

    def body(self) -> H2Body:
        """The response's body, to be pulled."""
        if self._body is None:
            connection = self._connection
            if not connection.pool.settings.allow_metadata:
                self._body = H2Body(connection.wire, self._stream_id)
            else:
                self._body = body = H2MetadataBody(connection.wire, self._stream_id)
                if self._carried is not None:
                    body.tell = self._carried.give
        return self._body

    # -- the end ------------------------------------------------------------------------------
    def release(self) -> None:
        if self._end():
            self._connection.pool.cluster.stats.upstream_rq_tx_reset.value += 1
        if self._error is not None:
            forget_frames(self._error)

    def reset(self) -> None:
        """Abandon the exchange, and tell the peer even where the end of its answer is here already.

        It may still be on its way when Envoy does so, which has looked at the head alone.
        """
        connection = self._connection
        stream_id = self._stream_id
        if (
            not self._is_over
            and self._response is not None
            and self._has_body
            and self._error is None
            and not connection.is_closed
            and connection.codec.is_closed(stream_id)
        ):
            connection.codec.reset_ended(stream_id, ErrorCode.INTERNAL_ERROR)
            connection.pool.h2_stats.tx_reset.value += 1
            connection.pool.cluster.stats.upstream_rq_tx_reset.value += 1
            connection.wire.flush_later()
        self.release()

    def _end(self) -> bool:
        """Let the connection go on without this stream; whether it had to be reset."""
        if self._is_over:
            return False
        self._is_over = True
        connection = self._connection
        connection.pool.resources.requests -= 1
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
        if self._carried is not None:
            self._carried.end()
        if self._wire is not None:
            connection.metered().forget(stream_id)
        connection.ended(self, stream_id)
        return is_unfinished

    # -- what the connection says -------------------------------------------------------------
    def take_response(self, headers: ResponseHeaders, *, has_body: bool) -> None:
        """The final head is here."""
        self._response = headers
        self._has_body = has_body
        self._signal.fire()

    def take_metadata(self, pairs: list[Field]) -> None:
        """The upstream says something beside the response."""
        if self._response is None:
            self._early.append(pairs)
        elif self._has_body and self._whole is None:
            body = self.body()
            if isinstance(body, H2MetadataBody):
                body.push_metadata(pairs)

    def take_interim(self, fields: list[Field]) -> None:
        """A 1xx is here.  One that nobody has taken yet goes before those behind it."""
        status = int(fields[0][1])
        if self._interim is None and status in INTERIM:
            self._interim = ResponseMessage(ResponseHeaders(status, fields[1:]))
            self._signal.fire()

    def fail(self, error: UpstreamError, counter: Counter | None = None) -> None:
        """The stream is gone; ``counter`` counts it."""
        if self._error is None:
            self._error = error
            if counter is not None:
                counter.value += 1
        if self._has_body and self._whole is None:
            self.body().fail(error)
        self._signal.fire()


class H2UpstreamConnection:
    """One connection; the codec's handler."""

    __slots__ = (
        "_max_streams",
        "_reserved",
        "_streams",
        "codec",
        "connection_id",
        "idle_since",
        "is_closed",
        "is_draining",
        "keepalive",
        "local_address",
        "pool",
        "requests",
        "start_s",
        "strand",
        "tls",
        "transport",
        "wire",
    )

    def __init__(self, pool: H2Pool, transport: Transport, codec_class: Any) -> None:
        self.pool = pool
        self.transport = transport
        self.tls: Any = transport.facts
        self.codec: H2Codec = codec_class(self, client=True, settings=pool.settings)
        self.wire = H2Wire(pool.reactor, transport, self.codec, pool.cluster.stats.upstream_cx_tx_bytes_total)
        pool.h2_stats.count_connection("upstream", use_oghttp2_codec=pool.settings.use_oghttp2_codec)
        self.connection_id = next_connection_id()
        self.local_address = Address.from_sockaddr(transport.sock.family, transport.sock.getsockname()).text
        self.requests = 0
        self.start_s = pool.reactor.clock()
        self.idle_since = 0.0
        self.is_draining = False
        self.is_closed = False
        #: Streams given out that have not begun.
        self._reserved = 0
        self._max_streams = pool.settings.max_concurrent_streams
        self._streams: dict[int, H2UpstreamStream] = {}
        self.strand: Strand | None = None
        #: None but where ``connection_keepalive`` is configured.
        self.keepalive: Keepalive | None = None

    def metered(self) -> MeteredCodec:
        """The codec, which counts what streams take from now on."""
        codec = self.codec
        if isinstance(codec, MeteredCodec):
            return codec
        made = MeteredCodec(codec, self, client=True)
        self.codec = self.wire.codec = made
        return made

    @property
    def has_room(self) -> bool:
        """Whether one more stream can be given out."""
        codec = self.codec
        if self.is_draining or self.is_closed or self.transport.hangup or not codec.can_open:
            return False
        active = len(self._streams) + self._reserved
        return active < self._max_streams and active < codec.peer_max_concurrent_streams

    def free_places(self) -> int:
        """How many more streams can be given out now."""
        if not self.has_room:
            return 0
        limit = min(self._max_streams, self.codec.peer_max_concurrent_streams)
        most = self.pool.cluster.max_requests_per_connection or 2**32
        return min(limit - self.active, most - self.requests)

    @property
    def active(self) -> int:
        """Streams on this connection, those about to begin among them."""
        return len(self._streams) + self._reserved

    def reserve(self) -> H2UpstreamStream:
        """A stream for somebody."""
        self.pool.resources.requests += 1
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
        if self.pool._pending:
            self.pool.serve_waiters()

    # -- reading ------------------------------------------------------------------------------
    async def read(self, strand: Strand) -> None:
        """Feed the codec until the connection ends."""
        self.strand = strand
        stats = self.pool.cluster.stats
        rx_bytes = stats.upstream_cx_rx_bytes_total
        error: UpstreamError | None = None
        settings = self.pool.settings
        if settings.keepalive is not None:
            self.keepalive = Keepalive(settings.keepalive, self.wire, strand, self._on_ping_timeout)
        size = _READ_SIZE
        try:
            while True:
                if self.wire.unread > READ_AHEAD_BYTES:
                    await self.wire.wait_for_readers(strand)
                data = await self.transport.receive(size)
                if not data:
                    break
                is_full = len(data) == size
                size = _LONG_READ_SIZE if is_full else _READ_SIZE
                if self.keepalive is not None:
                    self.keepalive.on_data()
                rx_bytes.value += len(data)
                self.codec.receive_data(data)
                self.wire.flush_later()
                if is_full:
                    await self.wire.let_readers_go_on()
        except RemoteProtocolError as broken:
            stats.upstream_cx_protocol_error.value += 1
            self.pool.h2_stats.count_error(broken.details)
            self.wire.flush()
            error = protocol_error()
            for stream in list(self._streams.values()):
                stream.fail(error, stats.upstream_rq_tx_reset)
        except (OSError, Disconnected):
            error = None
        finally:
            self.strand = None
            self._lose(error or connection_termination())
            self.close(local=error is not None)
            self.codec.let_go()
            if self.keepalive is not None:
                self.keepalive.stop()
                self.keepalive = None

    def _on_ping_timeout(self) -> None:
        """Nobody answers: the connection and its streams end."""
        if not self.is_closed:
            self.pool.h2_stats.keepalive_timeout.value += 1
            self._lose(connection_termination())
            self.close(local=True)

    def _lose(self, error: UpstreamError) -> None:
        if error.flag & Flag.UPSTREAM_CONNECTION_TERMINATION:
            self.pool.cluster.stats.upstream_rq_pending_failure_eject.value += len(self._streams)
        for stream in list(self._streams.values()):
            stream.fail(error)
        self.wire.break_off()

    def close(self, *, local: bool) -> None:
        """Close the connection; ``local`` says who ended it."""
        if self.is_closed:
            return
        self.is_closed = True
        if local and not self.wire.is_broken:
            # Without a GOAWAY, as in Envoy: a server has nothing to learn from it.
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
            known = fields.made if fields.__class__ is KnownFields else None
            if known is not None:
                status, rest, index = known
                headers = ResponseHeaders(status, rest.copy())
                headers._index = index.copy()
            else:
                headers = ResponseHeaders(int(fields[0][1]), fields[1:])
                if fields.__class__ is KnownFields:
                    fields.made = headers.status, headers.fields.copy(), headers.index().copy()
            stream.take_response(headers, has_body=not end_stream)

    def on_whole(self, stream_id: int, fields: KnownFields, data: bytes) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream._whole = data
        known = fields.made
        if known is None:
            self.on_headers(stream_id, fields, False)
            return
        status, rest, index = known
        headers = stream._response = ResponseHeaders(status, rest.copy())
        headers._index = index.copy()
        stream._has_body = True
        stream._signal.fire()

    def on_informational(self, stream_id: int, fields: list[Field]) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.take_interim(fields)

    def on_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool, flow_bytes: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or not stream._has_body:
            self.codec.consume(stream_id, flow_bytes)
        elif end_stream and stream._body is None:
            # All of it in one frame, before anybody asked: what most small responses are.
            stream._whole = data if data.__class__ is bytes else bytes(data)
            self.codec.consume(stream_id, flow_bytes)
        else:
            stream.body().push(data, end_stream, flow_bytes)

    def on_run(self, stream_id: int, run: H2Run) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or not stream._has_body:
            self.codec.consume(stream_id, len(run))
        else:
            stream.body().push(run, False, len(run))

    def on_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        stream = self._streams.get(stream_id)
        if not pairs:
            self.pool.cluster.stats.scope.scope("http2").counter("metadata_empty_frames").value += 1
        elif stream is not None:
            stream.take_metadata(pairs)

    def on_trailers(self, stream_id: int, fields: list[Field]) -> None:
        # Envoy counts requests' trailers alone in http2.trailers.
        stream = self._streams.get(stream_id)
        if stream is not None and stream._has_body:
            trailers = HeaderMap(fields)
            stream.grpc_status = trailers.get(b"grpc-status")
            stream.body().end(trailers)

    def on_reset(self, stream_id: int, error_code: int, remote: bool) -> None:
        stats = self.pool.h2_stats
        if remote:
            if self.codec.details != GOAWAY_DETAILS:
                stats.rx_reset.value += 1
        else:
            stats.tx_reset.value += 1
            stats.count_error(self.codec.details)
        stream = self._streams.get(stream_id)
        if stream is not None:
            counters = self.pool.cluster.stats
            if remote and stream._upgrade is TUNNEL and stream.is_answered:
                stream.fail(remote_reset(), counters.upstream_rq_rx_reset if error_code else None)
            elif remote and stream.is_answered:
                # Envoy has by now reset the request itself, whose rest nobody wants any more.
                stats.tx_reset.value += 1
                stream.fail(remote_reset(), counters.upstream_rq_tx_reset)
            elif remote and error_code == ErrorCode.REFUSED_STREAM:
                stream.fail(_refused())
            elif remote and error_code == ErrorCode.CONNECT_ERROR:
                stream.fail(_connect_error())
            elif error_code != ErrorCode.PROTOCOL_ERROR and (
                remote or error_code == ErrorCode.INTERNAL_ERROR
            ):
                # Headers beyond the limits are our INTERNAL_ERROR, which Envoy takes for a reset by the peer.
                stream.fail(remote_reset(), counters.upstream_rq_rx_reset)
            else:
                stream.fail(protocol_error(), counters.upstream_rq_tx_reset)
            self.wire.on_window(stream_id)

    def on_window(self, stream_id: int) -> None:
        self.wire.on_window(stream_id)

    def on_partial_head(self, stream_id: int) -> None:
        """Limits on time are those of the exchange."""

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        if not self.is_draining:
            self.is_draining = True
            self.pool.cluster.stats.upstream_cx_close_notify.value += 1
        if error_code and self.pool.fails_on_goaway:
            self._lose(connection_termination())
        if not self.active:
            self.close(local=True)

    def on_pong(self) -> None:
        if self.keepalive is not None:
            self.keepalive.on_pong()

    def on_settings(self) -> None:
        self.pool.serve_waiters()
