"""HTTP/2 framing without I/O (RFC 9113): one connection, client or server.

Bytes go in through ``receive_data`` and come out as calls of an :class:`~sidecar.codec.h2_types.H2Handler`;
what is to be sent collects until ``take_output``.  Flow control, settings, stream states, header validity
and flood accounting are kept here; sockets, timers, queues of bodies and what a stream means are the
callers' (:mod:`sidecar.http.h2_driver`, :mod:`sidecar.upstream.h2_connection`).

A connection error is raised as H2ConnectionError once GOAWAY is queued, where one is due; a stream error
queues RST_STREAM and is told by ``on_reset``.  Which of them an error is follows Envoy: a malformed message
ends the connection (unless ``override_stream_error_on_invalid_http_message``), a body that differs from its
content-length or headers beyond the limits end the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from sidecar.codec.h2_control import H2Control, connection_error, invalid_frame
from sidecar.codec.h2_hpack import CompressionError, HeaderDecoder
from sidecar.codec.h2_metadata import END_METADATA, METADATA, MetadataDecoder
from sidecar.codec.h2_sender import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME_SIZE,
    PADDED,
    PRIORITY_FLAG,
    SETTINGS,
)
from sidecar.codec.h2_stream import H2Run, H2Stream, StreamError
from sidecar.codec.h2_types import (
    CONNECTION_PREFACE,
    MAX_WINDOW,
    ErrorCode,
    H2ConnectionError,
    H2Handler,
    H2Settings,
    KnownFields,
)
from sidecar.codec.header_validity import (
    MESSAGING,
    MalformedMessage,
    check_no_body,
    check_request,
    check_response,
    check_trailers,
    exceeds_limits,
    join_cookies,
    refuse_obs_text,
)
from sidecar.core.errors import forget_frames
from sidecar.core.headers import Field

__all__ = ["H2Connection", "hard_headers_bytes"]

#: Length and type in one number, flags, stream (RFC 9113 §4.1).
_unpack_head = Struct(">IBI").unpack_from
_pack_u32 = Struct(">I").pack
_unpack_u32 = Struct(">I").unpack_from

#: From this length on the payload of DATA is handed on as a view of what was read, without a copy.  It keeps
#: all of the read alive, so that a short one must not.
_VIEW_LEAST = 8192
#: A header list beyond the configured limit costs the stream; beyond this many times it, the connection.
_HARD_HEADERS_FACTOR = 16
_HARD_HEADERS_LEAST = 1 << 20
#: Header blocks up to this length that came twice are kept with what they mean.
_KEPT_BLOCK_LENGTH = 256
_SEEN_BLOCKS = 64
#: ``KnownFields.checked`` of trailers.  A server keeps none: what it knows opens streams.
_TRAILERS = (0, -1)


def hard_headers_bytes(settings: H2Settings) -> int:
    """The size of header block and list that ends the connection."""
    return max(_HARD_HEADERS_LEAST, _HARD_HEADERS_FACTOR * settings.max_headers_bytes)


class H2Connection(H2Control):
    """One connection's framing.  Everything is synchronous; nothing here waits or looks at a clock."""

    __slots__ = (
        "_buffer",
        "_expect_preface",
        "_frame_handlers",
        "_hard_headers_bytes",
        "_header_block",
        "_metadata",
        "_on_run",
        "_on_whole",
        "_recalled",
        "_seen",
    )

    def __init__(self, handler: H2Handler, *, client: bool, settings: H2Settings) -> None:
        limit = hard_headers_bytes(settings)
        decoder = HeaderDecoder(limit, settings.hpack_table_size, settings.max_header_field_bytes)
        super().__init__(handler, decoder, client=client, settings=settings)
        self._hard_headers_bytes = limit
        self._buffer = b""
        self._expect_preface = not client
        #: (stream id, END_STREAM, pieces, size) while CONTINUATION is expected.
        self._header_block: tuple[int, int, list[bytes], int] | None = None
        #: What is said by METADATA on streams that are open.
        self._metadata: dict[int, MetadataDecoder] = {}
        #: Blocks that open a stream of a server without a closer look: ``decoder.known``.
        self._recalled: dict[bytes, KnownFields] = {} if client else decoder.known
        #: What takes a response of one read as one (client).
        self._on_whole: Callable[[int, KnownFields, bytes], None] | None = (
            getattr(handler, "on_whole", None) if client else None
        )
        #: What takes frames of a body that are alike together.
        self._on_run: Callable[[int, H2Run], None] | None = getattr(handler, "on_run", None)
        #: Hashes of blocks that may come again.
        self._seen: set[int] = set()
        # In the order of the frame types (RFC 9113 §6).
        self._frame_handlers: tuple[Callable[[int, int, Any], None], ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_continuation,
        )

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, in any split.

        Raises: H2ConnectionError: send what is queued and close.
        """
        if self._failed is not None:
            raise self._failed
        at = 0
        held = self._buffer
        if held:
            at = self._missing(held, len(data))
            buffer = held + data[:at] if at else held + data
        else:
            buffer = data
        out = self._out
        kept = len(out)
        is_first = self._expect_preface
        try:
            if out:
                # What was queued is still here: the peer does not read.
                self._budget.check_queue(len(out) // 2)
            if self._expect_preface:
                if not CONNECTION_PREFACE.startswith(buffer[:24]):
                    raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "no connection preface")
                if len(buffer) < 24:
                    self._buffer = buffer
                    return
                self._expect_preface = False
                buffer = buffer[24:]
            self._receive_frames(buffer, 0)
            if at:
                self._receive_frames(data, at)
        except H2ConnectionError as error:
            self._failed = error
            self._goaway_sent = True
            self._buffer = b""
            self.details = error.details
            # What this read made us say is not said any more, as in Envoy.  Of our own beginning, where
            # that has not left yet, SETTINGS goes ahead of a GOAWAY, and nothing ahead of silence.
            if is_first:
                kept = 0 if error.is_silent else min(kept, 2)
            del out[kept:]
            if error.is_silent:
                raise
            last = min(self._goaway_limit, self._last_peer_id)
            self._frame(GOAWAY, 0, 0, _pack_u32(last) + _pack_u32(error.h2_code))
            raise

    def let_go(self) -> None:
        """Forget the handler: nothing is received any more.

        The two hold each other; without this a connection that has ended waits for the garbage collector.
        """
        nobody: Any = None
        self._handler = nobody
        self._on_whole = self._on_run = None
        self._frame_handlers = ()
        if self._failed is not None:
            forget_frames(self._failed)

    def _missing(self, held: bytes, size: int) -> int:
        """How much of a long read belongs to the frame that ``held`` begins; 0 to take all of it together.

        Bodies come in frames that no read ends with: what is behind this one need not be copied.
        """
        if size < MAX_FRAME_SIZE or len(held) < 9 or self._expect_preface:
            return 0
        missing: int = 9 + (_unpack_head(held)[0] >> 8) - len(held)
        return missing if missing <= MAX_FRAME_SIZE and missing <= size else 0

    def _receive_frames(self, buffer: bytes, at: int) -> None:
        length = len(buffer)
        view: memoryview | None = None
        handlers = self._frame_handlers
        streams = self._streams
        known = self._recalled
        on_whole = self._on_whole
        on_run = self._on_run
        while length - at >= 9:
            kind, flags, stream_id = _unpack_head(buffer, at)
            size = kind >> 8
            kind &= 255
            if size > MAX_FRAME_SIZE:
                raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            end = at + 9 + size
            if end > length:
                break
            if (
                known
                and kind == HEADERS
                and (flags == 5 or flags == 4)  # END_HEADERS, with END_STREAM or without
                and (block := buffer[at + 9 : end]) in known
                and self._header_block is None
                and self._recall(stream_id, flags, known[block])
            ):
                at = end
                continue
            if kind == HEADERS and flags == END_HEADERS and on_whole is not None:
                whole = self._receive_whole(buffer, at + 9, end, stream_id, on_whole)
                if whole:
                    at = whole
                    continue
            if size >= _VIEW_LEAST and kind == DATA:
                if view is None:
                    view = memoryview(buffer)
                stream = streams.get(stream_id)
                if stream is not None and not flags and self._header_block is None:
                    left = stream.content_left
                    if on_run is not None:
                        # The head of the next one is the same.
                        step = size + 9
                        behind = end
                        head = buffer[at : at + 9]
                        while behind + step <= length and buffer.startswith(head, behind):
                            behind += step
                        if behind > end:
                            count = (behind - at) // step
                            whole = count * size
                            window = self._receive_window - whole
                            stream_window = stream.receive_window - whole
                            if (
                                window >= 0
                                and stream_window >= 0
                                and (left < 0 or left >= whole)
                                and stream.started
                                and not stream.remote_closed
                            ):
                                self._receive_window = window
                                stream.receive_window = stream_window
                                stream.unconsumed += whole
                                if left > 0:
                                    stream.content_left = left - whole
                                self._budget.empty_frames = 0
                                on_run(stream_id, H2Run(view, at + 9, size, count))
                                at = behind
                                continue
                    payload: Any = view[at + 9 : end]
                    window = self._receive_window - size
                    stream_window = stream.receive_window - size
                    if (
                        window >= 0
                        and stream_window >= 0
                        and (left < 0 or left > size)
                        and stream.started
                        and not stream.remote_closed
                    ):
                        # What _on_data does where nothing is wrong: most of a long body comes here.
                        self._receive_window = window
                        stream.receive_window = stream_window
                        stream.unconsumed += size
                        if left > 0:
                            stream.content_left = left - size
                        self._budget.empty_frames = 0
                        self._handler.on_data(stream_id, payload, False, size)
                        at = end
                        continue
                else:
                    payload = view[at + 9 : end]
            else:
                payload = buffer[at + 9 : end]
            if not self._settings_seen and (kind != SETTINGS or flags & ACK):
                raise connection_error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if self._header_block is not None and kind != CONTINUATION:
                raise connection_error(
                    ErrorCode.PROTOCOL_ERROR, "a header block was interrupted", self._header_block[0]
                )
            at = end
            # Frames of unknown types are let pass (RFC 9113 §5.5).
            if kind < 10:
                handlers[kind](flags, stream_id & MAX_WINDOW, payload)
            elif kind == METADATA and self._settings.allow_metadata:
                self._on_metadata(flags, stream_id & MAX_WINDOW, bytes(payload))
        self._buffer = buffer[at:]

    def _on_metadata(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Envoy's own frame: passed over but on a stream whose other half is open."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        known = self._metadata
        decoder = known.get(stream_id)
        if decoder is None:
            for gone in [each for each in known if each not in self._streams]:
                del known[gone]
            decoder = known[stream_id] = MetadataDecoder(self._settings.max_metadata_size)
        try:
            pairs = decoder.feed(payload, is_end=bool(flags & END_METADATA))
        except (CompressionError, ValueError) as error:
            raise invalid_frame(ErrorCode.INTERNAL_ERROR, f"METADATA: {error}") from error
        if pairs is not None:
            self._handler.on_metadata(stream_id, pairs)

    def _strip_padding(self, payload: Any) -> Any:
        if not payload or payload[0] >= len(payload):
            raise connection_error(ErrorCode.PROTOCOL_ERROR, "invalid padding")
        return payload[1 : len(payload) - payload[0]]

    def _malformed(self, stream_id: int, error: MalformedMessage) -> None:
        if not self._settings.override_stream_error_on_invalid_http_message:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, str(error), stream_id, error.details) from error
        self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, error.details)

    # -- header blocks ------------------------------------------------------------------------
    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & PADDED:
            payload = self._strip_padding(payload)
        if flags & PRIORITY_FLAG:
            if len(payload) < 5:
                raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            if _unpack_u32(payload)[0] & MAX_WINDOW == stream_id:
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        if payload or flags & END_STREAM:
            self._budget.empty_frames = 0
        else:
            self._budget.count_empty(stream_id)
        if flags & END_HEADERS:
            self._on_block(stream_id, flags & END_STREAM, payload)
        else:
            self._header_block = (stream_id, flags & END_STREAM, [payload], len(payload))
            self._handler.on_partial_head(stream_id)

    @property
    def pending_head(self) -> int:
        """The stream whose header block waits for its CONTINUATION; 0 for none."""
        return 0 if self._header_block is None else self._header_block[0]

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        pending = self._header_block
        if pending is None or pending[0] != stream_id:
            raise connection_error(ErrorCode.PROTOCOL_ERROR, "unexpected CONTINUATION")
        _, end_stream, pieces, size = pending
        if payload:
            self._budget.empty_frames = 0
        else:
            self._budget.count_empty(stream_id)
        pieces.append(payload)
        size += len(payload)
        if size > self._hard_headers_bytes:
            raise connection_error(ErrorCode.ENHANCE_YOUR_CALM, "endless header block")
        if flags & END_HEADERS:
            self._header_block = None
            self._on_block(stream_id, end_stream, b"".join(pieces))
        else:
            self._header_block = (stream_id, end_stream, pieces, size)

    def _recall(self, stream_id: int, flags: int, fields: KnownFields) -> bool:
        """Open a stream with a request that came before; False where something wants a closer look."""
        streams = self._streams
        if (
            not stream_id & 1
            or not self._last_peer_id < stream_id <= self._goaway_limit
            or len(streams) >= self._settings.max_concurrent_streams
        ):
            return False
        length = fields.checked[0]
        end_stream = flags & END_STREAM
        if end_stream and length > 0:
            return False
        budget = self._budget
        budget.empty_frames = 0
        self._last_peer_id = stream_id
        stream = streams[stream_id] = H2Stream(
            stream_id, self._peer_initial_window, self._stream_receive_window
        )
        stream.started = True
        if end_stream:
            stream.remote_closed = True
        else:
            stream.content_left = length
        self._handler.on_headers(stream_id, fields, end_stream == END_STREAM)
        return True

    def _receive_whole(
        self,
        buffer: bytes,
        at: int,
        end: int,
        stream_id: int,
        on_whole: Callable[[int, KnownFields, bytes], None],
    ) -> int:
        """A response that came before, whose body stands behind it in one frame; where what was taken ends.

        0 where something wants a closer look; the end of the head alone where that is true of the body.
        """
        stream = self._streams.get(stream_id)
        start = end + 9
        if (
            stream is None
            or stream.started
            or stream.remote_closed
            or stream.is_head
            or len(buffer) <= start
            or self._header_block is not None
        ):
            return 0
        kind, flags, body_stream_id = _unpack_head(buffer, end)
        size = kind >> 8
        last: int = start + size
        block = buffer[at:end]
        decoder = self._decoder
        if (
            flags != END_STREAM
            or kind & 255  # no DATA
            or body_stream_id != stream_id
            or not 0 < size <= MAX_FRAME_SIZE
            or last > len(buffer)
            or size > self._receive_window
            or size > stream.receive_window
            or block not in decoder.readings
        ):
            return 0
        fields = decoder.known.get(block) or self._decode(stream_id, block)
        if fields.__class__ is KnownFields:
            status, length = fields.checked
            if (length == size or length < 0) and status >= 200 and status != 204 and status != 304:
                self._budget.empty_frames = 0
                self._receive_window -= size
                if stream.local_closed:
                    del self._streams[stream_id]
                else:
                    stream.started = stream.remote_closed = True
                on_whole(stream_id, fields, buffer[start:last])
                self._return_window(size)
                return last
        self._budget.empty_frames = 0
        self._on_fields(stream_id, 0, block, fields)
        return end

    def _decode(self, stream_id: int, block: bytes) -> list[Field]:
        try:
            return self._decoder.decode(block)
        except CompressionError as error:
            if not self._client and self._is_idle(stream_id):
                self._last_peer_id = stream_id
            raise connection_error(
                ErrorCode.COMPRESSION_ERROR, f"header block: {error}", stream_id
            ) from error

    def _on_block(self, stream_id: int, end_stream: int, block: bytes) -> None:
        """A whole header block: head, interim response or trailers."""
        fields: list[Field] | None = self._decoder.known.get(block)
        if fields is None:
            fields = self._decode(stream_id, block)
        self._on_fields(stream_id, end_stream, block, fields)

    def _on_fields(self, stream_id: int, end_stream: int, block: bytes, fields: list[Field]) -> None:
        """What a header block says."""
        checked: tuple[int, int] | None = None
        if fields.__class__ is KnownFields:
            checked = fields.checked
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._open_by_peer(stream_id)
            if stream is None:
                return
        elif stream.remote_closed:
            raise invalid_frame(ErrorCode.STREAM_CLOSED, "HEADERS behind END_STREAM", stream_id)
        if checked is _TRAILERS and stream.started and end_stream:
            self._end_with_trailers(stream, fields.copy())
            return
        if checked is None or stream.started:
            settings = self._settings
            excess = exceeds_limits(fields, settings.max_headers_bytes, settings.max_headers_count)
            if excess:
                self._stream_error(stream_id, ErrorCode.INTERNAL_ERROR, excess)
                return
        try:
            if checked is None and self._settings.disallow_obs_text:
                refuse_obs_text(fields)
            if stream.started:
                self._on_trailers(stream, fields.copy(), end_stream, block)
                return
            if checked is None or checked is _TRAILERS:
                if self._client:
                    checked = check_response(fields)
                else:
                    length, cookies = check_request(
                        fields, allow_connect_protocol=self._settings.allow_connect
                    )
                    if cookies:
                        fields = join_cookies(fields)
                    checked = (length, 0)
                if len(block) <= _KEPT_BLOCK_LENGTH:
                    fields = self._keep(block, fields, checked)
            if self._client:
                self._on_response(stream, fields, end_stream, checked)
            else:
                self._on_request(stream, fields, end_stream, checked[0])
        except MalformedMessage as error:
            self._malformed(stream_id, error)

    def _keep(self, block: bytes, fields: list[Field], checked: tuple[int, int]) -> list[Field]:
        """Keep the block when it comes a second time; ``fields``, known from then on."""
        seen = self._seen
        mark = hash(block)
        if mark in seen:
            return self._decoder.keep(block, fields, checked)
        if len(seen) >= _SEEN_BLOCKS:
            seen.clear()
        seen.add(mark)
        return fields

    def _open_by_peer(self, stream_id: int) -> H2Stream | None:
        """The stream that a HEADERS frame opens; None where the frame is to be passed over."""
        if not self._is_idle(stream_id):
            if stream_id in self._reset_ids:
                return None
            if stream_id in self._peer_reset_ids:
                self._refuse_closed(stream_id)
                return None
            raise invalid_frame(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        if self._client or not stream_id & 1:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that the peer cannot open")
        self._last_peer_id = stream_id
        if stream_id > self._goaway_limit:
            self._remember_reset(stream_id)
            return None
        if len(self._streams) >= self._settings.max_concurrent_streams:
            if self._settings_acknowledged:
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "more streams than max_concurrent_streams")
            self._stream_error(stream_id, ErrorCode.REFUSED_STREAM, "http2.unknown.nghttp2.error")
            return None
        stream = self._streams[stream_id] = H2Stream(
            stream_id, self._peer_initial_window, self._stream_receive_window
        )
        return stream

    def _on_request(self, stream: H2Stream, fields: list[Field], end_stream: int, length: int) -> None:
        stream.started = True
        if end_stream:
            check_no_body(length)
            stream.remote_closed = True
        else:
            stream.content_left = length
        self._handler.on_headers(stream.id, fields, bool(end_stream))

    def _on_response(
        self, stream: H2Stream, fields: list[Field], end_stream: int, checked: tuple[int, int]
    ) -> None:
        status, length = checked
        if status < 200:
            if end_stream:
                check_no_body(length, status)
            self._handler.on_informational(stream.id, fields)
            return
        stream.started = True
        if not stream.is_head and status != 204 and status != 304:
            if end_stream:
                check_no_body(length, status)
            stream.content_left = length
        if end_stream:
            self._close_remote(stream)
        self._handler.on_headers(stream.id, fields, bool(end_stream))

    def _on_trailers(self, stream: H2Stream, fields: list[Field], end_stream: int, block: bytes) -> None:
        if not end_stream:
            raise MalformedMessage("trailers do not end the stream", MESSAGING)
        check_trailers(fields)
        if self._client and len(block) <= _KEPT_BLOCK_LENGTH:
            self._keep(block, fields.copy(), _TRAILERS)
        self._end_with_trailers(stream, fields)

    def _end_with_trailers(self, stream: H2Stream, fields: list[Field]) -> None:
        try:
            stream.count_content(0, True)
        except StreamError as error:
            self._stream_error(stream.id, error.code, error.details)
            return
        self._close_remote(stream)
        self._handler.on_trailers(stream.id, fields)

    def _close_remote(self, stream: H2Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self._finish(stream)

    # -- bodies -------------------------------------------------------------------------------
    def _on_data(self, flags: int, stream_id: int, payload: bytes | memoryview) -> None:
        flow_bytes = len(payload)
        if flags & PADDED:
            payload = self._strip_padding(payload)
        end_stream = bool(flags & END_STREAM)
        if payload or end_stream:
            self._budget.empty_frames = 0
        else:
            self._budget.count_empty(stream_id)
        self._receive_window -= flow_bytes
        if self._receive_window < 0:
            raise connection_error(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise connection_error(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
            self._return_window(flow_bytes)
            if stream_id not in self._reset_ids:
                self._refuse_closed(stream_id)
            return
        if stream.remote_closed:
            raise connection_error(ErrorCode.STREAM_CLOSED, "DATA behind END_STREAM")
        stream.receive_window -= flow_bytes
        if stream.receive_window < 0:
            raise connection_error(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        stream.unconsumed += flow_bytes
        if not stream.started:
            raise connection_error(ErrorCode.PROTOCOL_ERROR, "DATA before a final response", stream_id)
        if stream.content_left >= 0:
            try:
                stream.count_content(len(payload), end_stream)
            except StreamError as error:
                self._stream_error(stream_id, error.code, error.details)
                return
        if end_stream:
            self._close_remote(stream)
        elif not payload:
            self.consume(stream_id, flow_bytes)
            return
        self._handler.on_data(stream_id, payload, end_stream, flow_bytes)
