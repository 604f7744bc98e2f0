"""HTTP/1.1 connections to one host: a stack of idle ones, a queue of those who wait.

A connection carries one request at a time.  Idle connections are taken last-in first-out, and the reactor
notices when one is closed, so that the next request does not have to.  Connecting is the pool's business:
the requests wait in a queue, the oldest gets the first connection, and all are told when connecting fails
(Envoy's ``ConnPoolImplBase``).
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import types
from collections import deque
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Flag
from sidecar.codec.h1 import find_head_end
from sidecar.codec.h1_case import proper_case
from sidecar.codec.h1_choice import LLHTTP, H1Codec
from sidecar.codec.h1_chunks import ChunkedDecoder
from sidecar.codec.h1_encode import LAST_CHUNK, encode_trailers
from sidecar.codec.h1_stats import declare_h1_stats
from sidecar.core.address import Address
from sidecar.core.errors import DeadlineExceeded, LocalProtocolError, RemoteProtocolError, UpstreamError
from sidecar.core.headers import HeaderMap, KeyedResponseHeaders, RequestHeaders, ResponseHeaders
from sidecar.net.h1_stream import ChunkedBody, H1Reader, LengthBody, UntilCloseBody
from sidecar.net.reactor import Reactor, Signal, Strand, Transport
from sidecar.upstream import h1_tunnel
from sidecar.upstream.pool import connect_failure, connect_timeout, connection_termination, protocol_error

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.host import Host

__all__ = ["H1Connection", "H1Pool", "next_connection_id", "open_transport"]

#: Whole requests up to this size leave with others at the end of the reactor's pass.
_SOON_BYTES = 16 * 1024
#: Final responses that end with their head, whatever it says.
_BODILESS = frozenset({101, 204, 304})

next_connection_id = itertools.count(1).__next__


class _UpstreamBody(Body):
    """A response body whose failures are UpstreamErrors."""

    __slots__ = ("_connection", "_source")

    def __init__(self, source: Body, connection: H1Connection) -> None:
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        self._source = source
        self._connection = connection

    async def receive(self) -> bytes:
        source = self._source
        try:
            data = await source.receive()
        except (RemoteProtocolError, OSError) as error:
            raise self._connection.break_off() from error
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        return data


class H1Connection:
    """One upstream connection, and the one exchange on it."""

    __slots__ = (
        "_chunked_request",
        "_is_connect",
        "_is_head",
        "_is_special",
        "_keeps_case",
        "_max_head_bytes",
        "_must_close",
        "_parser",
        "_pool",
        "_reader",
        "_request_done",
        "_response_done",
        "_transport",
        "connection_id",
        "idle_since",
        "local_address",
        "requests",
        "start_s",
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
        self._is_head = False
        self._is_connect = False
        self.connection_id = next_connection_id()
        self.local_address = Address.from_sockaddr(transport.sock.family, transport.sock.getsockname()).text
        self.requests = 0
        self.start_s = pool.reactor.clock()
        self.idle_since = 0.0

    # -- the exchange ------------------------------------------------------------------------------
    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        headers = request.headers
        fields = headers.fields
        method = headers.method or b"GET"
        self._response_done = False
        self._is_head = method == b"HEAD"
        chunked = False
        extra = b""
        if request.body is None:
            self._request_done = True
            if method not in _METHODS_WITHOUT_BODY and headers.get(b"content-length") is None:
                extra = b"content-length: 0\r\n"
        else:
            self._request_done = body is not None
            if headers.get(b"content-length") is None:
                chunked = True
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
                raise connection_termination() from error
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
            raise connection_termination() from error

    async def send_data(self, data: bytes) -> None:
        if self._chunked_request:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._pool.tx_bytes.value += len(data)
        try:
            rest = self._transport.try_send(data)
            if rest is not None:
                await self._transport.finish_send(rest)
        except OSError as error:
            raise connection_termination() from error

    async def send_end(self, trailers: HeaderMap | None) -> None:
        if self._chunked_request:
            # Trailers are dropped towards HTTP/1 unless enable_trailers asks for them, as Envoy does.
            self._chunked_request = False
            if trailers is None or not self._pool.http1.enable_trailers:
                await self.send_data(LAST_CHUNK)
            else:
                await self.send_data(encode_trailers(trailers.fields))
        self._request_done = True

    @types.coroutine
    def response(self, stream: Stream | None = None) -> Generator[Any, Any, ResponseMessage]:
        # A generator that waits by itself: each coroutine between the reactor and the wait costs 0.4 µs.
        reader = self._reader
        parser = self._parser
        transport = self._transport
        limit = self._max_head_bytes
        try:
            while True:
                head = b""
                # The common case: one read is the head and all of a small body.
                if reader.rest:
                    head = yield from reader.head(limit, skips_lines=False).__await__()
                else:
                    if transport.ready:
                        transport.ready = False
                    else:
                        yield transport
                    try:
                        data = transport.recv(65536)
                    except (BlockingIOError, InterruptedError):
                        continue
                    if len(data) == 65536 or transport.hangup:
                        transport.ready = True
                    self._pool.rx_bytes.value += len(data)
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
                            head = yield from reader.head(limit, skips_lines=False).__await__()
                if not head:
                    raise connection_termination()
                parser.reset()
                parser.parse(head)
                status = parser.status
                if status >= 200 or status == 101:
                    break
                if parser.content_length > 0 or parser.is_chunked:
                    raise self.break_off()
                if stream is not None:
                    waiting = stream.hcm.router.take_interim(stream, self._message(head, None))
                    if waiting is not None:
                        yield from waiting.__await__()
        except RemoteProtocolError as error:
            raise self.break_off() from error
        except OSError as error:
            # A reset inside a head is a broken message, one before it the end of the connection.
            raise (self.break_off() if reader.rest else connection_termination()) from error
        if parser.close or (parser.minor_version == 0 and not parser.keep_alive_token):
            self._must_close = True
        length = parser.content_length
        body: Body | None = None
        if length > 0 and not self._is_head and status not in _BODILESS:
            rest = reader.rest
            if len(rest) == length:
                reader.rest = b""
                self._response_done = True
                body = FixedBody(rest)
            else:
                body = LengthBody(reader, length, self._end_response)
                if body.whole is None:
                    body = _UpstreamBody(body, self)
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
        elif parser.is_chunked:
            pool = self._pool
            body = ChunkedBody(
                reader,
                self._end_response,
                keep_trailers=pool.http1.enable_trailers,
                make_decoder=pool.make_chunked_decoder,
            )
            if body.whole is None:
                body = _UpstreamBody(body, self)
        else:
            self._must_close = True
            body = _UpstreamBody(UntilCloseBody(reader, self._end_response), self)
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
        if preserve_case is None:
            message = ResponseMessage(ResponseHeaders(parser.status, parser.fields), body)
        else:
            message = ResponseMessage(KeyedResponseHeaders(parser.status, parser.fields), body)
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

    async def tunnel_response(self, stream: Stream) -> ResponseMessage:
        """The answer to it.  Raises: UpstreamError."""
        return await h1_tunnel.tunnel_response(self, stream)

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        """The client ended its side; False where that ends the tunnel."""
        return not self._is_connect

    def break_off(self) -> UpstreamError:
        """The error of a response that cannot be read, counted."""
        self._take_rx_bytes()
        self._pool.cluster.stats.upstream_cx_protocol_error.value += 1
        return protocol_error()

    def _take_rx_bytes(self) -> None:
        reader = self._reader
        self._pool.rx_bytes.value += reader.rx_bytes
        reader.rx_bytes = 0

    @property
    def is_answered(self) -> bool:
        """Whether all of the response has come."""
        return self._response_done

    def _end_response(self) -> None:
        self._response_done = True

    def release(self) -> None:
        reader = self._reader
        if reader.rx_bytes:
            self._take_rx_bytes()
        if (
            self._response_done
            and self._request_done
            and not self._must_close
            and not reader.rest
            and not self._transport.queued
        ):
            self._pool.put_idle(self)
        else:
            # Towards CONNECT a connection may be half closed: then it is ours to close.
            local = self._is_connect or not self._transport.hangup
            self.close(local=local, active=not self._response_done)

    def reset(self) -> None:
        self.close(local=True, active=True)

    # -- its life ------------------------------------------------------------------------------------
    def is_quiet(self) -> bool:
        """Whether nothing was received behind the last response; asked when a read may give something."""
        transport = self._transport
        try:
            transport.recv(1)
        except (BlockingIOError, InterruptedError):
            transport.ready = False
            return True
        except OSError:
            return False
        return False

    def _on_idle_event(self) -> None:
        self._pool.drop_idle(self)
        self.close(local=False, active=False)

    def close(self, *, local: bool, active: bool) -> None:
        """Close the connection; ``local`` says who ended it, ``active`` whether a request was on it."""
        if self._transport.is_closed:
            return
        self._transport.on_idle_event = None
        self._transport.close()
        self._pool.on_closed(self, local=local, active=active)


#: Without a body these go out without a length too.
_METHODS_WITHOUT_BODY = frozenset({b"GET", b"HEAD", b"DELETE", b"CONNECT", b"TRACE"})
_BROKEN = frozenset({errno.EPIPE, errno.ECONNRESET})


async def open_transport(reactor: Reactor, host: Host, strand: Strand, timeout_s: float) -> Transport:
    """Connect to ``host``, trying its further addresses in order.

    Raises: UpstreamError.  ``strand`` carries the deadline.
    """
    last: UpstreamError | None = None
    strand.deadline = reactor.clock() + timeout_s if timeout_s else 0.0
    for address in host.addresses:
        try:
            sock = socket.socket(
                address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:  # no descriptor is left
            last = connect_failure(error.strerror or "", remote=False)
            continue
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            last = connect_failure(os.strerror(code), remote=code == errno.ECONNREFUSED)
            continue
        transport = Transport(sock, reactor)
        try:
            await transport.writable()
        except DeadlineExceeded:
            transport.close()
            raise connect_timeout() from None
        except BaseException:
            transport.close()
            raise
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            transport.close()
            last = connect_failure(f"delayed connect error: {os.strerror(code)}")
            continue
        strand.deadline = 0.0
        # What edges said meanwhile stays: a server may speak, or leave, at once, and no edge comes twice.
        return transport
    strand.deadline = 0.0
    raise last or connect_failure("the host has no address", remote=False)


class _Waiter:
    __slots__ = ("connection", "error", "signal")

    def __init__(self, reactor: Reactor) -> None:
        self.signal = Signal(reactor)
        self.connection: H1Connection | None = None
        self.error: UpstreamError | None = None


class H1Pool:
    """All HTTP/1.1 connections of this process to one host."""

    __slots__ = (
        "_all",
        "_connecting",
        "_idle",
        "_pending",
        "cluster",
        "codec",
        "host",
        "http1",
        "is_draining",
        "max_requests",
        "reactor",
        "rx_bytes",
        "tx_bytes",
    )

    #: Whether HTTP is spoken, or bytes are carried (:mod:`sidecar.upstream.tcp_pool`).
    is_http = True

    def __init__(self, reactor: Reactor, cluster: Cluster, host: Host, *, codec: H1Codec = LLHTTP) -> None:
        self.reactor = reactor
        self.cluster = cluster
        self.host = host
        self.codec = codec
        self.http1 = cluster.config.http1
        declare_h1_stats(cluster.stats.scope)
        self._idle: list[H1Connection] = []
        self._all: set[H1Connection] = set()
        self._pending: deque[_Waiter] = deque()
        self._connecting = 0
        self.max_requests = cluster.max_requests_per_connection
        self.is_draining = False
        self.rx_bytes = cluster.stats.upstream_cx_rx_bytes_total
        self.tx_bytes = cluster.stats.upstream_cx_tx_bytes_total

    def make_chunked_decoder(self) -> ChunkedDecoder:
        """A decoder for one chunked response body.  Trailers that are kept are counted."""
        http1 = self.http1
        return self.codec.chunked_decoder(
            http1.max_headers_bytes, http1.max_headers_count if http1.enable_trailers else 0
        )

    def acquire(self) -> H1Connection | None:
        """An idle connection, or None: then ``wait``."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection._transport.hangup:
                connection._transport.on_idle_event = None
                connection.requests += 1
                return connection
            connection.close(local=False, active=False)
        return None

    async def wait(self) -> H1Connection:
        """Queue for a connection, opening one more if the limits allow.

        Raises: UpstreamError.  If cancelled: the place in the queue is given up.
        """
        cluster = self.cluster
        stats = cluster.stats
        limits = cluster.config.default_limits
        if stats.upstream_rq_pending_active.value >= limits.max_pending_requests:
            stats.upstream_rq_pending_overflow.value += 1
            raise UpstreamError("overflow", flag=Flag.UPSTREAM_OVERFLOW, details="overflow")
        stats.upstream_rq_pending_total.value += 1
        stats.upstream_rq_pending_active.inc()
        self.host.rq_pending_active += 1
        waiter = _Waiter(self.reactor)
        self._pending.append(waiter)
        try:
            if self._connecting < len(self._pending):
                self._connect()
            if waiter.connection is None and waiter.error is None:
                await waiter.signal.wait()
        except BaseException:
            if waiter.connection is not None:
                self.put_idle(waiter.connection)
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
        connection = waiter.connection
        assert connection is not None
        connection.requests += 1
        return connection

    def _connect(self) -> None:
        stats = self.cluster.stats
        if stats.upstream_cx_active.value >= self.cluster.config.default_limits.max_connections:
            stats.upstream_cx_overflow.value += 1
            if self._all or self._connecting:
                return  # the request waits for a connection to come free
        self._connecting += 1
        host = self.host
        stats.upstream_cx_total.value += 1
        if self.is_http:
            stats.upstream_cx_http1_total.value += 1
        stats.upstream_cx_active.inc()
        host.cx_total += 1
        host.cx_active += 1
        self.reactor.spawn(f"connect to {host.address}", self._connect_strand)

    async def _connect_strand(self, strand: Strand) -> None:
        cluster = self.cluster
        stats = cluster.stats
        started = self.reactor.clock()
        try:
            transport = await open_transport(self.reactor, self.host, strand, cluster.connect_timeout_s)
        except UpstreamError as error:
            self._connecting -= 1
            stats.upstream_cx_connect_fail.value += 1
            if error.details == "connection timeout":
                stats.upstream_cx_connect_timeout.value += 1
            self.host.cx_connect_fail += 1
            self._count_closed(local=error.details == "connection timeout", active=False, started=started)
            self._fail_pending(error)
            return
        except BaseException as broken:
            self._connecting -= 1
            self._count_closed(local=True, active=False, started=started)
            self._fail_pending(connect_failure(str(broken), remote=False))
            raise
        self._connecting -= 1
        stats.upstream_cx_connect_ms.record(int((self.reactor.clock() - started) * 1000))
        connection = self.make_connection(transport)
        self._all.add(connection)
        if self._pending:
            # Even where the server has left already: its request is to see that, not to connect again.
            waiter = self._pending.popleft()
            waiter.connection = connection
            waiter.signal.fire()
        else:
            self.put_idle(connection)

    def _fail_pending(self, error: UpstreamError) -> None:
        """Nobody connects for those who wait: tell them."""
        waiters, self._pending = self._pending, deque()
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiters)
        for waiter in waiters:
            waiter.error = error
            waiter.signal.fire()

    def make_connection(self, transport: Transport) -> H1Connection:
        """What serves requests on a transport that is connected."""
        return H1Connection(self, transport)

    def put_idle(self, connection: H1Connection) -> None:
        """Give the connection to the oldest waiter, or keep it for the next request."""
        transport = connection._transport
        if transport.hangup or (transport.ready and not connection.is_quiet()):
            connection.close(local=not transport.hangup, active=False)
        elif self.max_requests and connection.requests >= self.max_requests:
            self.cluster.stats.upstream_cx_max_requests.value += 1
            connection.close(local=True, active=False)
        elif self._pending:
            waiter = self._pending.popleft()
            waiter.connection = connection
            waiter.signal.fire()
            return
        elif self.is_draining:
            connection.close(local=True, active=False)
        else:
            transport.on_idle_event = connection._on_idle_event
            connection.idle_since = self.reactor.clock() if self.cluster.idle_timeout_s < 60 else 0.0
            self._idle.append(connection)
            return
        if self._pending and self._connecting < len(self._pending):
            self._connect()

    def drop_idle(self, connection: H1Connection) -> None:
        """Forget an idle connection that is about to be closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def on_closed(self, connection: H1Connection, *, local: bool, active: bool) -> None:
        """Count the end of a connection; open another when requests wait."""
        self._all.discard(connection)
        self.cluster.stats.upstream_rq_per_cx.record(connection.requests)
        self._count_closed(local=local, active=active, started=connection.start_s)
        if self._pending and self._connecting < len(self._pending):
            self._connect()

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
        for connection in list(self._idle):
            if not connection.idle_since:
                connection.idle_since = now
            elif now - connection.idle_since > timeout:
                self._idle.remove(connection)
                self.cluster.stats.upstream_cx_idle_timeout.value += 1
                connection.close(local=True, active=False)

    def sweep_aged(self, now: float) -> None:
        """Let connections end that are older than the cluster's ``max_connection_duration``."""
        oldest = now - self.cluster.max_connection_duration_s
        for connection in [each for each in self._all if each.start_s < oldest and not each._must_close]:
            self.cluster.stats.upstream_cx_max_duration_reached.value += 1
            connection._must_close = True
            if connection in self._idle:
                self._idle.remove(connection)
                connection.close(local=True, active=False)

    def drain(self) -> None:
        """The host fails: let every connection end, the busy ones with their exchange."""
        for connection in list(self._all):
            connection._must_close = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close(local=True, active=False)

    def close(self) -> None:
        """Close what is idle; what is in use closes when its exchange ends."""
        self.is_draining = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close(local=True, active=False)
