"""Between an HTTP/2 codec and its transport: flushing, waiting for windows, and bodies that are pulled.

Both ends use it: :mod:`sidecar.http.h2_driver` and :mod:`sidecar.upstream.h2_pool`.  What the streams of a
connection write in one pass of the reactor leaves in one send at its end.  Nothing here touches trio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body
from sidecar.codec.h2_stream import H2Run
from sidecar.core.errors import SidecarError, forget_frames
from sidecar.core.headers import Field, HeaderMap
from sidecar.net.reactor import Signal
from sidecar.net.timer import start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.codec.h2_types import H2Codec
    from sidecar.net.reactor import Reactor, Strand, Transport
    from sidecar.observability.stats import Counter

__all__ = ["READ_AHEAD_BYTES", "H2Body", "H2Wire"]

#: Body bytes that may wait for their readers before the connection is read more slowly.
READ_AHEAD_BYTES = 1024 * 1024
#: The longest that a read waits for that.
_PAUSE_S = 0.05

#: Body bytes that may wait for the flush before their writers do.
_QUEUE_LIMIT = 256 * 1024
#: What a writer may always send in its turn, however many wait with it.
_SHARE = 16 * 1024
#: Frames of a body leave as they came from this size on; shorter ones are joined.
_FORWARD_LEAST = 8192
#: So much of bodies is sent in the pieces that it came in: joining them would copy it.
_GATHER_LEAST = 16384
#: The most of them that one call takes.
_MOST_PIECES = 512
#: The most that one ``receive`` of a body gives.
_CHUNK_LIMIT = 256 * 1024


def _behind(pieces: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of ``pieces`` without their first ``sent`` bytes."""
    for at, piece in enumerate(pieces):
        size = len(piece)
        if sent < size:
            rest = pieces[at:]
            if sent:
                rest[0] = memoryview(piece)[sent:]
            return rest
        sent -= size
    return []


def _joined(pieces: Iterable[bytes | memoryview | H2Run]) -> bytes:
    """One after the other."""
    flat: list[bytes | memoryview] = []
    for piece in pieces:
        if isinstance(piece, H2Run):
            flat += piece.first(piece.count)
        else:
            flat.append(piece)
    return b"".join(flat)


class H2Wire:
    """One connection's output."""

    __slots__ = (
        "_limit",
        "_queued",
        "_resume",
        "_writers",
        "codec",
        "is_broken",
        "is_congested",
        "is_scheduled",
        "reactor",
        "transport",
        "tx_bytes",
        "unread",
    )

    def __init__(self, reactor: Reactor, transport: Transport, codec: H2Codec, tx_bytes: Counter) -> None:
        self.reactor = reactor
        self.transport = transport
        self.codec = codec
        self.tx_bytes = tx_bytes
        self.is_scheduled = False
        #: A strand is pushing what the socket did not take.
        self.is_congested = False
        #: Sending failed: nothing will leave any more.
        self.is_broken = False
        self._queued = 0
        #: How much may be queued before writers wait.
        self._limit = min(_QUEUE_LIMIT, transport.limit)
        #: Body bytes that have arrived and that nobody has taken.
        self.unread = 0
        self._resume: Signal | None = None
        #: stream id → the signal of the strand that waits for room; who waits longest comes first.
        self._writers: dict[int, Signal] = {}

    # -- flushing -----------------------------------------------------------------------------
    def flush_later(self) -> None:
        """Send what is queued at the end of this pass."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self.reactor.call_at_flush(self.flush)

    def flush(self) -> None:
        """Send what is queued; what does not fit is sent by a strand, and writers wait for it."""
        self.is_scheduled = False
        if self.is_congested or self.is_broken or self.transport.is_closed:
            return
        if self._queued >= _GATHER_LEAST:
            self._flush_pieces()
            return
        data = self.codec.take_output()
        if not data:
            return
        size = len(data)
        self.tx_bytes.value += size
        try:
            sent = self.transport.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.break_off()
            return
        if sent == size:
            if self._queued:
                self._queued = 0
                if self._writers:
                    self.on_window(0)
            return
        self._push_later([memoryview(data)[sent:]])

    def _flush_pieces(self) -> None:
        """The same with a body in it, which is sent from where it was received to."""
        pieces = self.codec.take_pieces()
        if not pieces:
            return
        size = sum(map(len, pieces))
        self.tx_bytes.value += size
        try:
            rest = self._send_pieces(pieces, size)
        except (BlockingIOError, InterruptedError):
            rest = pieces
        except OSError:
            self.break_off()
            return
        if rest:
            self._push_later(rest)
            return
        self._queued = 0
        if self._writers:
            self.on_window(0)

    def _send_pieces(self, pieces: list[bytes | memoryview], size: int) -> list[bytes | memoryview]:
        """Send what fits of ``size`` bytes; the rest.  Raises: OSError."""
        transport = self.transport
        if len(pieces) > 1:
            # Whatever stands before the socket (TLS, network filters) wants one piece.
            if transport.send == transport.sock.send and len(pieces) <= _MOST_PIECES:
                sent = transport.sock.sendmsg(pieces)
                return [] if sent == size else _behind(pieces, sent)
            pieces[:] = [b"".join(pieces)]
        return _behind(pieces, transport.send(pieces[0]))

    def _push_later(self, pieces: list[bytes | memoryview]) -> None:
        self.is_congested = True
        self.reactor.spawn("HTTP/2 output", lambda _strand: self._push(pieces))

    async def _push(self, pieces: list[bytes | memoryview]) -> None:
        transport = self.transport
        codec = self.codec
        try:
            while True:
                while pieces:
                    await transport.writable()
                    try:
                        pieces = self._send_pieces(pieces, sum(map(len, pieces)))
                    except (BlockingIOError, InterruptedError):
                        continue
                pieces = codec.take_pieces()
                if not pieces:
                    break
                size = sum(map(len, pieces))
                self.tx_bytes.value += size
                try:
                    pieces = self._send_pieces(pieces, size)
                except (BlockingIOError, InterruptedError):
                    continue
        except (OSError, SidecarError):
            self.break_off()
            return
        self.is_congested = False
        self._queued = 0
        self.on_window(0)

    def break_off(self) -> None:
        """The socket takes nothing any more: whoever reads finds out why; writers stop here."""
        self.is_broken = True
        self.on_window(0)

    # -- reading ahead ------------------------------------------------------------------------
    async def let_readers_go_on(self) -> None:
        """Called behind a read that was full: what it brought leaves before the next one.

        A socket that is always full would be read until everything waits here, out of the processor's cache.
        """
        signal = Signal(self.reactor)
        self.reactor.call_at_flush(signal.fire)
        await signal.wait()

    async def wait_for_readers(self, strand: Strand) -> None:
        """Called before a read while ``unread`` is above READ_AHEAD_BYTES: let the readers catch up.

        A window is 16 MiB by default, and a peer that is faster than the reader fills it: here, not in the
        socket.  Where one stream is all that the connection carries, not reading costs nobody else anything.
        Never for long: what the peer says besides (PING, RST_STREAM, new streams) must be heard.
        """
        if self.codec.open_stream_count > 1:
            return
        signal = self._resume = Signal(self.reactor)
        until = self.reactor.clock() + _PAUSE_S
        timer = start_timer(strand, until, signal.fire, "read ahead", is_of_stream=False)
        try:
            await signal.wait()
        finally:
            self._resume = None
            stop_timer(strand, timer)

    def took(self, size: int) -> None:
        """A reader took ``size`` bytes of a body."""
        self.unread -= size
        if self._resume is not None and self.unread <= READ_AHEAD_BYTES // 2:
            self._resume.fire()

    # -- waiting for room ---------------------------------------------------------------------
    def on_window(self, stream_id: int) -> None:
        """Wake who waits for room: one stream's writer, or all for 0."""
        if stream_id:
            signal = self._writers.get(stream_id)
            if signal is not None:
                signal.fire()
        else:
            for signal in self._writers.values():
                signal.fire()

    async def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> bool:
        """Queue DATA as windows and socket allow; False once the stream or connection is gone.

        Where several wait, each sends a share in its turn, so that a large body starves no small one.
        If cancelled: part of it is queued.
        """
        codec = self.codec
        writers = self._writers
        size = len(data)
        at = 0
        signal: Signal | None = None
        try:
            while True:
                if self.is_broken or codec.is_closed(stream_id):
                    return False
                room = codec.send_window(stream_id)
                if not size or (room and self._queued < self._limit and not self.is_congested):
                    # Who sends goes to the end of the line; who finds no room keeps the place in it.
                    writers.pop(stream_id, None)
                    if room > self._limit:
                        room = self._limit
                    if writers and room > _SHARE:
                        room = max(_SHARE, room // (1 + len(writers)))
                    left = size - at
                    if left <= room:
                        codec.send_data(stream_id, data[at:] if at else data, end_stream)
                        self._queued += left
                        self.flush_later()
                        return True
                    codec.send_data(stream_id, data[at : at + room], False)
                    self._queued += room
                    at += room
                    self.flush_later()
                    if not writers:
                        continue
                if signal is None:
                    signal = Signal(self.reactor)
                writers.setdefault(stream_id, signal)
                await signal.wait()
        finally:
            if signal is not None and writers.get(stream_id) is signal:
                del writers[stream_id]

    async def forward(self, stream_id: int, body: H2Body) -> int:
        """Queue chunks that are here of a body as they are, once there is room; how many bytes it was.

        Nothing is copied.  0 where it is left to ``receive`` and ``send_body``.  It waits in the same line as
        ``send_body``, and takes no more at once.
        """
        chunks = body.chunks
        if not chunks:
            return 0
        piece = chunks[0]
        first = piece.each if isinstance(piece, H2Run) else len(piece)
        codec = self.codec
        if first < _FORWARD_LEAST or first > _SHARE:
            return 0
        writers = self._writers
        signal: Signal | None = None
        try:
            while True:
                room = codec.send_window(stream_id)
                if room < first or self.is_broken:
                    return 0
                if self._queued < self._limit and not self.is_congested:
                    break
                if signal is None:
                    signal = Signal(self.reactor)
                writers.setdefault(stream_id, signal)
                await signal.wait()
        finally:
            if signal is not None and writers.get(stream_id) is signal:
                del writers[stream_id]
        if room > self._limit:
            room = self._limit
        if writers and room > _SHARE:
            room = max(_SHARE, room // (1 + len(writers)))
        piece = chunks[0]
        if isinstance(piece, H2Run):
            count = min(piece.count, room // first)
            sent = count * first
            if count == piece.count:
                chunks.popleft()
            is_last = body.is_complete and not chunks and body.trailers is None
            codec.send_run(stream_id, piece, count, is_last)
        else:
            taken: list[bytes | memoryview] = []
            sent = 0
            while not isinstance(piece, H2Run) and _FORWARD_LEAST <= (size := len(piece)) <= room - sent:
                taken.append(piece)
                chunks.popleft()
                sent += size
                if not chunks:
                    break
                piece = chunks[0]
            is_last = body.is_complete and not chunks and body.trailers is None
            codec.send_chunks(stream_id, taken, sent, is_last)
        self._queued += sent
        self.flush_later()
        body.took(sent)
        return sent


class H2Body(Body):
    """A body that arrives on a stream; its window is given back when a chunk is received."""

    __slots__ = ("_error", "_flow_bytes", "_signal", "_stream_id", "_wire", "chunks", "is_complete", "size")

    def __init__(self, wire: H2Wire, stream_id: int) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._wire = wire
        self._stream_id = stream_id
        #: What nobody has taken.
        self.chunks: deque[bytes | memoryview | H2Run] = deque()
        self._flow_bytes = 0
        self._error: SidecarError | None = None
        self._signal: Signal | None = None
        #: Everything has arrived; ``ended`` says that everything was given out.
        self.is_complete = False
        #: Bytes received from the peer so far.
        self.size = 0

    @property
    def early_bytes(self) -> int:
        """What of it is here, and nobody has taken."""
        return sum(map(len, self.chunks))

    # -- the codec's side ---------------------------------------------------------------------
    def push(self, data: bytes | memoryview | H2Run, end_stream: bool, flow_bytes: int) -> None:
        """Take a chunk from the codec."""
        if data:
            size = len(data)
            self.chunks.append(data)
            self.size += size
            self._wire.unread += size
        self._flow_bytes += flow_bytes
        if end_stream:
            self.is_complete = True
        if self._signal is not None:
            self._signal.fire()

    def end(self, trailers: HeaderMap) -> None:
        """The body is over, with trailers."""
        self.trailers = trailers
        self.is_complete = True
        if self._signal is not None:
            self._signal.fire()

    def fail(self, error: SidecarError) -> None:
        """What has arrived can be received, then ``error`` is raised, unless the body had ended."""
        if not self.is_complete and self._error is None:
            self._error = error
            if self._signal is not None:
                self._signal.fire()

    def take_whole(self) -> bytes | None:
        """The entire body if it is here and has no trailers; its window is given back."""
        if not self.is_complete or self.trailers is not None:
            return None
        data = _joined(self.chunks)
        self.discard()
        self.ended = True
        return data

    def take_complete(self, limit: int) -> bytes | None:
        """What nobody has taken, once all of it and the trailers are here; None above ``limit`` bytes."""
        if not self.is_complete or self.trailers is None or self.size > limit:
            return None
        data = _joined(self.chunks)
        self.discard()
        self.ended = True
        return data

    # -- the reader's side --------------------------------------------------------------------
    def _take(self) -> bytes:
        """Some of what is here; ``b""`` where that was nothing for the reader."""
        chunks = self.chunks
        if len(chunks) == 1 and isinstance(chunks[0], bytes):
            data = chunks[0]
            chunks.clear()
        else:
            pieces = []
            size = 0
            while chunks and size < _CHUNK_LIMIT:
                piece = chunks.popleft()
                pieces.append(piece)
                size += len(piece)
            data = _joined(pieces)
        self.took(len(data))
        return data

    def took(self, size: int) -> None:
        """``size`` bytes of ``chunks`` were taken: give back their window."""
        self._wire.took(size)
        if self.chunks:
            # Padding is given back with the last of what is here.
            flow_bytes = min(size, self._flow_bytes)
        else:
            flow_bytes = self._flow_bytes
            self.ended = self.is_complete
        self._flow_bytes -= flow_bytes
        if flow_bytes:
            self._wire.codec.consume(self._stream_id, flow_bytes)
            self._wire.flush_later()

    async def wait(self) -> None:
        """Wait for what ``receive`` would give or raise at once."""
        while not self.chunks and not self.is_complete and self._error is None:
            if self._signal is None:
                self._signal = Signal(self._wire.reactor)
            await self._signal.wait()

    async def receive(self) -> bytes:
        while True:
            if self.chunks:
                data = self._take()
                if data:
                    return data
            elif self.is_complete:
                self.ended = True
                return b""
            elif self._error is not None:
                raise self._error
            else:
                if self._signal is None:
                    self._signal = Signal(self._wire.reactor)
                await self._signal.wait()

    def discard(self) -> None:
        """Nobody will pull any more: give back the window of what is here."""
        if self.chunks:
            self._wire.took(sum(map(len, self.chunks)))
            self.chunks.clear()
        if self._flow_bytes:
            self._wire.codec.consume(self._stream_id, self._flow_bytes)
            self._flow_bytes = 0
            self._wire.flush_later()
        if self._error is not None:
            forget_frames(self._error)


class H2MetadataBody(H2Body):
    """A body with METADATA between its bytes, which is told when it is met."""

    __slots__ = ("tell",)

    def __init__(self, wire: H2Wire, stream_id: int) -> None:
        super().__init__(wire, stream_id)
        #: Takes it; None: nobody does.
        self.tell: Callable[[list[Field]], None] | None = None

    def push_metadata(self, pairs: list[Field]) -> None:
        """Take it from the codec."""
        queue: Any = self.chunks
        queue.append(pairs)
        if self._signal is not None:
            self._signal.fire()

    def _tell(self) -> None:
        """Tell of what stands ahead of the next bytes."""
        queue: Any = self.chunks
        while queue and queue[0].__class__ is list:
            pairs = queue.popleft()
            if self.tell is not None:
                self.tell(pairs)

    def take_whole(self) -> bytes | None:
        return None if self._is_mixed() else super().take_whole()

    def take_complete(self, limit: int) -> bytes | None:
        return None if self._is_mixed() else super().take_complete(limit)

    def _is_mixed(self) -> bool:
        queue: Any = self.chunks
        return any(piece.__class__ is list for piece in queue)

    def _take(self) -> bytes:
        self._tell()
        queue: Any = self.chunks
        pieces: list[bytes | memoryview | H2Run] = []
        while queue and queue[0].__class__ is not list:
            pieces.append(queue.popleft())
        data = _joined(pieces)
        if data:
            self.took(len(data))
        return data

    def discard(self) -> None:
        queue: Any = self.chunks
        pieces = [piece for piece in queue if piece.__class__ is not list]
        queue.clear()
        queue.extend(pieces)
        super().discard()
