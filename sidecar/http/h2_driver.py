"""A downstream HTTP/2 connection: frames in, a strand for each stream, responses out.

One coroutine reads the connection and feeds the codec; what the codec says makes streams, and each stream
runs :meth:`ConnectionManager.run_stream` in a strand of its own, which gets a task only when it needs trio.
A stream whose client reset it, or whose connection went, gets Disconnected where it stands.  Bodies are
pulled, so the peer's windows are the back-pressure.  RFC 9113; what ends a connection follows Envoy, and a
request that the codec refuses is logged and counted as Envoy does it, though no filter sees it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.api.stream_metadata import StreamMetadata
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_sizes import MeteredCodec
from sidecar.codec.h2_stats import H2Stats
from sidecar.codec.h2_stream import H2Run
from sidecar.codec.h2_types import ErrorCode, H2ConnectionError, KnownFields
from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.core.headers import Field, HeaderMap, RequestHeaders
from sidecar.http.connection_ends import DELAYED_CLOSE, flag_connection
from sidecar.http.h1_request_body import limit_request
from sidecar.http.h2_resets import PREMATURE_RESET_AGE_NS, REMOTE_RESETS, ResetGuard
from sidecar.http.head_limits import limit_partial_head
from sidecar.http.request_options import drop_underscores
from sidecar.http.upgrade import begin_upgrade, extended_to_upgrade
from sidecar.net.h2_keepalive import Keepalive
from sidecar.net.h2_wire import READ_AHEAD_BYTES, H2Body, H2Wire
from sidecar.net.reactor import turn
from sidecar.net.timer import Timer, start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.codec.h2_types import H2Codec
    from sidecar.core.overload import Overload
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.net.reactor import Strand, Transport

__all__ = ["H2Driver", "serve_h2"]

#: What an HTTP/1 upstream or a filter may have left and HTTP/2 must not carry (RFC 9113 §8.2.2).
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_STATUS_FIELDS: dict[int, Field] = {code: (b":status", b"%d" % code) for code in range(100, 600)}
_READ_SIZE = 65536
#: What may leave at once with its trailers.
_SHORT_BODY = 16384
#: More than that is likely to be more than one request: what it makes us send can leave together.
_ONE_REQUEST_BYTES = 100
_NO_TUNNEL = Flag.UPSTREAM_CONNECTION_TERMINATION | Flag.UPSTREAM_CONNECTION_FAILURE
#: Local replies that close an HTTP/1 connection and leave this one alone.
_HTTP_1_CLOSES = frozenset(("missing_host_header", "path_normalization_failed", "stream_idle_timeout"))
#: Details of the streams that a connection error takes along.
_CODEC_ERROR = "codec_error:The_user_callback_function_failed"
#: Bytes of a closing connection that are read away before it is cut.
_LINGER_LIMIT = 1 << 20
#: How often a response that waits for the client's windows is asked whether the rest of it has come.
_LOOK_S = 0.1


async def serve_h2(
    manager: ConnectionManager,
    connection: Any,
    transport: Transport,
    strand: Strand,
    received: bytes,
    *,
    codec_class: Any = H2Connection,
) -> None:
    """Serve one HTTP/2 connection to its end.  Closing the transport is the caller's."""
    driver = H2Driver(manager, connection, transport, strand, codec_class=codec_class)
    try:
        await driver.serve(received)
    finally:
        driver.let_go()


class _Responder:
    """One stream: its body coming in, its response going out."""

    __slots__ = (
        "body", "driver", "held", "is_flushing", "is_gone", "is_head", "strand", "stream", "stream_id",
        "timer",
    )  # fmt: skip

    def __init__(self, driver: H2Driver, stream: Stream, body: H2Body | None) -> None:
        self.driver = driver
        self.stream = stream
        self.stream_id = stream.stream_id
        self.body = body
        self.strand: Strand | None = None
        self.is_head = stream.request.headers.method == b"HEAD"
        #: The client reset the stream, or its connection ended.
        self.is_gone = False
        #: Bytes of the response that wait for the client's windows.
        self.held = 0
        #: All that the client has not taken is here: its time is that of ``stream_flush_timeout``.
        self.is_flushing = False
        #: Looks whether it is.
        self.timer: Timer | None = None

    def run(self, strand: Strand) -> Coroutine[Any, Any, None]:
        """The life of the stream, for its strand."""
        self.strand = strand
        life: Coroutine[Any, Any, None] = self.stream.hcm.run_stream(self.stream, self, strand)
        return life

    def on_done(self, error: BaseException | None) -> None:
        """The strand is over."""
        self.driver.end_stream(self)
        if error is not None:
            assert self.strand is not None
            self.driver.manager.reactor.report(self.strand, error)

    # -- what the connection manager asks -----------------------------------------------------
    def is_client_gone(self) -> bool:
        return self.is_gone or self.driver.transport.hangup

    async def send_continue(self) -> None:
        """The driver sent it before the stream began."""

    def send_interim(self, response: ResponseMessage) -> None:
        driver = self.driver
        headers = response.headers
        fields = [field for field in headers.fields if field[0] not in _CONNECTION_FIELDS]
        driver.codec.send_headers(self.stream_id, [(b":status", b"%d" % headers.status), *fields], False)
        driver.wire.flush_later()
        driver.manager.count_interim()

    def start_drain(self) -> bool:
        return self.driver.start_drain()

    def send_response(self, stream: Stream, response: ResponseMessage) -> Awaitable[None] | None:
        driver = self.driver
        codec = driver.codec
        wire = driver.wire
        stream_id = self.stream_id
        headers = response.headers
        if self.is_gone or codec.is_closed(stream_id):
            raise Disconnected("the stream was reset")
        body = response.body
        index = headers._index
        if index is None:
            index = headers.index()
        if not _CONNECTION_FIELDS.isdisjoint(index):
            for name in _CONNECTION_FIELDS:
                headers.remove(name)
        status = headers.status
        fields = (_STATUS_FIELDS.get(status) or (b":status", b"%d" % status), *headers.fields)
        stream.response_started = True
        if stream.drain_connection and stream.details not in _HTTP_1_CLOSES:
            driver.start_drain()
        if not wire.is_scheduled:
            wire.flush_later()
        if body is None or self.is_head:
            codec.send_headers(stream_id, fields, True)
            return None
        whole = body.whole
        if whole is None:
            codec.send_headers(stream_id, fields, False)
            if (
                body.__class__ is H2Body
                and body.trailers is not None
                and not wire.is_congested
                and self._send_complete(stream, body)
            ):
                return None
            return self._stream_body(stream, body)
        stream.bytes_sent = len(whole)
        if not whole:
            codec.send_headers(stream_id, fields, True)
            return None
        if not wire.is_congested and codec.send_whole(stream_id, fields, whole):
            return None
        codec.send_headers(stream_id, fields, False)
        return self._send_rest(stream, whole)

    def _send_complete(self, stream: Stream, body: Any) -> bool:
        """Send a short body whose trailers are here, as a unary call ends; False where it does not fit."""
        codec = self.driver.codec
        stream_id = self.stream_id
        data = body.take_complete(min(codec.send_window(stream_id), _SHORT_BODY))
        if data is None:
            return False
        if data:
            stream.bytes_sent += len(data)
            codec.send_data(stream_id, data, False)
        stream.upstream_last_rx_ns = monotonic_ns()
        fields = body.trailers.fields
        if fields:
            codec.send_trailers(stream_id, fields)
        else:
            codec.send_data(stream_id, b"", True)
        return True

    async def _send_rest(self, stream: Stream, data: bytes) -> None:
        if not await self._send(stream, data, True, None):
            raise Disconnected("the stream was reset")

    def _has_rest(self, stream: Stream, body: Body | None) -> bool:
        """Whether the rest of a response is here, or would be with Envoy, which reads ahead."""
        if body is None or body.ended or (isinstance(body, H2Body) and body.is_complete):
            return True
        response = stream.response
        length = None if response is None else response.headers.get(b"content-length")
        if length is None or not length.isdigit():
            return False
        return int(length) - stream.bytes_sent <= self.driver.manager.buffer_limit_bytes

    async def _send(self, stream: Stream, data: bytes, last: bool, body: Body | None) -> bool:
        """Queue DATA like ``wire.send_body``.

        ``stream_flush_timeout`` limits for how long the client lets the rest of a response wait.  Raises:
        DeadlineExceeded.
        """
        driver = self.driver
        if len(data) <= driver.codec.send_window(self.stream_id):
            return await driver.wire.send_body(self.stream_id, data, last)
        strand = self.strand
        assert strand is not None
        manager = driver.manager
        route = stream.route
        flush_s = manager.stream_flush_timeout_s
        if route is not None and route.flush_timeout_s is not None:
            flush_s = route.flush_timeout_s
        if flush_s is None:
            flush_s = manager.stream_idle_timeout_s
        idle = strand.idle_deadline
        began = manager.reactor.clock()
        if self._has_rest(stream, body):
            self._flush(flush_s)
        elif isinstance(body, H2Body):
            self._look_later(body, flush_s)
        try:
            return await driver.wire.send_body(self.stream_id, data, last)
        except DeadlineExceeded as late:
            if late.kind != "idle" or not self.is_flushing:
                raise
            driver.h2_stats.tx_flush_timeout.value += 1
            raise DeadlineExceeded("flush") from late
        finally:
            if self.timer is not None:
                stop_timer(strand, self.timer)
                self.timer = None
            if self.is_flushing:
                self.is_flushing = False
                if manager.stream_idle is not None:
                    manager.stream_idle.flushed(strand)
                strand.idle_deadline = idle + manager.reactor.clock() - began if idle else 0.0

    def _flush(self, flush_s: float) -> None:
        """From now on the client has so long to take the rest."""
        strand = self.strand
        assert strand is not None
        manager = self.driver.manager
        self.is_flushing = True
        strand.idle_deadline = manager.reactor.clock() + flush_s if flush_s else 0.0
        if manager.stream_idle is not None:
            manager.stream_idle.flush(strand, flush_s)

    def _look_later(self, body: H2Body, flush_s: float) -> None:
        """Look soon whether the rest has come."""
        strand = self.strand
        assert strand is not None
        when = self.driver.manager.reactor.clock() + _LOOK_S
        self.timer = start_timer(strand, when, partial(self._look, body, flush_s), "stream_flush_timeout")

    def _look(self, body: H2Body, flush_s: float) -> None:
        self.timer = None
        if body.is_complete:
            self._flush(flush_s)
        else:
            self._look_later(body, flush_s)

    async def _stream_body(self, stream: Stream, body: Body) -> None:
        driver = self.driver
        strand = self.strand
        assert strand is not None
        stream_id = self.stream_id
        wire = driver.wire
        manager = driver.manager
        clock = manager.reactor.clock
        idle = manager.stream_idle_timeout_s
        if stream.route is not None and stream.route.idle_timeout_s is not None:
            idle = stream.route.idle_timeout_s
        count = 0
        while True:
            size = 0
            if body.__class__ is H2Body:
                await body.wait()
                size = await wire.forward(stream_id, body)
            if size:
                stream.bytes_sent += size
                last = body.ended and body.trailers is None
            else:
                data = await body.receive()
                if not data:
                    break
                stream.bytes_sent += len(data)
                self.held = len(data)
                last = body.ended and body.trailers is None
                if not await self._send(stream, data, last, body):
                    raise Disconnected("the stream was reset")
            if last:
                stream.upstream_last_rx_ns = monotonic_ns()
                return
            if idle and strand.idle_deadline:
                strand.idle_deadline = clock() + idle
            count += 1
            if not count & 63:
                await turn()
        stream.upstream_last_rx_ns = monotonic_ns()
        if driver.codec.is_closed(stream_id):
            raise Disconnected("the stream was reset")
        trailers = body.trailers
        if trailers is not None and trailers.fields:
            driver.codec.send_trailers(stream_id, trailers.fields)
            wire.flush_later()
        else:
            await wire.send_body(stream_id, b"", True)

    def reset(self, stream: Stream) -> None:
        self.driver.reset_stream(self.stream_id, _reset_code(stream, ErrorCode.INTERNAL_ERROR))


def _reset_code(stream: Stream, code: ErrorCode) -> ErrorCode:
    """``code``, or that of a tunnel whose other side broke or was not there (RFC 9113 §8.5)."""
    if stream.upgrade is not None and stream.flags & _NO_TUNNEL:
        return ErrorCode.CONNECT_ERROR
    return code


def _read_head(fields: list[Field]) -> tuple[RequestHeaders, int]:
    """The head of a request, and its bytes."""
    headers = RequestHeaders()
    count = 0
    for name, value in fields:
        if name == b":path":
            headers.path = value
        elif name == b":method":
            headers.method = value
        elif name == b":authority":
            headers.authority = value
        elif name == b":scheme":
            headers.scheme = value.lower()
        elif name == b":protocol":
            headers.protocol = value
        else:
            break
        count += 1
    headers.fields = fields[count:]
    index = headers.index()
    if b"host" in index:
        # ``host`` stands for an absent :authority, and is nothing beside a present one.
        if headers.authority is None:
            headers.authority = index[b"host"]
        headers.remove(b"host")
    return headers, sum([len(name) + len(value) for name, value in fields])


class H2Driver:
    """Serves one HTTP/2 connection; the codec's handler."""

    __slots__ = (
        "_ended_count",
        "_fresh",
        "_is_draining",
        "_is_over",
        "_request_count",
        "_resets",
        "_streams",
        "codec",
        "connection",
        "h2_stats",
        "keepalive",
        "manager",
        "on_receive",
        "strand",
        "transport",
        "was_active",
        "wire",
    )

    def __init__(
        self,
        manager: ConnectionManager,
        connection: Any,
        transport: Transport,
        strand: Strand,
        *,
        codec_class: Any = H2Connection,
    ) -> None:
        self.manager = manager
        self.connection = connection
        self.transport = transport
        self.strand = strand
        codec = codec_class(self, client=False, settings=manager.http2_settings)
        self.codec: H2Codec = MeteredCodec(codec, self, client=False) if manager.counts_wire else codec
        stats = manager.stats
        self.wire = H2Wire(manager.reactor, transport, self.codec, stats.downstream_cx_tx_bytes_total)
        self.h2_stats = H2Stats(stats.scope.store.scope("http2"))
        self.h2_stats.count_connection(
            "downstream", use_oghttp2_codec=manager.http2_settings.use_oghttp2_codec
        )
        self._streams: dict[int, _Responder] = {}
        #: Requests whose body may be complete once the bytes at hand are read.
        self._fresh: list[_Responder] = []
        self._is_draining = False
        #: The connection broke with streams on it.
        self.was_active = False
        #: The codec has failed: nothing is sent any more.
        self._is_over = False
        self._ended_count = 0
        self._resets: ResetGuard | None = None
        self._request_count = 0
        #: None but where ``connection_keepalive`` is configured.
        self.keepalive: Keepalive | None = None
        #: Called when something was received; None where nothing is to be done then.
        self.on_receive: Callable[[], None] | None = None

    # -- the connection -----------------------------------------------------------------------
    async def serve(self, received: bytes) -> None:
        """Read until the connection ends."""
        manager = self.manager
        stats = manager.stats
        transport = self.transport
        strand = self.strand
        codec = self.codec
        wire = self.wire
        reactor = manager.reactor
        data = received
        self._set_idle()
        if manager.http2_settings.keepalive is not None:
            self.keepalive = Keepalive(
                manager.http2_settings.keepalive, self.wire, strand, self._on_ping_timeout
            )
            self.on_receive = self.keepalive.on_data
        if manager.overload is not None:
            self._ask_before_dispatch(manager.overload)
        try:
            while True:
                if data:
                    stats.downstream_cx_rx_bytes_total.value += len(data)
                    if self.on_receive is not None:
                        self.on_receive()
                    if len(data) > _ONE_REQUEST_BYTES:
                        reactor.puts_off = True
                    try:
                        codec.receive_data(data)
                    finally:
                        if self._fresh:
                            self._start_fresh()
                    if codec.has_output:
                        self.wire.flush_later()
                try:
                    if wire.unread > READ_AHEAD_BYTES:
                        await wire.wait_for_readers(strand)
                    if transport.ready:
                        transport.ready = False
                    else:
                        await transport
                    data = transport.recv(_READ_SIZE)
                    if len(data) == _READ_SIZE or transport.hangup:
                        transport.ready = True
                except (BlockingIOError, InterruptedError):
                    data = b""
                    continue
                except DeadlineExceeded as error:
                    data = b""
                    if error.kind == "idle":
                        stats.downstream_cx_idle_timeout.value += 1
                        self.start_drain()
                        continue
                    self._goaway()
                    if error.kind == "head" or not self._streams:
                        break
                    continue
                if not data:
                    self._is_over = True
                    self._lose_to_the_client()
                    return
        except H2ConnectionError as error:
            self._fail(error)
        except (OSError, Disconnected):
            self._is_over = bool(self._streams)
            self._lose_to_the_client()
            if self._is_draining and not self._streams and not transport.hangup:
                await self._linger()
            return
        finally:
            strand.deadline = strand.idle_deadline = 0.0
            self._lose_streams("downstream_local_disconnect", 0)
        await self._linger()

    def let_go(self) -> None:
        """The connection has ended: hold nothing that holds this driver."""
        self.codec.let_go()
        self.on_receive = None
        if self.keepalive is not None:
            self.keepalive.stop()
            self.keepalive = None

    def _fail(self, error: H2ConnectionError) -> None:
        """The client broke a rule that ends the connection."""
        self._is_over = True
        details = error.details
        self.h2_stats.count_error(details)
        if not error.is_flood:
            self.manager.stats.downstream_cx_protocol_error.value += 1
            flag_connection(self.connection)
        if error.stream_id:
            if not error.is_silent:
                details = _CODEC_ERROR
            culprit = self._streams.get(error.stream_id)
            if culprit is None:
                self.log_refused(details, Flag.DOWNSTREAM_PROTOCOL_ERROR)
            else:
                self._lose(culprit, details, Flag.DOWNSTREAM_PROTOCOL_ERROR)
        self._lose_streams(error.others, Flag.DOWNSTREAM_PROTOCOL_ERROR)

    def _ask_before_dispatch(self, overload: Overload) -> None:
        """``http2_server_go_away_on_dispatch``, and the one that closes besides."""
        notice, close = (
            overload.http2_server_go_away_on_dispatch,
            overload.http2_server_go_away_and_close_on_dispatch,
        )
        if notice is None and close is None:
            return
        others = self.on_receive

        def on_receive() -> None:
            if close is not None and close.value and close.shed():
                self.codec.goaway(ErrorCode.NO_ERROR, notice=True)
                self._goaway()
                self.wire.flush()
                raise Disconnected("overload")
            if notice is not None and notice.value and not self._is_draining and notice.shed():
                self.start_drain()
            if others is not None:
                others()

        self.on_receive = on_receive

    def _on_ping_timeout(self) -> None:
        """Nobody answers: the connection ends without a word."""
        self.h2_stats.keepalive_timeout.value += 1
        self._is_over = True
        self._lose_streams("downstream_local_disconnect(http2_ping_timeout)", 0)
        self.strand.fail(Disconnected("http2_ping_timeout"))

    async def _linger(self) -> None:
        """Send what is left and let the client read it and close first (``delayed_close_timeout``)."""
        self.wire.flush()
        self._is_over = True
        timeout = self.manager.delayed_close_timeout_s
        if not timeout or self.wire.is_broken:
            return
        strand = self.strand
        strand.deadline = self.manager.reactor.clock() + timeout
        discarded = 0
        try:
            while discarded < _LINGER_LIMIT:
                data = await self.transport.receive(_READ_SIZE)
                if not data:
                    return
                discarded += len(data)
        except (Disconnected, OSError):
            return
        except DeadlineExceeded:
            self.manager.stats.downstream_cx_delayed_close_timeout.value += 1
            self.connection.local_close_reason = DELAYED_CLOSE
        finally:
            strand.deadline = 0.0

    def _set_idle(self) -> None:
        manager = self.manager
        idle = manager.idle_timeout_s
        self.strand.idle_deadline = manager.reactor.clock() + idle if idle else 0.0
        self.strand.stir()

    def _goaway(self) -> None:
        self.codec.goaway(ErrorCode.NO_ERROR)
        self.h2_stats.goaway_sent.value += 1
        self._is_draining = True
        self.wire.flush_later()

    def start_drain(self) -> bool:
        """Announce the end (GOAWAY), serve what is under way, close after ``drain_timeout``."""
        if self._is_draining:
            return False
        self._is_draining = True
        self.codec.goaway(ErrorCode.NO_ERROR, notice=True)
        self.wire.flush_later()
        manager = self.manager
        self.strand.deadline = manager.reactor.clock() + max(manager.drain_timeout_s, 0.001)
        self.strand.stir()
        return True

    @property
    def is_idle(self) -> bool:
        """No stream is under way, and all was sent."""
        return not self._streams and not self.codec.has_output and not self.wire.is_congested

    def finish(self) -> None:
        """End the connection now if it is idle."""
        if self.is_idle and not self._is_over:
            self.strand.fail(DeadlineExceeded("drain"))

    # -- streams ------------------------------------------------------------------------------
    def _start_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        for responder in fresh:
            body = responder.body
            assert body is not None
            stream = responder.stream
            is_told = stream.metadata is not None and stream.metadata.is_waiting
            whole = None if is_told else body.take_whole()  # it goes on ahead of the body
            if whole is not None:
                stream.request.body = FixedBody(whole)
            self._start(responder)
            if whole is None and self.manager.request_timeout_s:
                self._limit_request(responder, body)
            if responder.is_gone and responder.strand is not None:
                responder.strand.fail(Disconnected("the stream was reset"))

    def _limit_request(self, responder: _Responder, body: H2Body) -> None:
        strand = responder.strand
        if strand is not None and not strand.done:
            stream = responder.stream
            deadline = stream.start_ns / 1e9 + self.manager.request_timeout_s
            limit_request(strand, stream, deadline, lambda: body.is_complete)

    def _start(self, responder: _Responder) -> None:
        self.manager.reactor.spawn("HTTP/2 stream", responder.run, on_done=responder.on_done)

    def end_stream(self, responder: _Responder) -> None:
        """The strand of a stream is over."""
        stream_id = responder.stream_id
        if responder.stream.wire is not None:
            meter: Any = self.codec
            meter.forget(stream_id)
        streams = self._streams
        if streams.pop(stream_id, None) is not None:
            self.h2_stats.streams_active.value -= 1
        self._ended_count += 1
        # Answered before the request was read: the rest of it is not wanted (RFC 9113 §8.1).
        if not self._is_over and not self.codec.is_closed(stream_id):
            self.reset_stream(stream_id, _reset_code(responder.stream, ErrorCode.NO_ERROR))
            stats = self.manager.stats
            stats.downstream_rq_response_before_rq_complete.value += 1
            stats.downstream_rq_rx_reset.value += 1
        body = responder.body
        if body is not None:
            body.discard()
        if not streams:
            self._set_idle()
            if self._is_draining and not self.strand.deadline:
                self.strand.fail(Disconnected("drained"))

    def responders(self) -> list[_Responder]:
        """Those of the streams that are under way."""
        return [each for each in self._streams.values() if not each.is_gone]

    def shed(self, responder: _Responder) -> None:
        """Reset a stream, since the proxy has too little memory."""
        self.reset_stream(responder.stream_id, ErrorCode.INTERNAL_ERROR)
        self._lose(responder, "overload", Flag.OVERLOAD_MANAGER_TERMINATED)

    def reset_stream(self, stream_id: int, code: ErrorCode) -> None:
        """Send RST_STREAM, unless the stream is closed."""
        codec = self.codec
        if not self._is_over and not codec.is_closed(stream_id):
            codec.reset_stream(stream_id, code)
            self.h2_stats.tx_reset.value += 1
            self.wire.flush_later()

    def log_refused(self, details: str, flag: int) -> None:
        """Count and log a request whose head the codec refused: nothing of it is known."""
        manager = self.manager
        stats = manager.stats
        stream = Stream(self.connection, manager, RequestMessage(RequestHeaders(), None), "HTTP/2")
        stream.start_ns = monotonic_ns()
        stream.start_time = time.time()
        stream.flags = flag
        stream.details = details
        stats.downstream_rq_http2_total.value += 1
        stats.downstream_rq_total.value += 1
        stats.downstream_rq_active.value += 1
        stats.downstream_rq_rx_reset.value += 1
        manager._complete(stream, is_timed=False)

    def _lose_to_the_client(self) -> None:
        """The client closed the connection."""
        self._lose_streams("downstream_remote_disconnect", 0)

    def _lose_streams(self, details: str, flag: int) -> None:
        """The connection is over: every stream gets Disconnected."""
        if any(not responder.is_gone for responder in self._streams.values()):
            self.was_active = True
        for responder in list(self._streams.values()):
            self._lose(responder, details, flag)

    def _lose(self, responder: _Responder, details: str, flag: int) -> None:
        if responder.is_gone:
            return
        responder.is_gone = True
        stream = responder.stream
        stream.flags |= flag
        stream.details = details
        body = responder.body
        if body is not None:
            if stream.bytes_received < body.size:
                stream.bytes_received = body.size  # a filter has what nobody sent on
            body.fail(Disconnected(details))
        if responder.strand is not None:
            responder.strand.fail(Disconnected(details))

    # -- the codec's handler ------------------------------------------------------------------
    def on_headers(self, stream_id: int, fields: list[Field], end_stream: bool) -> None:
        manager = self.manager
        known = fields.made if fields.__class__ is KnownFields else None
        if known is not None:
            method, path, authority, scheme, rest, index, size = known
            headers = RequestHeaders(method, path, authority, scheme, rest.copy())
            headers._index = index.copy()
        else:
            headers, size = _read_head(fields)
            index = headers.index()
            if manager.underscores is not None and not self._accept_underscores(stream_id, headers):
                return
            if b"expect" in index:
                if index[b"expect"].lower() == b"100-continue" and not manager.proxy_100_continue:
                    headers.remove(b"expect")
                    self._send_continue(stream_id)
            elif fields.__class__ is KnownFields and manager.underscores is None and not headers.protocol:
                fields.made = (
                    headers.method,
                    headers.path,
                    headers.authority,
                    headers.scheme,
                    headers.fields.copy(),
                    index.copy(),
                    size,
                )
        body = None if end_stream else H2Body(self.wire, stream_id)
        stream = Stream(self.connection, manager, RequestMessage(headers, body), "HTTP/2")
        if headers.method == b"CONNECT":
            upgrade = extended_to_upgrade(headers)
            if body is None:
                stream.request.body = FixedBody(b"")
            begin_upgrade(stream, upgrade)
        stream.stream_id = stream_id
        if manager.http2_settings.allow_metadata:
            stream.metadata = StreamMetadata(partial(self._send_metadata, stream_id))
        if manager.counts_wire:
            meter: Any = self.codec
            stream.wire = meter.begin(stream_id)
        stream.start_ns = monotonic_ns()
        stream.start_time = time.time()
        stream.request_header_bytes = size
        manager.stats.downstream_rq_http2_total.value += 1
        if manager.max_requests_per_connection:
            self._count_request()
        responder = _Responder(self, stream, body)
        if manager.proxy_100_continue:
            stream.responder = responder
        streams = self._streams
        active = self.h2_stats.streams_active
        if not streams:
            self.strand.idle_deadline = 0.0
            active.inc(0)  # in use from now on
        streams[stream_id] = responder
        active.value += 1
        if body is None:
            manager.reactor.spawn("HTTP/2 stream", responder.run, on_done=responder.on_done)
        else:
            self._fresh.append(responder)

    def _accept_underscores(self, stream_id: int, headers: RequestHeaders) -> bool:
        """``headers_with_underscores_action``: drop such headers, or reset the stream (then False)."""
        manager = self.manager
        if manager.underscores == "DROP_HEADER":
            dropped = drop_underscores(headers)
            if dropped:
                manager.stats.codec_counter("http2.dropped_headers_with_underscores").value += dropped
        elif any(b"_" in name for name in headers.index()):
            manager.stats.codec_counter("http2.requests_rejected_with_underscores_in_headers").value += 1
            self.reset_stream(stream_id, ErrorCode.INTERNAL_ERROR)
            self.log_refused("http2.unexpected_underscore", Flag.DOWNSTREAM_PROTOCOL_ERROR)
            return False
        return True

    def _count_request(self) -> None:
        """``max_requests_per_connection``: the last one lets the connection drain; the rest count too."""
        self._request_count += 1
        if self._request_count >= self.manager.max_requests_per_connection:
            self.manager.stats.downstream_cx_max_requests_reached.value += 1
            self.start_drain()

    def _send_continue(self, stream_id: int) -> None:
        self.codec.send_headers(stream_id, [_STATUS_FIELDS[100]], False)
        self.manager.count_interim()

    def on_partial_head(self, stream_id: int) -> None:
        limit_partial_head(self, stream_id)

    def on_informational(self, stream_id: int, fields: list[Field]) -> None:
        raise AssertionError("a server gets no 1xx")

    def on_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool, flow_bytes: int) -> None:
        responder = self._streams.get(stream_id)
        if responder is None or responder.body is None:
            self.codec.consume(stream_id, flow_bytes)
            return
        responder.body.push(data, end_stream, flow_bytes)
        if end_stream:
            responder.stream.request_last_rx_ns = monotonic_ns()

    def on_run(self, stream_id: int, run: H2Run) -> None:
        responder = self._streams.get(stream_id)
        if responder is None or responder.body is None:
            self.codec.consume(stream_id, len(run))
        else:
            responder.body.push(run, False, len(run))

    def on_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        responder = self._streams.get(stream_id)
        if not pairs:
            self.manager.stats.codec_counter("http2.metadata_empty_frames").value += 1
        elif responder is not None and responder.stream.metadata is not None:
            responder.stream.metadata.take(pairs)

    def _send_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        self.codec.send_metadata(stream_id, pairs)
        self.wire.flush_later()

    def on_trailers(self, stream_id: int, fields: list[Field]) -> None:
        self.h2_stats.trailers.value += 1
        responder = self._streams.get(stream_id)
        if responder is not None and responder.body is not None:
            responder.stream.request_last_rx_ns = monotonic_ns()
            responder.body.end(HeaderMap(fields))

    def on_reset(self, stream_id: int, error_code: int, remote: bool) -> None:
        stats = self.h2_stats
        details = self.codec.details
        if remote:
            stats.rx_reset.value += 1
        else:
            stats.tx_reset.value += 1
            stats.count_error(details)
        # Headers beyond the limits are Envoy's own reset, which it takes for one of the client's.
        is_reset = remote or error_code == ErrorCode.INTERNAL_ERROR
        flag = Flag.DOWNSTREAM_REMOTE_RESET if is_reset else Flag.DOWNSTREAM_PROTOCOL_ERROR
        if remote:
            details, flag = REMOTE_RESETS.get(error_code, (details, flag))
        responder = self._streams.get(stream_id)
        if responder is not None:
            stream = responder.stream
            is_young = not stream.response_started and not responder.is_gone
            is_young = is_young and monotonic_ns() - stream.start_ns < PREMATURE_RESET_AGE_NS
            self._lose(responder, details, flag)
            self.wire.on_window(stream_id)
            if remote:
                if self._resets is None:
                    self._resets = ResetGuard(self.manager)
                self._resets.count(self._ended_count, is_premature=is_young)
            elif is_reset:
                stats.trailers.value += 1  # its trailers were beyond the limits
        elif error_code == ErrorCode.REFUSED_STREAM:
            stats.stream_refused_errors.value += 1
        elif not remote:
            self.log_refused(details, flag)

    def on_window(self, stream_id: int) -> None:
        self.wire.on_window(stream_id)

    def on_goaway(self, last_stream_id: int, error_code: int) -> None:
        """The client opens no more streams; those under way go on."""

    def on_pong(self) -> None:
        if self.keepalive is not None:
            self.keepalive.on_pong()

    def on_settings(self) -> None:
        """Windows were told one by one."""
