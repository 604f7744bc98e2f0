"""HTTP/1 bytes in pieces: a transport that plays them, and what a reader makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from sidecar.api.message import Body, FixedBody
from sidecar.codec.h1 import RequestParser
from sidecar.core.errors import RemoteProtocolError
from sidecar.net.h1_stream import ChunkedBody, H1Reader, LengthBody

__all__ = ["PlayedTransport", "cut", "finish", "read_requests"]

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


def read_requests(pieces: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """What a server reads: a tuple for each request, and at last how the connection ended."""
    return finish(_read_requests(H1Reader(PlayedTransport(pieces))))  # type: ignore[arg-type]


async def _read_requests(reader: H1Reader) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []
    parser = RequestParser()
    try:
        while head := await reader.head(HEAD_LIMIT):
            parser.reset()
            parser.parse(head)
            seen.append(
                (parser.method, parser.raw_target, parser.minor_version, parser.host, tuple(parser.fields))
            )
            body: Body = FixedBody(b"")
            if parser.content_length > 0:
                body = LengthBody(reader, parser.content_length, _nothing)
            elif parser.is_chunked:
                body = ChunkedBody(reader, _nothing)
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
