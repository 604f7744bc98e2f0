"""Response bodies over HTTP/1.1: how the bytes behind a head are read, and what a break in them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import Body
from sidecar.core.errors import RemoteProtocolError
from sidecar.net.h1_stream import ChunkedBody, LengthBody, UntilCloseBody

if TYPE_CHECKING:
    from sidecar.net.reactor import Transport
    from sidecar.upstream.h1_exchange import H1Exchange

__all__ = ["body_behind_head"]


class _UpstreamBody(Body):
    """A response body whose failures are UpstreamErrors."""

    __slots__ = ("_exchange", "_source")

    def __init__(self, source: Body, exchange: H1Exchange) -> None:
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        self._source = source
        self._exchange = exchange

    async def receive(self) -> bytes:
        source = self._source
        try:
            data = await source.receive()
        except (RemoteProtocolError, OSError) as error:
            raise self._exchange.break_off() from error
        self.whole = source.whole
        self.ended = source.ended
        self.trailers = source.trailers
        return data

    @property
    def can_pass_by(self) -> bool:
        return self._source.can_pass_by

    async def pass_by(self, target: Transport, most: int, count: Callable[[int], None]) -> None:
        try:
            await self._source.pass_by(target, most, count)
        except OSError as error:
            raise self._exchange.break_off() from error


def body_behind_head(exchange: H1Exchange, on_end: Callable[[], None]) -> Body:
    """The body that the head which was just parsed declares; ``on_end`` is called behind its last byte.

    Raises: UpstreamError.
    """
    parser = exchange._parser
    reader = exchange._reader
    body: Body
    if parser.content_length > 0:
        body = LengthBody(reader, parser.content_length, on_end)
    elif parser.is_chunked:
        pool = exchange._pool
        body = ChunkedBody(
            reader,
            on_end,
            keep_trailers=pool.http1.enable_trailers,
            make_decoder=pool.make_chunked_decoder,
        )
    else:
        body = UntilCloseBody(reader, on_end)
    return body if body.whole is not None else _UpstreamBody(body, exchange)
