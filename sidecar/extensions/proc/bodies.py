"""Bodies on their way through a processor: whole, a first part, piece by piece, or only watched.

What holds the head back runs in the hook of the filter; the rest where the body is pulled, and in one strand
of its own where pieces are sent while others are answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.api.message import BegunBody, Body, FixedBody, LocalReply, Message
from sidecar.core.errors import StreamAborted
from sidecar.extensions.proc.modes import BUFFERED_PARTIAL, FULL_DUPLEX_STREAMED, STREAMED
from sidecar.extensions.proc.side import BODY, IDLE, PARTIAL_BODY, STREAMED_BODY, Side

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap
    from sidecar.net.reactor import Strand

__all__ = ["FedBody", "LateBody", "ObserveStage", "ReplacedBody", "TrailersStage", "feed", "process_held"]

_TOO_LARGE = {
    "request": LocalReply(413, b"Payload Too Large", "request_payload_too_large"),
    "response": LocalReply(500, b"Internal Server Error", "response_payload_too_large"),
}


# -- held back ----------------------------------------------------------------------------------------
async def process_held(side: Side, message: Message) -> None:
    """Show the body of ``message`` to the processor as a whole, or a first part, while its head waits.

    Raises: StreamAborted, and what reading the body raises.
    """
    body = message.body
    assert body is not None
    data, rest, trailers = await _gathered(side, body)
    data = await _answered(side, data, rest, trailers)
    if rest is None:
        message.body = FixedBody(data, trailers)
    else:
        message.body = BegunBody(data, rest) if data else rest
        if side.sends_trailers:
            message.pipe_body(TrailersStage(side))


async def _gathered(side: Side, body: Body) -> tuple[bytes, Body | None, HeaderMap | None]:
    """The body as far as it is shown; the rest where there is one; the trailers where there is none.

    Raises: StreamAborted where a whole one is wanted that is longer than may be kept.
    """
    stream = side.exchange.stream
    limit = stream.hcm.buffer_limit_bytes
    chunks: list[bytes] = []
    size = 0
    while True:
        data = await body.receive()
        if data:
            chunks.append(data)
            size += len(data)
        if size > limit:
            if side.body_mode == BUFFERED_PARTIAL:
                return b"".join(chunks), None if body.ended else body, body.trailers if body.ended else None
            if side.direction == "request":
                stream.bytes_received += size
                stream.hcm.stats.downstream_rq_too_large.value += 1
            else:
                stream.hcm.stats.rs_too_large.value += 1
            raise StreamAborted(_TOO_LARGE[side.direction], received=size)
        if not data or body.ended:
            return b"".join(chunks), None, body.trailers


async def _answered(side: Side, data: bytes, rest: Body | None, trailers: HeaderMap | None) -> bytes:
    """What the processor makes of it; then of the trailers."""
    exchange = side.exchange
    is_last = rest is None and trailers is None
    if (data or is_last) and exchange.open():
        state = PARTIAL_BODY if side.body_mode == BUFFERED_PARTIAL else BODY
        await exchange.send_body(side, data, state, end_of_stream=is_last)
        await side.answered()
        if side.new_body is not None:
            data, side.new_body = side.new_body, None
    if trailers is not None:
        await process_trailers(side, trailers)
    return data


async def process_trailers(side: Side, trailers: HeaderMap) -> None:
    """Show trailers to the processor, where it wants them.  Raises: StreamAborted."""
    exchange = side.exchange
    if side.sends_trailers and exchange.open():
        side.trailers = trailers
        await exchange.send_trailers(side, trailers)
        await side.answered()


class LateBody(Body):
    """A body that is shown as a whole, or a first part, when it is pulled: its head was not waited for."""

    __slots__ = ("_rest", "_side", "_source")

    def __init__(self, side: Side, source: Body) -> None:
        super().__init__()
        self._side = side
        self._source: Body | None = source
        self._rest: Body | None = None

    async def receive(self) -> bytes:
        source, self._source = self._source, None
        if source is not None:
            data, rest, trailers = await _gathered(self._side, source)
            data = await _answered(self._side, data, rest, trailers)
            self._rest = rest
            if rest is None:
                self.trailers = trailers
                self.ended = True
            if data or rest is None:
                return data
        rest = self._rest
        if rest is None:
            return b""
        data = await rest.receive()
        if not data or rest.ended:
            self.ended = True
            self.trailers = rest.trailers
            if rest.trailers is not None:
                await process_trailers(self._side, rest.trailers)
        return data


class ReplacedBody(Body):
    """The body that a processor gives in place of another, which is read and dropped."""

    __slots__ = ("_data", "_source")

    def __init__(self, data: bytes, source: Body) -> None:
        super().__init__()
        self._data = data
        self._source = source

    async def receive(self) -> bytes:
        data, self._data = self._data, b""
        if data:
            return data
        source = self._source
        while not source.ended and await source.receive():
            pass
        self.trailers = source.trailers
        self.ended = True
        return b""


# -- as it goes -----------------------------------------------------------------------------------------
class TrailersStage:
    """Lets a body pass, and shows its trailers to the processor."""

    __slots__ = ("_side",)

    def __init__(self, side: Side) -> None:
        self._side = side

    def push(self, data: bytes, end_stream: bool) -> bytes:
        return data

    async def end(self, trailers: HeaderMap) -> bytes:
        await process_trailers(self._side, trailers)
        return b""


class ObserveStage:
    """Lets a body pass, and sends a copy of it (``observability_mode``)."""

    __slots__ = ("_ends_apart", "_side")

    def __init__(self, side: Side) -> None:
        self._side = side
        self._ends_apart = _is_http1(side)

    async def push(self, data: bytes, end_stream: bool) -> bytes:
        side = self._side
        exchange = side.exchange
        if side.body_mode == STREAMED and exchange.open():
            for piece, is_last in _pieces(data, end_stream, ends_apart=self._ends_apart):
                await exchange.send_body(side, piece, IDLE, end_of_stream=is_last)
        return data

    async def end(self, trailers: HeaderMap) -> bytes:
        side = self._side
        if side.sends_trailers and side.exchange.open():
            await side.exchange.send_trailers(side, trailers)
        return b""


def _pieces(data: bytes, is_last: bool, *, ends_apart: bool) -> tuple[tuple[bytes, bool], ...]:
    """The messages for a piece: HTTP/1 learns of the end behind the last bytes."""
    if data and is_last and ends_apart:
        return (data, False), (b"", True)
    return ((data, is_last),)


def _is_http1(side: Side) -> bool:
    stream = side.exchange.stream
    if side.direction == "request":
        return stream.protocol.startswith("HTTP/1")
    return stream.upstream_protocol.startswith("HTTP/1") and bool(stream.upstream_first_rx_ns)


def feed(side: Side, message: Message) -> None:
    """Send the body of ``message`` piece by piece, and let what comes back stand in its place."""
    source = message.body
    assert source is not None
    message.body = FedBody(side)

    async def run(_strand: Strand) -> None:
        await _feed(side, source)

    def done(error: BaseException | None) -> None:
        side.feeder = None
        if error is not None:
            side.error = error
            side.out_signal.fire()

    strand = side.exchange.reactor.spawn("ext_proc body", run, on_done=done)
    if not strand.done:
        side.feeder = strand


async def _feed(side: Side, source: Body) -> None:
    exchange = side.exchange
    limit = exchange.stream.hcm.buffer_limit_bytes
    ends_apart = _is_http1(side)
    is_duplex = side.body_mode == FULL_DUPLEX_STREAMED
    while True:
        data = await source.receive()
        is_end = not data or source.ended
        trailers = source.trailers if is_end else None
        is_last = is_end and trailers is None
        if data or is_last:
            for piece, ends in _pieces(data, is_last, ends_apart=ends_apart):
                await _send_piece(side, piece, ends, is_duplex=is_duplex)
        while side.queued > limit or side.out_bytes > limit:
            await side.room.wait()
        if is_end:
            break
    if trailers is not None:
        await _feed_trailers(side, trailers, is_duplex=is_duplex)


async def _send_piece(side: Side, data: bytes, is_last: bool, *, is_duplex: bool) -> None:
    exchange = side.exchange
    side.has_begun_body = True
    if not exchange.open():
        side.pass_on(data, is_last=is_last)
        return
    side.has_fed_all = is_last
    if not is_duplex:
        side.chunks.append((data, is_last))
        side.queued += len(data)
    # Where the head is still waited for, its answer comes first.
    state = side.state if side.state != IDLE else STREAMED_BODY
    await exchange.send_body(side, data, state, end_of_stream=is_last)


async def _feed_trailers(side: Side, trailers: HeaderMap, *, is_duplex: bool) -> None:
    exchange = side.exchange
    side.trailers = trailers
    if not is_duplex:
        while side.state != IDLE and not exchange.is_complete:
            await side.room.wait()
    if side.sends_trailers and exchange.open():
        await exchange.send_trailers(side, trailers)
        while (is_duplex or side.is_pending) and not side.is_over and not exchange.is_complete:
            await side.room.wait()
    side.is_over = True
    side.out_signal.fire()


class FedBody(Body):
    """What comes back of a body that is fed to a processor."""

    __slots__ = ("_side",)

    def __init__(self, side: Side) -> None:
        super().__init__()
        self._side = side

    async def receive(self) -> bytes:
        side = self._side
        while not side.out:
            if side.exchange.reply is not None:
                raise StreamAborted(side.exchange.reply)
            if side.is_over:
                self.ended = True
                self.trailers = side.trailers
                return b""
            if side.error is not None:
                raise side.error
            await side.out_signal.wait()
        return side.take_out()
