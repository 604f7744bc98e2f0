"""HTTP/1 messages over a transport: where heads end, where bodies end, and the bytes behind them.

One :class:`H1Reader` serves one connection in one direction.  It owns the bytes that were received and
not yet used, so that a pipelined request is never lost.  What a broken message means (an answer, a
reset) is for the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import Body
from sidecar.codec.h1 import CRLF2, ChunkedDecoder, find_head_end
from sidecar.core.errors import RemoteProtocolError
from sidecar.net.splice import move

if TYPE_CHECKING:
    from sidecar.net.reactor import Transport

__all__ = ["ChunkedBody", "H1Reader", "LengthBody", "UntilCloseBody"]

_SMALL = 65536
_LARGE = 1 << 20
#: A body of which so much is still to come is worth a pipe; its end is read, for what may stand behind it.
_SPLICED_LEAST = 1 << 17
_TAIL = 4096


class H1Reader:
    """Received bytes of one connection, cut into heads and bodies."""

    __slots__ = ("rest", "rx_bytes", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        #: Received, not yet consumed.
        self.rest = b""
        #: Bytes received since the owner last took the number away.
        self.rx_bytes = 0

    async def head(
        self, limit_bytes: int, look: Callable[[bytes], int] | None = None, *, skips_lines: bool = True
    ) -> bytes:
        """The next head with its empty line; ``b""`` when the peer closed before its first byte.

        ``look``: is shown a head that is not whole (:mod:`sidecar.codec.h1_beginnings`).
        ``skips_lines``: empty lines in front of it mean nothing (RFC 9112 §2.2, of requests alone).
        Raises: RemoteProtocolError (431 over ``limit_bytes``; 400 when the peer closes inside a head),
        OSError.  If cancelled: what was received stays in ``rest``.
        """
        data = self.rest
        receive = self.transport.receive
        if not data:
            # The common case: one read is exactly one head.
            data = await receive(_SMALL)
            if not data:
                return b""
            self.rx_bytes += len(data)
            if data[0] > 0x20 and len(data) <= limit_bytes and find_head_end(data) == len(data):
                return data
        while True:
            if data:
                if skips_lines and data[0] in b"\r\n":
                    data = data.lstrip(b"\r\n")
                end = find_head_end(data)
                if 0 <= end <= limit_bytes:
                    if end == len(data):
                        self.rest = b""
                        return data
                    self.rest = data[end:]
                    return data[:end]
                if len(data) > limit_bytes:
                    raise RemoteProtocolError(
                        "headers too large", status=431, details="http1.headers_too_large"
                    )
                self.rest = data
                if data and look is not None and (size := look(data)):
                    self.rest = data[size:]
                    return data[:size]
            chunk = await receive(_SMALL)
            if not chunk:
                if data:
                    raise RemoteProtocolError("connection closed inside a head", status=0)
                return b""
            self.rx_bytes += len(chunk)
            data = data + chunk if data else chunk


class LengthBody(Body):
    """A body of declared length."""

    __slots__ = ("_left", "_on_end", "_reader", "_size")

    def __init__(self, reader: H1Reader, length: int, on_end: Callable[[], None]) -> None:
        self.trailers = None
        self._reader = reader
        self._on_end = on_end
        self._size = _SMALL
        rest = reader.rest
        if len(rest) >= length:
            self.whole = rest[:length]
            reader.rest = rest[length:]
            self._left = 0
            self.ended = True
            on_end()
        else:
            self.whole = None
            self.ended = False
            self._left = length

    async def receive(self) -> bytes:
        if self.whole is not None:
            data, self.whole = self.whole, b""
            return data
        left = self._left
        if not left:
            return b""
        reader = self._reader
        data = reader.rest
        if data:
            # Fewer bytes than the body has: __init__ took the other case, and pipelining starts behind it.
            if len(data) > left:
                reader.rest = data[left:]
                data = data[:left]
            else:
                reader.rest = b""
        else:
            size = self._size
            # One more than is left: a read that comes back full would look as if more had come.
            data = await reader.transport.receive(left + 1 if left <= size else size)
            if not data:
                raise RemoteProtocolError("connection closed inside a body", status=0)
            reader.rx_bytes += len(data)
            if len(data) > left:
                reader.rest = data[left:]
                data = data[:left]
            elif len(data) == size and size < _LARGE:
                self._size = size * 4
        left -= len(data)
        self._left = left
        if not left:
            self.ended = True
            self._on_end()
        return data

    @property
    def can_pass_by(self) -> bool:
        reader = self._reader
        transport = reader.transport
        return self._left >= _SPLICED_LEAST and not reader.rest and transport.ready and transport.is_plain

    async def pass_by(self, target: Transport, most: int, count: Callable[[int], None]) -> None:
        reader = self._reader

        def passed(size: int) -> None:
            self._left -= size
            reader.rx_bytes += size
            count(size)

        transport = reader.transport
        await move(transport, target, min(self._left - _TAIL, most), passed, transport.reactor.pipes)


class ChunkedBody(Body):
    """A chunked body; its trailers are dropped unless ``keep_trailers`` (Envoy's ``enable_trailers``).

    ``make_decoder`` gives a fresh :class:`sidecar.codec.h1_chunks.ChunkedDecoder`, or one of its kind.
    """

    __slots__ = ("_decoder", "_early", "_keep_trailers", "_on_end", "_reader", "_size")

    def __init__(
        self,
        reader: H1Reader,
        on_end: Callable[[], None],
        *,
        keep_trailers: bool = True,
        make_decoder: Callable[[], ChunkedDecoder] = ChunkedDecoder,
    ) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._reader = reader
        self._on_end = on_end
        self._decoder = make_decoder()
        self._early = b""
        self._keep_trailers = keep_trailers
        self._size = _SMALL
        rest = reader.rest
        if rest[-4:] == CRLF2:
            # Likely all of it: decode now, so that a small message can leave in one send.
            try:
                data = self._feed(rest)
            except RemoteProtocolError:
                # Whoever pulls is told.
                self._decoder = make_decoder()
                return
            if self.ended and self.trailers is None:
                self.whole = data
            else:
                self._early = data

    def _feed(self, data: bytes) -> bytes:
        decoder = self._decoder
        payload = decoder.feed(data)
        reader = self._reader
        if decoder.done:
            reader.rest = decoder.rest
            if self._keep_trailers:
                self.trailers = decoder.trailers
            self.ended = True
            self._on_end()
        else:
            reader.rest = b""
        return payload

    async def receive(self) -> bytes:
        if self.whole is not None:
            data, self.whole = self.whole, b""
            return data
        if self._early:
            data, self._early = self._early, b""
            return data
        reader = self._reader
        while not self.ended:
            if self._decoder.error is not None:
                raise self._decoder.error
            data = reader.rest
            if not data:
                size = self._size
                data = await reader.transport.receive(size)
                if not data:
                    raise RemoteProtocolError("connection closed inside a chunked body", status=0)
                reader.rx_bytes += len(data)
                if len(data) == size and size < _LARGE:
                    self._size = size * 4
            payload = self._feed(data)
            if payload:
                return payload
        return b""


class UntilCloseBody(Body):
    """A response body that ends with its connection (RFC 9112 §6.3)."""

    __slots__ = ("_on_end", "_reader", "_size")

    def __init__(self, reader: H1Reader, on_end: Callable[[], None]) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._reader = reader
        self._on_end = on_end
        self._size = _SMALL

    async def receive(self) -> bytes:
        if self.ended:
            return b""
        reader = self._reader
        data = reader.rest
        if data:
            reader.rest = b""
            return data
        size = self._size
        data = await reader.transport.receive(size)
        if data:
            reader.rx_bytes += len(data)
            if len(data) == size and size < _LARGE:
                self._size = size * 4
            return data
        self.ended = True
        self._on_end()
        return b""
