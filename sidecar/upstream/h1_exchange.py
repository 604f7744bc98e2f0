"""One request and its response over an HTTP/1.1 connection to an upstream.

What is written and read stands here; when a connection is taken, kept and closed is
:mod:`sidecar.upstream.h1_connection`'s.  RFC 9112.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.codec.h1 import find_head_end
from sidecar.codec.h1_beginnings import response_beginning
from sidecar.codec.h1_case import proper_case
from sidecar.codec.h1_encode import LAST_CHUNK, encode_trailers
from sidecar.codec.h1_framing import ANY_LENGTH, announced_length, is_wrong_length, wrong_length
from sidecar.codec.h1_sizes import note_received_head, note_sent_head
from sidecar.core.errors import LocalProtocolError, RemoteProtocolError, UpstreamError
from sidecar.core.headers import Field, HeaderMap, RequestHeaders, ResponseHeaders
from sidecar.net.h1_stream import H1Reader
from sidecar.net.reactor import Transport
from sidecar.upstream import h1_tunnel
from sidecar.upstream.h1_bodies import body_behind_head
from sidecar.upstream.pool import caused, connection_termination, protocol_error

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.api.stream_metadata import StreamMetadata
    from sidecar.api.wire import WireBytes
    from sidecar.upstream.h1_pool import H1Pool

__all__ = ["H1Exchange"]

#: Whole requests up to this size leave with others at the end of the reactor's pass.
_SOON_BYTES = 16 * 1024
#: What is read of a response at once: a head and 64 KiB of body, the largest piece that peers like to send.
#: From 128 KiB on the memory for it would be mapped anew for every read.
_READ_BYTES = 96 * 1024
#: Final responses that end with their head, whatever it says.
_BODILESS = frozenset({101, 204, 304})
#: Without a body these go out without a length too.
_METHODS_WITHOUT_BODY = frozenset({b"GET", b"HEAD", b"DELETE", b"CONNECT", b"TRACE"})
_BROKEN = frozenset({errno.EPIPE, errno.ECONNRESET})


@mypyc_attr(allow_interpreted_subclasses=True)
class H1Exchange:
    """What is on the connection: one exchange after another."""

    __slots__ = (
        "_chunked_request",
        "_is_connect",
        "_is_head",
        "_is_special",
        "_keeps_case",
        "_left",
        "_max_head_bytes",
        "_must_close",
        "_parser",
        "_pool",
        "_reader",
        "_request_done",
        "_response_done",
        "_transport",
        "_wire",
    )

    protocol = "HTTP/1.1"
    #: Trailers are dropped here.
    grpc_status: bytes | None = None

    def __init__(self, pool: H1Pool, transport: Transport) -> None:
        self._pool = pool
        self._transport = transport
        self._reader = H1Reader(transport)
        http1 = pool.http1
        self._max_head_bytes = http1.max_headers_bytes
        self._keeps_case = http1.preserve_case is not None
        #: Whether heads are sent in another form than the common one.
        self._is_special = http1.proper_case_words or http1.send_fully_qualified_url
        self._parser = pool.codec.response_parser(
            http1.max_headers_count, allow_chunked_length=http1.allow_chunked_length
        )
        self._must_close = False
        self._request_done = True
        self._response_done = True
        self._chunked_request = False
        #: Bytes of the request's body that its head has announced and that were not sent yet.
        self._left = ANY_LENGTH
        self._is_head = False
        self._is_connect = False
        #: Where the exchange under way counts what it takes on the wire; mostly None.
        self._wire: WireBytes | None = None

    def measure(self, wire: WireBytes) -> None:
        """Count into ``wire`` what the exchange that begins takes, until the connection is released."""
        self._wire = wire

    def carry(self, metadata: StreamMetadata) -> None:
        """METADATA ends here: HTTP/1 has no place for it."""
        metadata.begin(self)

    def send_metadata(self, _pairs: list[Field]) -> None:
        """Count it."""
        self._pool.cluster.stats.scope.scope("http1").counter("metadata_not_supported_error").value += 1

    # -- the request -------------------------------------------------------------------------------
    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        headers = request.headers
        fields = headers.fields
        method = headers.method or b"GET"
        self._response_done = False
        self._left = ANY_LENGTH
        self._is_head = method == b"HEAD"
        chunked = False
        extra = b""
        index = headers._index
        if index is None:
            index = headers.index()
        if b"transfer-encoding" in index:
            headers.remove(b"transfer-encoding")  # a filter's: how the body is sent is decided here
        length = index.get(b"content-length")
        if request.body is None:
            self._request_done = True
            if length is None:
                if method not in _METHODS_WITHOUT_BODY:
                    extra = b"content-length: 0\r\n"
            elif length != b"0" or len(index) != len(fields):
                is_wrong_length(headers, length, 0)
        else:
            self._request_done = body is not None
            if length is not None:
                if body is None:
                    self._left = announced_length(headers, length)
                    chunked = self._left < 0
                elif length != b"%d" % len(body) or len(index) != len(fields):
                    is_wrong_length(headers, length, len(body))
            else:
                chunked = True
            if chunked:
                extra = b"transfer-encoding: chunked\r\n"
        authority = headers.authority
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n%b\r\n" % (
            method,
            headers.path or b"/",
            authority or b"",
            b"\r\n".join(map(b": ".join, fields)),
            extra,
        )
        if head.count(b"\n") != len(fields) + 3 + (extra != b""):
            if fields:
                raise LocalProtocolError("a header of the request contains a line feed")
            head = head.replace(b"\r\n\r\n", b"\r\n", 1)
        if authority is None:
            # A mutation took it away.
            head = head.replace(b"\r\nhost: \r\n", b"\r\n", 1)
        if headers.key_case is not None or self._is_special:
            head = self._written_otherwise(head, headers)
        if self._wire is not None:
            note_sent_head(self._wire, head)
        if body is not None:
            if chunked:
                head += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            else:
                head += body
        self._chunked_request = chunked
        return self._send_head(head)

    def _send_head(self, head: bytes) -> Awaitable[None] | None:
        size = len(head)
        self._pool.tx_bytes.value += size
        if self._wire is not None:
            self._wire.sent += size
        if size <= _SOON_BYTES and self._request_done:
            self._transport.send_soon(head)
            return None
        try:
            sent = self._transport.send(head)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            # The peer may have answered before it closed: let the response decide.
            if error.errno not in _BROKEN:
                raise caused(connection_termination(), error) from error
            return None
        return None if sent == size else self._finish(memoryview(head)[sent:])

    def _written_otherwise(self, head: bytes, headers: RequestHeaders) -> bytes:
        """``head`` in the case that its names came in or shall have, with the target that is asked for."""
        http1 = self._pool.http1
        if http1.send_fully_qualified_url:
            method, _, rest = head.partition(b" ")
            head = b"%b %b://%b%b" % (method, headers.scheme or b"http", headers.authority or b"", rest)
        if headers.key_case is not None:
            written: bytes = headers.key_case.write(head)
            return written
        return proper_case(head) if http1.proper_case_words else head

    async def _finish(self, rest: memoryview) -> None:
        try:
            await self._transport.finish_send(rest)
        except OSError as error:
            raise caused(connection_termination(), error) from error

    async def send_data(self, data: bytes) -> None:
        if self._chunked_request:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif self._left >= 0:
            self._left -= len(data)
            if self._left < 0:
                raise wrong_length()
        self._pool.tx_bytes.value += len(data)
        if self._wire is not None:
            self._wire.sent += len(data)
        try:
            rest = self._transport.try_send(data)
            if rest is not None:
                await self._transport.finish_send(rest)
        except OSError as error:
            raise caused(connection_termination(), error) from error

    async def send_end(self, trailers: HeaderMap | None) -> None:
        if self._chunked_request:
            # Trailers are dropped towards HTTP/1 unless enable_trailers asks for them, as Envoy does.
            self._chunked_request = False
            if trailers is None or not self._pool.http1.enable_trailers:
                await self.send_data(LAST_CHUNK)
            else:
                await self.send_data(encode_trailers(trailers.fields))
        elif self._left > 0:
            raise wrong_length()
        self._request_done = True

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        """The head of the response, and its body to pull.  Raises: UpstreamError."""
        reader = self._reader
        parser = self._parser
        transport = self._transport
        limit = self._max_head_bytes
        try:
            while True:
                head = b""
                # The common case: one read is the head and all of a small body.
                if reader.rest:
                    head = await reader.head(limit, response_beginning, skips_lines=False)
                else:
                    if transport.ready:
                        transport.ready = False
                    else:
                        await transport
                    try:
                        data = transport.recv(_READ_BYTES)
                    except (BlockingIOError, InterruptedError):
                        continue
                    if len(data) == _READ_BYTES or transport.hangup:
                        transport.ready = True
                    self._pool.rx_bytes.value += len(data)
                    if self._wire is not None:
                        self._wire.received += len(data)
                    if parser._is_dirty:
                        parser.reset()
                    rest = parser.take(data)
                    if rest is not None and len(data) - len(rest) <= limit:
                        reader.rest = rest
                        status = parser.status
                        if status >= 200 or status == 101:
                            break
                        head = data[: len(data) - len(rest)]
                    else:
                        end = find_head_end(data)
                        if 0 < end <= limit:
                            head = data[:end]
                            reader.rest = data[end:]
                        elif data:
                            reader.rest = data
                            head = await reader.head(limit, response_beginning, skips_lines=False)
                if not head:
                    raise connection_termination()
                parser.reset()
                parser.parse(head)
                status = parser.status
                if status >= 200 or status == 101:
                    break
                if self._wire is not None:
                    note_received_head(self._wire, head)
                if parser.content_length > 0 or parser.is_chunked:
                    raise self.break_off()
                if stream is not None:
                    waiting = stream.hcm.router.take_interim(stream, self._message(head, None))
                    if waiting is not None:
                        await waiting
        except RemoteProtocolError as error:
            raise self.break_off() from error
        except OSError as error:
            # A reset inside a head is a broken message, one before it the end of the connection.
            failure = self.break_off() if reader.rest else connection_termination()
            raise caused(failure, error) from error
        if self._wire is not None:
            note_received_head(self._wire, head or data[: len(data) - len(rest)])  # type: ignore[arg-type]
        if parser.close or (parser.minor_version == 0 and not parser.keep_alive_token):
            self._must_close = True
            self._pool.cluster.stats.upstream_cx_close_notify.value += 1
        length = parser.content_length
        body: Body | None = None
        if length > 0 and not self._is_head and status not in _BODILESS:
            rest = reader.rest
            if len(rest) == length:
                reader.rest = b""
                self._response_done = True
                body = FixedBody(rest)
            else:
                body = body_behind_head(self, self._end_response)
        elif self._is_head or status in _BODILESS or length == 0:
            if status != 304 and status in _BODILESS:
                if length > 0 or parser.is_chunked:
                    raise self.break_off()
                if length == 0:
                    # Nothing may be said of the length of a 204 (RFC 9110 §8.6).
                    parser.fields = [field for field in parser.fields if field[0] != b"content-length"]
                    parser.index = None
            if status == 101:
                self._must_close = True  # what follows is not HTTP/1 any more
            self._response_done = True
        else:
            if not parser.is_chunked:
                self._must_close = True
            body = body_behind_head(self, self._end_response)
        if reader.rx_bytes:
            self._take_rx_bytes()
        if self._keeps_case:
            return self._message(head or data[: len(data) - len(rest)], body)  # type: ignore[arg-type]
        headers = ResponseHeaders(status, parser.fields)
        headers._index = parser.index
        return ResponseMessage(headers, body)

    def _message(self, head: bytes, body: Body | None) -> ResponseMessage:
        """The message of the head that was parsed, with the case of its names where that is kept."""
        parser = self._parser
        preserve_case = self._pool.http1.preserve_case
        message = ResponseMessage(ResponseHeaders(parser.status, parser.fields), body)
        if preserve_case is not None:
            message.headers.key_case = preserve_case.read(head)
            message.reason = preserve_case.reason(head)
        message.headers._index = parser.index
        return message

    # -- tunnels -------------------------------------------------------------------------------------
    def start_tunnel(self, request: RequestMessage) -> Awaitable[None] | None:
        """Send the head of an upgrade or a CONNECT."""
        self._response_done = False
        self._chunked_request = False
        return h1_tunnel.start_tunnel(self, request)

    async def tunnel_response(self, stream: Stream | None) -> ResponseMessage:
        """The answer to it.  Raises: UpstreamError."""
        return await h1_tunnel.tunnel_response(self, stream)

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        """The client ended its side; False where that ends the tunnel."""
        return not self._is_connect

    # -- how it goes ---------------------------------------------------------------------------------
    def break_off(self) -> UpstreamError:
        """The error of a response that cannot be read, counted."""
        self._take_rx_bytes()
        self._pool.cluster.stats.upstream_cx_protocol_error.value += 1
        return protocol_error()

    def _take_rx_bytes(self) -> None:
        reader = self._reader
        self._pool.rx_bytes.value += reader.rx_bytes
        if self._wire is not None:
            self._wire.received += reader.rx_bytes
        reader.rx_bytes = 0

    @property
    def is_answered(self) -> bool:
        """Whether all of the response has come."""
        return self._response_done

    def _end_response(self) -> None:
        self._response_done = True
