"""Raw connections to one host, for tunnels that end at this proxy (``connect_config``).

A connection serves one tunnel and is never used again; connecting, queueing and counting are those of
:class:`sidecar.upstream.connection_pool.ConnectionPool`.  The answer to the client, 200, is made here, as in
Envoy's ``TcpUpstream``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.message import Body, RequestMessage, ResponseMessage
from sidecar.core.headers import ResponseHeaders
from sidecar.net.h1_stream import UntilCloseBody
from sidecar.net.peer_options import PLAIN_OPTIONS
from sidecar.net.reactor import Transport
from sidecar.upstream.h1_connection import H1Connection
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.pool import connection_termination

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["PrefacedPool", "TcpConnection", "TcpPool"]


class _TcpBody(Body):
    """What the upstream sends, to its end of file."""

    __slots__ = ("_source",)

    def __init__(self, source: UntilCloseBody) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._source = source

    async def receive(self) -> bytes:
        try:
            data = await self._source.receive()
        except OSError as error:
            raise connection_termination() from error
        self.ended = self._source.ended
        return data


class TcpConnection(H1Connection):
    """One raw connection, and the tunnel on it."""

    __slots__ = ("preface",)

    protocol = ""

    def __init__(self, pool: H1Pool, transport: Transport) -> None:
        super().__init__(pool, transport)
        #: What goes in front of the tunnel's bytes.
        self.preface = b""

    @property
    def transport(self) -> Transport:
        """The connection's bytes, for who carries them without a tunnel."""
        return self._transport

    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        return self._start(body, end=body is not None or request.body is None)

    def start_tunnel(self, request: RequestMessage) -> Awaitable[None] | None:
        return self._start(None, end=False)

    def _start(self, body: bytes | None, *, end: bool) -> Awaitable[None] | None:
        self._response_done = False
        self._request_done = False
        self._must_close = True
        self._chunked_request = False
        data = self.preface + (body or b"")
        return self._start_with(data, end=end) if data or end else None

    async def _start_with(self, data: bytes, *, end: bool) -> None:
        if data:
            await self.send_data(data)
        if end:
            await self.end_tunnel(None)

    async def send_end(self, trailers: HeaderMap | None) -> None:
        await self.end_tunnel(trailers)

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        try:
            self._transport.half_close()
        except OSError:
            return True  # reading tells
        self._request_done = True
        return True

    async def tunnel_response(self, stream: Stream | None) -> ResponseMessage:
        return self._answer()

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        return self._answer()

    def _answer(self) -> ResponseMessage:
        return ResponseMessage(ResponseHeaders(200), _TcpBody(UntilCloseBody(self._reader, lambda: None)))

    def release(self) -> None:
        self._take_rx_bytes()
        self.reset()


class TcpPool(H1Pool):
    """All raw connections of this process to one host."""

    __slots__ = ()

    is_limited = False
    default_options = PLAIN_OPTIONS

    def count_connection(self) -> None:
        """No protocol is known."""

    def break_off(self) -> None:
        for connection in list(self._all):
            transport = connection._transport
            for strand in (transport.reader, transport.writer):
                if strand is not None:
                    strand.fail(connection_termination())  # its client did not leave
            connection.close(local=True, active=True)

    def make_connection(self, transport: Transport) -> H1Connection:
        return TcpConnection(self, transport)

    def put_idle(self, connection: H1Connection) -> None:
        """Give the connection to the oldest waiter; nobody else will want it."""
        # The upstream may have spoken first, or have left: the tunnel is to see that, its edge is gone.
        connection._transport.ready = True
        if not self.serve(connection):
            connection.close(local=True, active=False)


class PrefacedPool:
    """A pool as one request sees it, whose connection begins with a head (the PROXY protocol's)."""

    __slots__ = ("_pool", "_preface")

    def __init__(self, pool: TcpPool, preface: bytes) -> None:
        self._pool = pool
        self._preface = preface

    def acquire(self) -> None:
        """None: every tunnel waits for a connection of its own."""

    async def wait(self) -> H1Connection:
        """The pool's, with its head.  Raises: UpstreamError."""
        connection = await self._pool.wait()
        assert isinstance(connection, TcpConnection)
        connection.preface = self._preface
        return connection
