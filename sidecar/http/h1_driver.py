"""A downstream HTTP/1.1 connection: heads in, streams run, responses out.

One coroutine serves the connection, request after request; it is stepped by the reactor and adopted by
its owner when a stream needs trio.  What the client may send, and what closes the connection, follows
Envoy (RFC 9112 where Envoy leaves it open).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import (
    Body,
    FixedBody,
    LocalReply,
    RequestMessage,
    ResponseMessage,
    origin_of,
)
from sidecar.api.stream import Flag, Stream
from sidecar.api.wire import StreamWire
from sidecar.codec.h1 import reason_phrase
from sidecar.codec.h1_beginnings import request_beginning
from sidecar.codec.h1_case import proper_case
from sidecar.codec.h1_encode import LAST_CHUNK, encode_interim, encode_trailers
from sidecar.codec.h1_framing import ANY_LENGTH, announced_length, is_wrong_length, wrong_length
from sidecar.codec.h1_sizes import note_received_head, note_sent_head
from sidecar.core.errors import (
    DeadlineExceeded,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    StreamAborted,
)
from sidecar.core.headers import RequestHeaders
from sidecar.http.connection_ends import DELAYED_CLOSE, DRAINED, flag_connection
from sidecar.http.h1_request_body import IncomingBody, limit_request
from sidecar.http.h1_target import ASSUMED_SCHEME, KNOWN_AUTHORITIES, check_authority, read_target
from sidecar.http.head_limits import IDLE_TIMEOUT, head_limit
from sidecar.http.local_reply import reply_for
from sidecar.http.overload_guard import guard_dispatch
from sidecar.http.request_options import drop_underscores
from sidecar.http.upgrade import (
    CONNECT,
    TunnelBody,
    begin_upgrade,
    upgrade_of,
    with_hop_fields,
)
from sidecar.net.h1_stream import ChunkedBody, H1Reader, LengthBody
from sidecar.net.reactor import turn
from sidecar.net.splice import Broken
from sidecar.net.timer import start_timer

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager
    from sidecar.net.reactor import Strand, Transport

__all__ = ["H1Driver"]

_SERVING, _DRAINING, _CLOSING = range(3)
#: Requests that no connection reaches.
_NO_LIMIT = 1 << 62
#: Stands for the request's body while no request is under way.
_NO_REQUEST = FixedBody(b"")
#: Status lines of final responses, by status.
_STATUS_LINES: dict[int, bytes] = {}
#: So much leaves with what others have to say at the end of the reactor's pass.
_SOON_BYTES = 16 * 1024
#: Responses that end with their head and say nothing of a length.
_BODILESS = frozenset({100, 101, 102, 103, 204, 304})
#: Headers that a client must not name in Connection (they would vanish on the way).
_NEVER_NOMINATED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})


#: Refusals that come when the version is known: an HTTP/1.0 client is answered in its own.
_OF_WHOLE_HEADS = frozenset(
    (
        "http1.content_length_and_chunked_not_allowed",
        "http1.invalid_transfer_encoding",
        "http1.invalid_url",
        "http1.invalid_scheme",
        "http1.connection_header_rejected",
        "http1.body_disallowed",
        "http.invalid_authority",
    )
)


def _is_http_11(head: bytes) -> bool:
    return head.lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r \t").endswith(b" HTTP/1.1")


def _status_line(status: int) -> bytes:
    line = _STATUS_LINES.get(status)
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status))
        if len(_STATUS_LINES) < 600:
            _STATUS_LINES[status] = line
    return line


class H1Driver:
    """Serves one HTTP/1.1 connection."""

    __slots__ = (
        "_began",
        "_body_done",
        "_connection",
        "_drain",
        "_goes_on",
        "_is_cut",
        "_is_head",
        "_is_proper",
        "_keep_alive",
        "_manager",
        "_parser",
        "_pass",
        "_reader",
        "_request_body",
        "_says_close",
        "_transport",
        "_tx_bytes",
        "_wire",
        "strand",
        "was_active",
    )

    def __init__(
        self,
        manager: ConnectionManager,
        connection: Any,
        transport: Transport,
        strand: Strand,
        received: bytes,
    ) -> None:
        self._manager = manager
        self._connection = connection
        self._transport = transport
        self.strand = strand
        self._reader = H1Reader(transport)
        self._reader.rest = received
        self._parser = manager.make_request_parser()
        self._is_proper = manager.http1.proper_case_words
        self._tx_bytes = manager.stats.downstream_cx_tx_bytes_total
        self._keep_alive = True
        #: The request was the last one: by what its client says, or for its number.
        self._says_close = False
        #: The pass of the reactor in which the request's head was read.
        self._pass = 0
        #: It is not this answer that ends the connection, though it says close.
        self._goes_on = False
        #: The connection broke with a request on it.
        self.was_active = False
        self._drain = _SERVING
        #: A response was cut off: nothing more can be said.
        self._is_cut = False
        self._is_head = False
        self._body_done = True
        self._request_body: Body | None = None
        #: When the first bytes of a head that came in pieces were here, else 0.
        self._began = 0.0
        #: What the request takes on the wire, where that is counted.
        self._wire: StreamWire | None = None

    async def serve(self) -> None:
        """Serve requests until the connection ends.  Closing the transport is the caller's."""
        manager = self._manager
        stats = manager.stats
        strand = self.strand
        reader = self._reader
        parser = self._parser
        clock = manager.reactor.clock
        limit = manager.max_request_headers_bytes
        limits = manager.max_requests_per_connection
        if manager.http1_safe_max_connection_duration:
            limits = limits or _NO_LIMIT
        preserve_case = manager.http1.preserve_case
        idle_timeout = manager.idle_timeout_s
        rx_bytes = stats.downstream_cx_rx_bytes_total
        # None where the transport's own: a bound method would be kept by every idle connection.
        receive: Any = None
        served = 0
        stream: Any
        if manager.overload is not None:
            try:
                receive = guard_dispatch(manager.overload, self._transport.receive, reader.rest)
            except RemoteProtocolError as error:
                await self._answer_broken(error, reader.rest)
                await self._close_delayed()
                return
        while True:
            if idle_timeout:
                strand.idle_deadline = clock() + manager.idle_timeout_s
            parser.reset()
            try:
                data = reader.rest
                self._request_body = _NO_REQUEST
                if not data:
                    # An idle connection keeps nothing of its last request.
                    stream = None
                    parser.let_go()
                    data = await (self._transport.receive(65536) if receive is None else receive(65536))
                    rx_bytes.value += len(data)
                # The common case: what is here begins with a whole head, and nothing in it is out of the way.
                rest = parser.take(data)
                if rest is not None and (size := len(data) - len(rest)) <= limit:
                    reader.rest = rest
                else:
                    reader.rest = data
                    data = await self._rest_of_head() if data else b""
                    if not data:
                        return
                    size = len(data)
                    parser.reset()
                    parser.parse(data)
                    if parser.content_length <= 0 and not parser.is_chunked:
                        self._began = 0.0
                    if self._drain:
                        limits = -1
                strand.idle_deadline = 0.0
                if manager.counts_wire:
                    self._measure(data[:size])
                stream = self._make_stream(size)
                if preserve_case is not None:
                    stream.request.headers.key_case = preserve_case.read(data[:size])
                if limits and (served + 1 >= limits or self._drain):
                    self._end_after(stream)
            except RemoteProtocolError as error:
                if error.status:
                    await self._answer_broken(error, data)
                    await self._close_delayed()
                else:
                    self._log_left()
                return
            except StreamAborted as abort:
                await self._answer_unread(abort.reply)
                await self._close_delayed()
                return
            except DeadlineExceeded as late:
                if late.kind == "shutdown":
                    return
                if late.kind == "drained":
                    await self._close_delayed()
                    return
                if late.kind == "idle":
                    stats.downstream_cx_idle_timeout.value += 1
                    idle_timeout = 0.0
                    if not self._drain:
                        self._begin_drain()
                limits = -1
                continue
            except OSError:
                return
            await stream.hcm.run_stream(stream, self, strand)
            if parser.content_length > 0 or parser.is_chunked:
                self._end_body()
            if reader.rx_bytes:
                self._take_rx_bytes()
            self._wire = None
            if self._transport.queued and (stream.drain_connection or not self._body_done):
                await self._send_queued()
            if not self._keep_alive or stream.drain_connection:
                if self._goes_on and self._body_done and not stream.drain_connection:
                    self._goes_on = False
                    if self._drain == _DRAINING and not self._is_cut and not self._transport.hangup:
                        limits = -1
                        continue
                if not self._body_done:
                    self._count_unread()
                if not self._transport.hangup:
                    if self._ends_at_once(stream):
                        self._connection.local_close_reason = DRAINED
                    else:
                        await self._close_delayed()
                return
            if not self._body_done:
                self._count_unread()
                return  # the rest of the request cannot be told from a new one
            served += 1
            if reader.rest and not served & 7:
                await turn()

    def let_go(self) -> None:
        """The connection has ended: hold no body, which holds this driver."""
        self._request_body = _NO_REQUEST

    # -- draining ----------------------------------------------------------------------------------
    def start_drain(self) -> bool:
        """Let the connection end after ``drain_timeout``, or with the request that is under way then.

        Until that it serves, and every answer says close, as in Envoy.
        """
        if self._drain:
            return False
        self._begin_drain()
        if self._request_body is not _NO_REQUEST:
            self._say_close()
        elif not self._began:
            self.strand.fail(DeadlineExceeded("drain"))
        return True

    @property
    def is_idle(self) -> bool:
        """No request is under way, or expected after what came of one."""
        return self._request_body is _NO_REQUEST and not self._began

    def finish(self) -> None:
        """End the connection now if it is idle."""
        if self.is_idle and self._drain != _CLOSING:
            self.strand.fail(DeadlineExceeded("shutdown"))

    def close_after_next(self) -> None:
        """Let the next request be the last, however long it takes to come.

        That is ``http1_safe_max_connection_duration``; a request that is under way is not told.
        """
        self._drain = _CLOSING
        if self._request_body is _NO_REQUEST and not self._began:
            self.strand.fail(DeadlineExceeded("drain"))

    def _begin_drain(self) -> None:
        self._drain = _DRAINING
        manager = self._manager
        when = manager.reactor.clock() + manager.drain_timeout_s
        start_timer(self.strand, when, self._on_drained, "drain_timeout", is_of_stream=False)

    def _say_close(self) -> None:
        """The answer says close, but what ends the connection is the end of the drain."""
        self._goes_on = self._keep_alive and self._parser.upgrade is None
        self._keep_alive = False

    def _on_drained(self) -> None:
        self._drain = _CLOSING
        if self._request_body is _NO_REQUEST and not self._began:
            self.strand.fail(DeadlineExceeded("drained"))

    # -- requests ----------------------------------------------------------------------------------
    def _make_stream(self, head_size: int) -> Stream:
        """A stream from the head of ``head_size`` bytes that was parsed.  Raises: RemoteProtocolError."""
        manager = self._manager
        parser = self._parser
        minor = parser.minor_version
        if not minor and not manager.http1.accept_http_10:
            raise RemoteProtocolError("HTTP/1.0", status=426, details="low_version")
        target = parser.raw_target
        authority = parser.host
        method = parser.method
        path: bytes | None = target
        scheme = ASSUMED_SCHEME
        if target[:1] != b"/":
            scheme, authority, path = read_target(
                method, target, authority, is_absolute_allowed=manager.http1.allow_absolute_url
            )
        if authority not in KNOWN_AUTHORITIES:
            check_authority(authority)
        headers = RequestHeaders(method, path, authority, scheme, parser.fields)
        headers._index = parser.index
        upgrade: bytes | None = None
        if parser.connection_tokens:
            upgrade = upgrade_of(parser, manager.http1.ignore_http_11_upgrade)
            if upgrade is None:
                self._remove_nominated(headers)
            else:
                with_hop_fields(headers.fields, parser.hop_fields)
                headers._index = None
                parser.content_length = -1
                parser.is_chunked = False
        if manager.underscores is not None:
            self._check_underscores(headers)
        stats = manager.stats
        stats.downstream_rq_http1_total.value += 1
        self._is_head = method == b"HEAD"
        if not minor:
            # keep-alive goes before close here, and an answer without a length closes all the same.
            parser.close = not parser.keep_alive_token
        self._keep_alive = not parser.close
        self._says_close = parser.close
        self._pass = manager.reactor.passes
        body: Body | None = None
        if parser.content_length > 0:
            self._body_done = False
            body = LengthBody(self._reader, parser.content_length, self._on_body_end)
            if body.whole is None:
                body = IncomingBody(body, stats)
        elif parser.is_chunked:
            self._body_done = False
            body = ChunkedBody(
                self._reader,
                self._on_body_end,
                keep_trailers=manager.http1.enable_trailers,
                make_decoder=manager.make_chunked_decoder,
            )
            if body.whole is None:
                body = IncomingBody(body, stats)
        else:
            self._body_done = True
        self._request_body = body
        if method == b"CONNECT":
            if path is not None:
                raise RemoteProtocolError("invalid url", details="http1.invalid_url")
            upgrade = CONNECT if upgrade is None else upgrade
        stream = Stream(
            self._connection, manager, RequestMessage(headers, body), "HTTP/1.1" if minor else "HTTP/1.0"
        )
        stream.start_ns = time.monotonic_ns()
        stream.start_time = time.time()
        stream.request_header_bytes = head_size
        if self._wire is not None:
            stream.wire = self._wire
        if not minor and authority is None and manager.http1.default_host_for_http_10:
            headers.authority = manager.http1.default_host_for_http_10
        if body.__class__ is IncomingBody:
            self._await_body(stream, body)
        if manager.proxy_100_continue:
            stream.responder = self
        elif parser.expect_continue:
            # Envoy answers for the upstream and takes the header away.
            self._send_now(b"HTTP/1.%d 100 Continue\r\n\r\n" % minor)
            manager.count_interim()
        if upgrade is not None:
            # What follows the head is the tunnel's, and not HTTP.
            self._body_done = self._keep_alive = self._is_head = False
            stream.request.body = self._request_body = TunnelBody(self._reader)
            begin_upgrade(stream, upgrade)
            if manager.request_timeout_s:
                deadline = (self._began or manager.reactor.clock()) + manager.request_timeout_s
                limit_request(self.strand, stream, deadline, lambda: False)
        return stream

    def _measure(self, head: bytes) -> None:
        """Begin to count what a request and its response take; its head was read, and nothing behind it."""
        wire = self._wire = StreamWire()
        down = wire.down
        down.reader = self._reader
        down.seen = len(head) + len(self._reader.rest)
        note_received_head(down, head)

    def _check_underscores(self, headers: RequestHeaders) -> None:
        manager = self._manager
        if manager.underscores == "DROP_HEADER":
            dropped = drop_underscores(headers)
            if dropped:
                manager.stats.codec_counter("http1.dropped_headers_with_underscores").value += dropped
        elif any(b"_" in name for name in headers.index()):
            manager.stats.codec_counter("http1.requests_rejected_with_underscores_in_headers").value += 1
            raise RemoteProtocolError("header name with an underscore", details="http1.unexpected_underscore")

    def _end_after(self, stream: Stream) -> None:
        """The last request of this connection (``max_requests_per_connection``), or one while it drains."""
        if self._drain:
            self._say_close()
            return
        stream.drain_connection = self._says_close = True
        self._manager.stats.downstream_cx_max_requests_reached.value += 1

    def _remove_nominated(self, headers: RequestHeaders) -> None:
        for token in self._parser.connection_tokens:
            if token in _NEVER_NOMINATED or token[:1] == b":":
                raise RemoteProtocolError(
                    "connection header rejected", details="http1.connection_header_rejected"
                )
            if token == b"host":
                headers.authority = None
            elif token not in (b"upgrade", b"te"):
                headers.remove(token)

    def _await_body(self, stream: Stream, body: IncomingBody) -> None:
        """The rest of the request is still to come: start the clocks that watch it."""
        body.stream = stream
        manager = self._manager
        now = manager.reactor.clock()
        began, self._began = self._began, 0.0
        if manager.stream_idle_timeout_s:
            self.strand.idle_deadline = now + manager.stream_idle_timeout_s
        if manager.request_timeout_s:
            deadline = (began or now) + manager.request_timeout_s
            limit_request(self.strand, stream, deadline, lambda: self._body_done)

    def _end_body(self) -> None:
        """The stream of the body is over, and holds it: no cycle is left behind."""
        body = self._request_body
        if body is not None and body.__class__ is IncomingBody:
            body.stream = None

    def _was_unread(self, stream: Stream, body: Body) -> bool:
        """Whether the response begins before the request was read to its end: then Envoy closes.

        A body that came with its head counts as read once something was waited for, such as an upstream or
        the answer to a filter's question.
        """
        if not self._body_done:
            return True
        if stream.is_cut_short:
            self._body_done = False
            return True
        if body.trailers is not None and stream.upstream_host is None:
            return True
        current = stream.request.body
        if (body is not current and origin_of(current) is not body) or not body.whole:
            if body.whole and stream.upstream_host is None:
                stream.bytes_received = len(body.whole)  # a filter has read it
            return False
        if (stream.upstream_host is None or stream.is_refused) and self._manager.reactor.passes == self._pass:
            self._body_done = False
            return True
        stream.bytes_received = len(body.whole)
        return False

    def _on_body_end(self) -> None:
        self._body_done = True

    def _count_unread(self) -> None:
        """The response was over before the request: Envoy resets such a stream."""
        stats = self._manager.stats
        stats.downstream_rq_response_before_rq_complete.value += 1
        stats.downstream_rq_rx_reset.value += 1

    # -- heads that come in pieces -----------------------------------------------------------------
    async def _rest_of_head(self) -> bytes:
        """The next head, of which the beginning is in the reader; ``b""`` when the client left.

        Raises: RemoteProtocolError, OSError; DeadlineExceeded while there is no request yet;
        StreamAborted when the request took too long (:mod:`sidecar.http.head_limits`).
        """
        manager = self._manager
        reader = self._reader
        strand = self.strand
        try:
            while not (rest := reader.rest.lstrip(b"\r\n")):
                rest = reader.rest = await self._transport.receive()
                reader.rx_bytes += len(rest)
                if not rest:
                    return b""
            reader.rest = rest
            now = self._began = manager.reactor.clock()
            idle = manager.stream_idle_timeout_s
            limit = head_limit(manager)
            strand.idle_deadline = now + idle if idle else 0.0
            if limit is not None:
                strand.deadline = now + limit[0]
            try:
                return await reader.head(manager.max_request_headers_bytes, request_beginning(self._parser))
            except DeadlineExceeded as late:
                if late.kind == "idle" or limit is None:
                    manager.stats.downstream_rq_idle_timeout.value += 1
                    raise StreamAborted(IDLE_TIMEOUT) from late
                _, reply, counter = limit
                counter.value += 1
                raise StreamAborted(reply) from late
        finally:
            strand.deadline = 0.0
            self._take_rx_bytes()

    def _take_rx_bytes(self) -> None:
        reader = self._reader
        self._manager.stats.downstream_cx_rx_bytes_total.value += reader.rx_bytes
        reader.rx_bytes = 0

    # -- responses ---------------------------------------------------------------------------------
    def send_response(self, stream: Stream, response: ResponseMessage) -> Awaitable[None] | None:
        headers = response.headers
        fields = headers.fields
        status = headers.status
        body = response.body
        stream.response_started = True
        if self._request_body is not None and self._was_unread(stream, self._request_body):
            stream.drain_connection = True
        extra = b""
        minor = self._parser.minor_version
        index = headers.index()
        if b"transfer-encoding" in index:
            headers.remove(b"transfer-encoding")  # a filter's: how the body is sent is decided here
        length = index.get(b"content-length")
        if body is not None and status in _BODILESS and not stream.is_tunnel:
            # A filter changed the status: a client takes what follows such a head for the next answer.
            body = response.body = None
            if length is not None and status != 304:
                headers.remove(b"content-length")
                length = None
        if not minor and length is None:
            # Envoy ends an HTTP/1.0 connection behind any answer that came without a length.
            self._keep_alive = False
            self._says_close = True
            self._parser.close = True
        # What becomes of the connection is a header of the response, to logs, too.
        if (stream.drain_connection or not self._keep_alive) and not stream.is_tunnel:
            headers.set(b"connection", b"close")
        elif not minor and self._manager.http1.accept_http_10:
            headers.set(b"connection", b"keep-alive")
        chunked = False
        left = ANY_LENGTH
        if body is None:
            if status not in _BODILESS:
                if length is None:
                    if not self._is_head:
                        extra += b"content-length: 0\r\n"
                    elif minor:
                        extra += b"transfer-encoding: chunked\r\n"
                elif not self._is_head and (length != b"0" or len(index) != len(fields)):
                    is_wrong_length(headers, length, 0)
        elif stream.is_tunnel or self._is_head:
            chunked = length is None and not stream.is_tunnel and bool(minor)
        elif length is None:
            chunked = bool(minor)
        elif body.whole is None:
            left = announced_length(headers, length)
            chunked = left < 0 and bool(minor)
            if left < 0 and not minor:
                self._keep_alive = False
                self._parser.close = True
        elif length != b"%d" % len(body.whole) or len(index) != len(fields):
            is_wrong_length(headers, length, len(body.whole))
        if chunked:
            extra += b"transfer-encoding: chunked\r\n"
        line = (
            _status_line(status)
            if response.reason is None
            else b"HTTP/1.1 %d %b\r\n" % (status, response.reason)
        )
        if not minor and self._manager.http1.accept_http_10:
            line = b"HTTP/1.0" + line[8:]
        elif status == 101:
            self._keep_alive = False  # what follows is not HTTP
        head = b"%b%b\r\n%b\r\n" % (line, b"\r\n".join(map(b": ".join, fields)), extra)
        if head.count(b"\n") != len(fields) + 2 + (extra.count(b"\n") if extra else 0):
            stream.response_started = False
            raise LocalProtocolError("a header of the response contains a line feed")
        if headers.key_case is not None:
            head = headers.key_case.write(head)
        elif self._is_proper:
            head = proper_case(head)
        if self._wire is not None:
            note_sent_head(self._wire.down, head)
        if body is None:
            return self._send(head)
        whole = body.whole
        if self._is_head:
            whole = b""
            body.whole = b""
        if whole is not None:
            size = stream.bytes_sent = len(whole)
            if self._is_head:
                return self._send(head)
            if size > _SOON_BYTES:
                if chunked:
                    return self._send_parts(b"%b%x\r\n" % (head, size), whole, b"\r\n0\r\n\r\n")
                return self._send_parts(head, whole)
            if chunked:
                return self._send(head + (b"%x\r\n%b\r\n0\r\n\r\n" % (size, whole) if size else b"0\r\n\r\n"))
            return self._send(head + whole)
        return self._stream_body(stream, body, head, left, chunked=chunked)

    async def _stream_body(
        self, stream: Stream, body: Body, head: bytes, left: int, *, chunked: bool
    ) -> None:
        """``left``: bytes that the head announces, or ANY_LENGTH."""
        strand = self.strand
        clock = self._manager.reactor.clock
        idle = self._manager.stream_idle_timeout_s
        if stream.route is not None and stream.route.idle_timeout_s is not None:
            idle = stream.route.idle_timeout_s
        count = 0
        waiting = self._send(head)
        if waiting is not None:
            await waiting
        may_pass_by = left > 0 and body.whole is None
        while True:
            if may_pass_by and body.can_pass_by and self._transport.is_plain:
                size = stream.bytes_sent
                await self._pass_by(stream, body, left, idle)
                left -= stream.bytes_sent - size
            data = await body.receive()
            if not data:
                break
            stream.bytes_sent += len(data)
            if left >= 0:
                left -= len(data)
                if left < 0:
                    raise wrong_length()
            waiting = self._send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if waiting is not None:
                await waiting
            if idle and strand.idle_deadline:
                strand.idle_deadline = clock() + idle
            count += 1
            if not count & 63:
                await turn()
        stream.upstream_last_rx_ns = time.monotonic_ns()
        if left > 0:
            raise wrong_length()
        if chunked:
            trailers = body.trailers if self._manager.http1.enable_trailers else None
            waiting = self._send(LAST_CHUNK if trailers is None else encode_trailers(trailers.fields))
            if waiting is not None:
                await waiting

    async def _pass_by(self, stream: Stream, body: Body, left: int, idle: float) -> None:
        """Let the middle of a body go from socket to socket."""
        strand = self.strand
        clock = self._manager.reactor.clock

        def count(size: int) -> None:
            stream.bytes_sent += size
            self._tx_bytes.value += size
            if self._wire is not None:
                self._wire.down.sent += size
            if idle and strand.idle_deadline:
                strand.idle_deadline = clock() + idle

        try:
            await body.pass_by(self._transport, left, count)
        except Broken as error:
            self._transport.hangup = True
            raise Disconnected(str(error)) from error

    def _send(self, data: bytes) -> Awaitable[None] | None:
        """Send ``data``; an awaitable sends what did not fit.  Raises: Disconnected."""
        size = len(data)
        self._tx_bytes.value += size
        if self._wire is not None:
            self._wire.down.sent += size
        transport = self._transport
        if size <= _SOON_BYTES and self._keep_alive and not transport.queued:
            transport.send_soon(data)
            return None
        try:
            rest = transport.try_send(data)
        except OSError as error:
            self._transport.hangup = True
            raise Disconnected(str(error)) from error
        return None if rest is None else self._finish_send(rest)

    def _send_parts(self, *parts: bytes) -> Awaitable[None] | None:
        """The same for a head and a body that is not small."""
        size = sum(map(len, parts))
        self._tx_bytes.value += size
        if self._wire is not None:
            self._wire.down.sent += size
        try:
            rest = self._transport.try_send_parts(*parts)
        except OSError as error:
            self._transport.hangup = True
            raise Disconnected(str(error)) from error
        return None if rest is None else self._finish_send(rest)

    async def _send_queued(self) -> None:
        """Send what was put off: the connection is about to end."""
        try:
            await self._transport.send_all(b"")
        except OSError:
            return  # there is nobody to read it

    async def _finish_send(self, rest: memoryview) -> None:
        try:
            await self._transport.finish_send(rest)
        except OSError as error:
            self._transport.hangup = True
            raise Disconnected(str(error)) from error

    def _send_now(self, data: bytes) -> None:
        """Send a few bytes that always fit."""
        self._tx_bytes.value += len(data)
        if self._wire is not None:
            self._wire.down.sent += len(data)
        try:
            self._transport.try_send(data)
        except OSError:
            return  # reading finds out

    async def send_continue(self) -> None:
        self._send_now(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_interim(self, response: ResponseMessage) -> Awaitable[None] | None:
        self._manager.count_interim()
        http1 = self._manager.http1
        is_old = not self._parser.minor_version and http1.accept_http_10
        head = encode_interim(response, proper=http1.proper_case_words, is_old=is_old)
        if self._wire is not None:
            note_sent_head(self._wire.down, head)
        return self._send(head)

    def is_client_gone(self) -> bool:
        return self._transport.hangup

    def reset(self, stream: Stream) -> None:
        self._keep_alive = False
        self._parser.close = True
        self._body_done = True
        if stream.is_tunnel and not self._transport.hangup:
            stream.drain_connection = True  # what was sent is still to be read
            return
        stream.drain_connection = False
        self._is_cut = True
        self.was_active = self._transport.hangup

    # -- ends --------------------------------------------------------------------------------------
    async def _answer_broken(self, error: RemoteProtocolError, head: bytes) -> None:
        """Answer a request that could not be read; the encoder filters and the access log see it."""
        manager = self._manager
        stats = manager.stats
        is_overload = error.details == "overload"
        (stats.downstream_rq_overload_close if is_overload else stats.downstream_cx_protocol_error).value += 1
        if not is_overload:
            flag_connection(self._connection)
        stream = self._stream_without_request()
        if manager.counts_wire and self._wire is None:
            rest = self._reader.rest
            wire = self._wire = StreamWire()
            # What was read of a head that is not whole is still with the reader.
            wire.down.reader = self._reader
            wire.down.seen = len(rest) if rest.startswith(head) else len(head) + len(rest)
        stream.wire = self._wire
        if error.details in _OF_WHOLE_HEADS and not _is_http_11(head):
            self._parser.minor_version = 0
        await manager.run_broken(stream, self, reply_for(error, stream))
        self._count_unread()

    def _log_left(self) -> None:
        """Count and log a request whose client left within its head: for Envoy that is a stream."""
        manager = self._manager
        stats = manager.stats
        self.was_active = True
        stream = self._stream_without_request()
        stream.flags = Flag.DOWNSTREAM_CONNECTION_TERMINATION
        stream.details = "downstream_remote_disconnect"
        stats.downstream_rq_total.value += 1
        stats.downstream_rq_active.value += 1
        stats.downstream_rq_rx_reset.value += 1
        manager._complete(stream)

    async def _answer_unread(self, reply: LocalReply) -> None:
        """The same for a head that did not come in time."""
        await self._manager.run_broken(self._stream_without_request(), self, reply)
        self._count_unread()

    def _stream_without_request(self) -> Stream:
        manager = self._manager
        manager.stats.downstream_rq_http1_total.value += 1
        self._parser.minor_version = 1
        self._request_body = None
        self._keep_alive = False
        self._body_done = True
        self._is_head = False
        stream = Stream(self._connection, manager, RequestMessage(RequestHeaders()), "HTTP/1.1")
        stream.start_ns = time.monotonic_ns()
        stream.start_time = time.time()
        stream.remote_address = self._connection.remote_address
        return stream

    def _ends_at_once(self, stream: Stream) -> bool:
        """Whether the connection is closed behind the answer, without a wait for the client to close it.

        As in Envoy: who said close, and was answered when the request had come to its end, waits for the end.
        An answer that was given while the head was read, by us, comes too early for that.
        """
        if not self._says_close or not self._body_done or self._is_cut:
            return False
        return self._pass != self._manager.reactor.passes or bool(
            stream.flags & Flag.UPSTREAM_CONNECTION_FAILURE
        )

    async def _close_delayed(self) -> None:
        """Let the client read the answer and close first (``delayed_close_timeout``)."""
        self._request_body, self._began, self._drain = _NO_REQUEST, 0.0, _CLOSING
        timeout = self._manager.delayed_close_timeout_s
        if not timeout:
            return
        strand = self.strand
        strand.idle_deadline = 0.0
        strand.deadline = self._manager.reactor.clock() + timeout
        transport = self._transport
        discarded = 0
        try:
            while True:
                data = await transport.receive()
                if not data:
                    return
                discarded += len(data)
                if discarded > 16 << 20:
                    return
        except OSError:
            return
        except DeadlineExceeded:
            self._manager.stats.downstream_cx_delayed_close_timeout.value += 1
            self._connection.local_close_reason = DELAYED_CLOSE
        finally:
            strand.deadline = 0.0
