"""The half of an HTTP/2 connection that sends, and the state that both halves share.

:class:`H2Sender` queues frames, keeps the windows, gives windows back and knows which streams live;
:class:`~sidecar.codec.h2_connection.H2Connection` adds what is received (RFC 9113).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from sidecar.codec.h2_flood import FrameBudget
from sidecar.codec.h2_hpack import HeaderEncoder
from sidecar.codec.h2_metadata import END_METADATA, METADATA, encode_metadata
from sidecar.codec.h2_stream import H2Run, H2Stream
from sidecar.codec.h2_types import (
    CONNECTION_PREFACE,
    DEFAULT_WINDOW,
    MAX_WINDOW,
    H2ConnectionError,
    H2Settings,
)
from sidecar.core.errors import LocalProtocolError
from sidecar.core.headers import Field

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "MAX_FRAME_SIZE",
    "PADDED",
    "PING",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "H2Sender",
]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

#: What we accept, and what RFC 9113 §6.5.2 starts with.
MAX_FRAME_SIZE = 16384
#: Ids of streams that were reset are kept, at least so many and at most so many of them.  Of our own
#: resets max_concurrent_streams are enough: a peer that has not heard of a reset counts the stream as open.
_REMEMBERED_RESETS = 512
_MOST_REMEMBERED_RESETS = 1 << 16

#: Length and type in one number, flags, stream (RFC 9113 §4.1).
_pack_head = Struct(">IBI").pack
_pack_u32 = Struct(">I").pack
_pack_setting = Struct(">HI").pack


class H2Sender:
    """Frames to send, windows and streams of one connection."""

    __slots__ = (
        "_budget",
        "_client",
        "_connection_batch",
        "_encoder",
        "_failed",
        "_goaway_limit",
        "_goaway_sent",
        "_last_peer_id",
        "_next_id",
        "_out",
        "_owed",
        "_peer_initial_window",
        "_peer_max_frame",
        "_peer_reset_ids",
        "_receive_window",
        "_reset_ids",
        "_reset_ids_limit",
        "_send_window",
        "_settings",
        "_stream_batch",
        "_stream_receive_window",
        "_streams",
        "_unreturned",
        "details",
        "goaway_received",
        "peer_allows_connect",
        "peer_max_concurrent_streams",
        "resets_received",
        "resets_sent",
    )

    def __init__(self, *, client: bool, settings: H2Settings) -> None:
        self._client = client
        self._settings = settings
        self._budget = FrameBudget(settings)
        self._encoder = HeaderEncoder(settings.hpack_table_size, huffman=settings.enable_huffman_encoding)
        self._out: list[bytes | memoryview] = []
        self._failed: H2ConnectionError | None = None
        self._streams: dict[int, H2Stream] = {}
        #: Bytes of ended streams that are not consumed yet: the connection's window still owes them.
        self._owed: dict[int, int] = {}
        #: Streams that we reset: frames that were under way for them are let pass.
        self._reset_ids: dict[int, None] = {}
        self._reset_ids_limit = min(
            max(settings.max_concurrent_streams, _REMEMBERED_RESETS), _MOST_REMEMBERED_RESETS
        )
        #: Streams that the peer reset: what it still sends on them is an error (RFC 9113 §5.1).
        self._peer_reset_ids: dict[int, None] = {}
        self._next_id = 1
        self._last_peer_id = 0
        self._send_window = DEFAULT_WINDOW
        # No window starts smaller than the default: the peer has not seen our settings yet, and the
        # connection's cannot be made smaller at all (RFC 9113 §6.9.2).
        self._receive_window = max(settings.initial_connection_window_size, DEFAULT_WINDOW)
        self._stream_receive_window = max(settings.initial_stream_window_size, DEFAULT_WINDOW)
        #: Windows are given back in batches of this size.
        self._connection_batch = self._receive_window // 2
        self._stream_batch = max(1, settings.initial_stream_window_size // 2)
        self._unreturned = 0
        self._peer_initial_window = DEFAULT_WINDOW
        self._peer_max_frame = MAX_FRAME_SIZE
        self._goaway_sent = False
        self._goaway_limit = MAX_WINDOW
        self.goaway_received = False
        #: SETTINGS_MAX_CONCURRENT_STREAMS of the peer.
        self.peer_max_concurrent_streams = MAX_WINDOW
        #: SETTINGS_ENABLE_CONNECT_PROTOCOL of the peer (RFC 8441).
        self.peer_allows_connect = False
        self.resets_received = 0
        self.resets_sent = 0
        #: Envoy's response code details of the last stream or connection error.
        self.details = ""
        self._send_preface()

    def _send_preface(self) -> None:
        settings = self._settings
        custom = settings.custom_settings
        if self._client:
            self._out.append(CONNECTION_PREFACE)
            custom = ((2, 0), *[each for each in custom if each[0] != 2])
        values = (
            *custom,
            (1, settings.hpack_table_size),
            (8, int(settings.allow_connect)),
            (3, settings.max_concurrent_streams),
            (4, settings.initial_stream_window_size),
        )
        self._frame(SETTINGS, 0, 0, b"".join([_pack_setting(*value) for value in values]))
        if self._receive_window > DEFAULT_WINDOW:
            self._frame(WINDOW_UPDATE, 0, 0, _pack_u32(self._receive_window - DEFAULT_WINDOW))

    # -- what callers ask ---------------------------------------------------------------------
    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` may be called (client)."""
        return (
            not self.goaway_received
            and not self._goaway_sent
            and len(self._streams) < self.peer_max_concurrent_streams
            and self._next_id <= MAX_WINDOW
        )

    @property
    def open_stream_count(self) -> int:
        """Streams that are not closed."""
        return len(self._streams)

    def is_closed(self, stream_id: int) -> bool:
        """Whether nothing can be sent or received on the stream any more (or yet)."""
        return stream_id not in self._streams

    def send_window(self, stream_id: int) -> int:
        """DATA bytes that may be sent on the stream now; 0 too where it is closed."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            return 0
        window = stream.send_window
        if self._send_window < window:
            window = self._send_window
        return window if window > 0 else 0

    # -- sending ------------------------------------------------------------------------------
    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` would give something."""
        return bool(self._out)

    def take_output(self) -> bytes:
        """Everything to be sent now.

        A caller whose socket is full does not take: what piles up meanwhile is bounded by the flood limits
        and, as for DATA, by the caller.
        """
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        self._budget.output_taken()
        return data

    def take_pieces(self) -> list[bytes | memoryview]:
        """The same in pieces, for a caller that sends them with one call and need not join them."""
        pieces, self._out = self._out, []
        self._budget.output_taken()
        return pieces

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes | memoryview) -> None:
        self._out += (_pack_head(len(payload) << 8 | kind, flags, stream_id), payload)

    def send_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        """METADATA on a stream; nothing where the stream is gone, or our settings do not allow any."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed or not self._settings.allow_metadata:
            return
        block = encode_metadata(pairs)
        while len(block) > MAX_FRAME_SIZE:
            self._frame(METADATA, 0, stream_id, block[:MAX_FRAME_SIZE])
            block = block[MAX_FRAME_SIZE:]
        self._frame(METADATA, END_METADATA, stream_id, block)

    def open_stream(self) -> int:
        """A new stream's id (client).  Raises: LocalProtocolError when ``can_open`` is False."""
        stream_id = self._next_id
        streams = self._streams
        if (  # what can_open says, without the call
            not self._client
            or self.goaway_received
            or self._goaway_sent
            or len(streams) >= self.peer_max_concurrent_streams
            or stream_id > MAX_WINDOW
        ):
            raise LocalProtocolError("no stream can be opened on this connection")
        self._next_id = stream_id + 2
        streams[stream_id] = H2Stream(stream_id, self._peer_initial_window, self._stream_receive_window)
        return stream_id

    def _sending(self, stream_id: int) -> H2Stream:
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            raise LocalProtocolError(f"stream {stream_id} cannot send any more")
        return stream

    def send_headers(self, stream_id: int, fields: Sequence[Field], end_stream: bool) -> None:
        """A request (client), a 1xx or final response (server).  Raises: LocalProtocolError."""
        stream = self._sending(stream_id)
        if self._client:
            stream.is_head = (b":method", b"HEAD") in fields[:5]
        block = self._encoder.encode(fields)
        size = len(block)
        flags = END_STREAM if end_stream else 0
        if size <= self._peer_max_frame:
            self._out += (_pack_head(size << 8 | HEADERS, flags | END_HEADERS, stream_id), block)
        else:
            self._send_encoded(stream, block, flags)
        if end_stream:
            stream.local_closed = True
            if stream.remote_closed:
                self._finish(stream)

    def send_whole(self, stream_id: int, fields: tuple[Field, ...], data: bytes) -> bool:
        """A head and all of its body, where that fits into one frame and the windows now; else False.

        Raises: LocalProtocolError.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            raise LocalProtocolError(f"stream {stream_id} cannot send any more")
        size = len(data)
        limit = self._peer_max_frame
        window = stream.send_window - size
        whole_window = self._send_window - size
        if window < 0 or whole_window < 0 or size > limit or not size:
            return False
        if self._client:
            stream.is_head = (b":method", b"HEAD") in fields[:5]
        block = self._encoder.encode(fields)
        length = len(block)
        if length > limit:
            self._send_encoded(stream, block, 0)
            self._frame(DATA, END_STREAM, stream_id, data)
        else:
            self._out += (
                _pack_head(length << 8 | HEADERS, END_HEADERS, stream_id),
                block,
                _pack_head(size << 8 | DATA, END_STREAM, stream_id),
                data,
            )
        self._send_window = whole_window
        self._budget.data_frames_sent += 1
        stream.send_window = window
        stream.local_closed = True
        if stream.remote_closed:
            del self._streams[stream_id]
            if stream.unconsumed:
                self._owed[stream_id] = stream.unconsumed
        return True

    def send_trailers(self, stream_id: int, fields: list[Field]) -> None:
        """Trailers; ends our half.  Raises: LocalProtocolError."""
        stream = self._sending(stream_id)
        self._send_encoded(stream, self._encoder.encode(fields), END_STREAM)
        stream.local_closed = True
        if stream.remote_closed:
            self._finish(stream)

    def _send_encoded(self, stream: H2Stream, block: bytes, flags: int) -> None:
        size = len(block)
        limit = self._peer_max_frame
        if size <= limit:
            self._out += (_pack_head(size << 8 | HEADERS, flags | END_HEADERS, stream.id), block)
        else:
            self._frame(HEADERS, flags, stream.id, block[:limit])
            for at in range(limit, size, limit):
                last = END_HEADERS if at + limit >= size else 0
                self._frame(CONTINUATION, last, stream.id, block[at : at + limit])

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """DATA, no more of it than ``send_window`` allows.  Raises: LocalProtocolError."""
        stream = self._sending(stream_id)
        size = len(data)
        if size:
            if size > stream.send_window or size > self._send_window:
                raise LocalProtocolError(f"{size} bytes of DATA do not fit into the window")
            stream.send_window -= size
            self._send_window -= size
        elif not end_stream:
            return
        limit = self._peer_max_frame
        flags = END_STREAM if end_stream else 0
        if size <= limit:
            self._budget.data_frames_sent += 1
            self._out += (_pack_head(size << 8 | DATA, flags, stream_id), data)
        else:
            self._budget.data_frames_sent += (size + limit - 1) // limit
            for at in range(0, size, limit):
                self._frame(DATA, flags if at + limit >= size else 0, stream_id, data[at : at + limit])
        if end_stream:
            stream.local_closed = True
            if stream.remote_closed:
                self._finish(stream)

    def send_chunks(
        self, stream_id: int, chunks: list[bytes | memoryview], size: int, end_stream: bool
    ) -> None:
        """Chunks of a body, ``size`` bytes and none longer than 16 KiB, in few DATA frames and uncopied.

        Raises: LocalProtocolError.
        """
        stream = self._sending(stream_id)
        if size > stream.send_window or size > self._send_window:
            raise LocalProtocolError(f"{size} bytes of DATA do not fit into the window")
        stream.send_window -= size
        self._send_window -= size
        out = self._out
        limit = self._peer_max_frame
        head = 0
        length = 0
        frames = 0
        for chunk in chunks:
            more = len(chunk)
            if not frames or length + more > limit:
                if frames:
                    out[head] = _pack_head(length << 8 | DATA, 0, stream_id)
                frames += 1
                head = len(out)
                out.append(b"")
                length = 0
            out.append(chunk)
            length += more
        out[head] = _pack_head(length << 8 | DATA, END_STREAM if end_stream else 0, stream_id)
        self._budget.data_frames_sent += frames
        if end_stream:
            stream.local_closed = True
            if stream.remote_closed:
                self._finish(stream)

    def send_run(self, stream_id: int, run: H2Run, count: int, end_stream: bool) -> None:
        """The first ``count`` frames of a run, as many in a frame as fit into it, and uncopied.

        They are taken from ``run``.  Raises: LocalProtocolError.
        """
        stream = self._sending(stream_id)
        each = run.each
        size = each * count
        if size > stream.send_window or size > self._send_window:
            raise LocalProtocolError(f"{size} bytes of DATA do not fit into the window")
        stream.send_window -= size
        self._send_window -= size
        together = self._peer_max_frame // each
        whole, last = divmod(count, together)
        if end_stream and not last:
            whole -= 1
            last = together
        out = self._out
        if whole:
            head = _pack_head(together * each << 8 | DATA, 0, stream_id)
            for _ in range(whole):
                out.append(head)
                out += run.first(together)
                run.drop(together)
        if last:
            out.append(_pack_head(last * each << 8 | DATA, END_STREAM if end_stream else 0, stream_id))
            out += run.first(last)
            run.drop(last)
            whole += 1
        self._budget.data_frames_sent += whole
        if end_stream:
            stream.local_closed = True
            if stream.remote_closed:
                self._finish(stream)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """End the stream with RST_STREAM; does nothing where it is closed."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and self._failed is None:
            self._forget_reset(stream)
            self._frame(RST_STREAM, 0, stream_id, _pack_u32(error_code))
            self._budget.control_frames += 1
            self.resets_sent += 1

    def reset_ended(self, stream_id: int, error_code: int) -> None:
        """RST_STREAM for a stream that the peer has ended, too: it crossed the end of what nobody wants."""
        if self._failed is None:
            self._frame(RST_STREAM, 0, stream_id, _pack_u32(error_code))
            self._budget.control_frames += 1
            self.resets_sent += 1

    def goaway(self, error_code: int, *, notice: bool = False) -> None:
        """Tell the peer to open no more streams; after a ``notice`` new ones are still served."""
        if self._failed is not None:
            return
        if notice:
            last = MAX_WINDOW
        else:
            self._goaway_sent = True
            last = self._goaway_limit = min(self._goaway_limit, self._last_peer_id)
        self._frame(GOAWAY, 0, 0, _pack_u32(last) + _pack_u32(error_code))

    def ping(self, opaque: bytes) -> None:
        """Send PING with eight bytes; its answer only shows that the connection lives."""
        self._frame(PING, 0, 0, opaque)

    def consume(self, stream_id: int, flow_bytes: int) -> None:
        """Give back window for received bytes; sent in batches of half a window."""
        stream = self._streams.get(stream_id)
        if stream is None:
            owed = self._owed.get(stream_id, 0)
            if flow_bytes < owed:
                self._owed[stream_id] = owed - flow_bytes
            else:
                self._owed.pop(stream_id, None)
                flow_bytes = owed
        else:
            if flow_bytes > stream.unconsumed:
                flow_bytes = stream.unconsumed
            stream.unconsumed -= flow_bytes
            stream.unreturned += flow_bytes
            if stream.unreturned >= self._stream_batch and not stream.remote_closed:
                self._frame(WINDOW_UPDATE, 0, stream_id, _pack_u32(stream.unreturned))
                stream.receive_window += stream.unreturned
                stream.unreturned = 0
        self._return_window(flow_bytes)

    def _return_window(self, size: int) -> None:
        unreturned = self._unreturned + size
        if unreturned >= self._connection_batch:
            self._frame(WINDOW_UPDATE, 0, 0, _pack_u32(unreturned))
            self._receive_window += unreturned
            unreturned = 0
        self._unreturned = unreturned

    # -- stream life --------------------------------------------------------------------------
    def _finish(self, stream: H2Stream) -> None:
        """Both halves ended."""
        del self._streams[stream.id]
        if stream.unconsumed:
            self._owed[stream.id] = stream.unconsumed

    def _forget_reset(self, stream: H2Stream) -> None:
        """A stream that was taken out of the table is reset from here."""
        self._remember_reset(stream.id)
        if stream.unconsumed:
            self._return_window(stream.unconsumed)

    def _remember_reset(self, stream_id: int) -> None:
        resets = self._reset_ids
        resets[stream_id] = None
        if len(resets) > self._reset_ids_limit:
            del resets[next(iter(resets))]

    def _remember_peer_reset(self, stream_id: int) -> None:
        resets = self._peer_reset_ids
        resets[stream_id] = None
        if len(resets) > _REMEMBERED_RESETS:
            del resets[next(iter(resets))]
