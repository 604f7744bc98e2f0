"""Tunnels over HTTP/1.1: the head of an upgrade or a CONNECT, the answer to it, and bytes behind both.

Functions of :class:`sidecar.upstream.h1_exchange.H1Exchange`, kept apart since few exchanges need them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.codec.h1_case import proper_case
from sidecar.core.errors import LocalProtocolError
from sidecar.net.h1_stream import UntilCloseBody
from sidecar.upstream.h1_bodies import body_behind_head
from sidecar.upstream.pool import connection_termination

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import Field
    from sidecar.net.reactor import Transport
    from sidecar.upstream.h1_exchange import H1Exchange

__all__ = ["RawBody", "start_tunnel", "tunnel_response"]


class RawBody(Body):
    """The upstream's bytes of a tunnel.  That it closes ends the tunnel as a broken connection does."""

    __slots__ = ("_connection", "_source")

    def __init__(self, connection: H1Exchange) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._connection = connection
        self._source = UntilCloseBody(connection._reader, lambda: None)

    def take_over(self) -> tuple[Transport, bytes]:
        """The connection, and what it has read already, for who carries the bytes past this body."""
        reader = self._connection._reader
        early, reader.rest = reader.rest, b""
        return self._connection._transport, early

    async def receive(self) -> bytes:
        try:
            data = await self._source.receive()
        except OSError as error:
            raise connection_termination() from error
        if not data:
            raise connection_termination()
        return data


def start_tunnel(connection: H1Exchange, request: RequestMessage) -> Awaitable[None] | None:
    """Send the head.  Raises: UpstreamError, LocalProtocolError."""
    headers = request.headers
    fields = headers.fields
    method = headers.method or b"GET"
    is_connect = method == b"CONNECT"
    target = headers.authority if is_connect else headers.path
    head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n\r\n" % (
        method,
        target or b"/",
        headers.authority or b"",
        b"\r\n".join(map(b": ".join, fields)),
    )
    if head.count(b"\n") != len(fields) + 3:
        if fields:
            raise LocalProtocolError("a header of the request contains a line feed")
        head = head.replace(b"\r\n\r\n", b"\r\n", 1)
    if headers.key_case is not None:
        head = headers.key_case.write(head)
    elif connection._pool.http1.proper_case_words:
        head = proper_case(head)
    # Whatever the answer declares, its body is looked at here and not in response().
    connection._is_head = True
    connection._must_close = True
    connection._request_done = False
    connection._is_connect = is_connect
    return connection._send_head(head)


async def tunnel_response(connection: H1Exchange, stream: Stream | None) -> ResponseMessage:
    """The answer: a tunnel's, or a message of its own that refuses it.  Raises: UpstreamError."""
    response = await connection.response(stream)
    connection._response_done = False
    parser = connection._parser
    headers = response.headers
    status = headers.status
    if connection._is_connect:
        if 200 <= status < 300:
            response.body = RawBody(connection)
            return response
    elif parser.upgrade is not None and b"upgrade" in parser.connection_tokens:
        _restore(headers.fields, parser.hop_fields)
        headers._index = None
        if status < 200:
            headers.remove(b"content-length")
        response.body = RawBody(connection)
        return response
    if status < 200 or status in (204, 304):
        return response
    response.body = _own_body(connection)
    return response


def _restore(fields: list[Field], hop_fields: list[tuple[int, Field]] | None) -> None:
    """Put ``connection`` and ``upgrade`` back where they stood."""
    for at, field in reversed(hop_fields or ()):
        fields.insert(at, field)


def _own_body(connection: H1Exchange) -> Body | None:
    """The body of an answer that is no tunnel's."""
    if connection._parser.content_length == 0:
        return None
    body = body_behind_head(connection, lambda: None)
    return FixedBody(body.whole) if body.whole is not None else body
