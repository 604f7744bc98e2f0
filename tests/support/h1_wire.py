"""HTTP/1 bytes in pieces: a transport that plays them, and what a reader makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from sidecar.api.message import Body, FixedBody
from sidecar.codec.h1_choice import LLHTTP, H1Codec
from sidecar.core.errors import RemoteProtocolError
from sidecar.net.h1_stream import ChunkedBody, H1Reader, LengthBody

__all__ = ["PlayedTransport", "cut", "finish", "framing", "read_requests"]

T = TypeVar("T")

HEAD_LIMIT = 8192


class PlayedTransport:
    """Gives its pieces one by one (never more than asked for), then the end of the stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def receive(self, size: int = 65536) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
            piece = piece[:size]
        return piece


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in pieces, cut at ``places``."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def read_requests(pieces: Iterable[bytes], codec: H1Codec = LLHTTP, **options: bool) -> list[tuple[Any, ...]]:
    """What a server reads: a tuple for each request, and at last how the connection ended."""
    reader = H1Reader(PlayedTransport(pieces))  # type: ignore[arg-type]
    return finish(_read_requests(reader, codec, options))


def framing(parser: Any) -> tuple[Any, ...]:
    """What a head says of the connection and of the body behind it."""
    names = "host content_length is_chunked close keep_alive_token upgrade expect_continue connection_tokens"
    return tuple(getattr(parser, name) for name in names.split())


async def _read_requests(reader: H1Reader, codec: H1Codec, options: dict[str, bool]) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []
    parser = codec.request_parser(**options)
    try:
        while head := await reader.head(HEAD_LIMIT):
            parser.reset()
            parser.parse(head)
            line = (parser.method, parser.raw_target, parser.minor_version)
            seen.append((*line, *framing(parser), tuple(parser.fields)))
            body: Body = FixedBody(b"")
            if parser.content_length > 0:
                body = LengthBody(reader, parser.content_length, _nothing)
            elif parser.is_chunked:
                body = ChunkedBody(reader, _nothing, make_decoder=codec.chunked_decoder)
            payload = b""
            while data := await body.receive():
                payload += data
            assert await body.receive() == b""
            assert body.ended
            seen.append((payload, None if body.trailers is None else tuple(body.trailers.fields)))
    except RemoteProtocolError as error:
        seen.append(("refused", error.status))
    else:
        seen.append(("end",))
    return seen


def _nothing() -> None:
    return
