"""The second opinion on HTTP/2: the same surface as ``h2_connection``, on the ``h2`` package.

Framing, HPACK, stream states and windows are the package's; header validity, limits and flood accounting
are ours, as in :mod:`sidecar.codec.h2_connection`, with which it must agree on what is accepted.  It is fed
one frame at a time, so that the frames before a broken one count.  Slower by far; by choice
(``--http2-codec h2``), and in tests.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from sidecar.codec.h2_connection import hard_headers_bytes
from sidecar.codec.h2_control import connection_error, invalid_frame
from sidecar.codec.h2_flood import FrameBudget
from sidecar.codec.h2_stream import H2Run
from sidecar.codec.h2_types import (
    CONNECTION_PREFACE,
    DEFAULT_WINDOW,
    GOAWAY_DETAILS,
    MAX_WINDOW,
    ErrorCode,
    H2ConnectionError,
    H2Handler,
    H2Settings,
)
from sidecar.codec.header_validity import (
    MalformedMessage,
    check_no_body,
    check_request,
    check_response,
    check_trailers,
    exceeds_limits,
    join_cookies,
    refuse_obs_text,
)
from sidecar.core.errors import LocalProtocolError
from sidecar.core.headers import Field

__all__ = ["H2ReferenceConnection"]

_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(10)
_MAX_FRAME_SIZE = 16384
#: Of a GOAWAY without debug data.
_GOAWAY_SIZE = 17


class _State:
    """What the wrapper itself remembers of an open stream."""

    __slots__ = ("content_left", "is_head", "local_closed", "remote_closed", "started", "unconsumed")

    def __init__(self) -> None:
        #: Body bytes still to come by content-length; the package looks at the end of DATA alone.
        self.content_left = 0
        self.local_closed = False
        self.remote_closed = False
        self.started = False
        self.is_head = False
        self.unconsumed = 0


class H2ReferenceConnection:
    """One connection on the ``h2`` package; see :class:`sidecar.codec.h2_connection.H2Connection`."""

    def __init__(self, handler: H2Handler, *, client: bool, settings: H2Settings) -> None:
        self._handler = handler
        self._client = client
        self._settings = settings
        self._budget = FrameBudget(settings)
        self._buffer = b""
        self._preface_left = 0 if client else len(CONNECTION_PREFACE)
        self._settings_seen = False
        #: As in H2Connection.
        self.pending_head = 0
        #: Between HEADERS and the CONTINUATION that ends the block.
        self._in_headers = False
        self._failed: H2ConnectionError | None = None
        self._streams: dict[int, _State] = {}
        self._owed: dict[int, int] = {}
        self._last_opened = 0
        self._goaway_sent = False
        self._goaway_limit = MAX_WINDOW
        self.goaway_received = False
        self.peer_allows_connect = False
        self.peer_max_concurrent_streams = MAX_WINDOW
        self.resets_received = 0
        self.resets_sent = 0
        self.details = ""
        connection = self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        codes = h2.settings.SettingCodes
        initial = {
            **dict(settings.custom_settings),
            codes.HEADER_TABLE_SIZE: settings.hpack_table_size,
            codes.MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
            codes.INITIAL_WINDOW_SIZE: settings.initial_stream_window_size,
            codes.MAX_HEADER_LIST_SIZE: hard_headers_bytes(settings),
        }
        if client:
            initial[codes.ENABLE_PUSH] = 0
        initial[codes.ENABLE_CONNECT_PROTOCOL] = int(settings.allow_connect)
        connection.local_settings = h2.settings.Settings(client=client, initial_values=initial)
        connection.decoder.max_header_list_size = hard_headers_bytes(settings)
        if not settings.enable_huffman_encoding:
            connection.encoder.encode = functools.partial(connection.encoder.encode, huffman=False)
        connection.initiate_connection()
        if settings.initial_connection_window_size > DEFAULT_WINDOW:
            connection.increment_flow_control_window(settings.initial_connection_window_size - DEFAULT_WINDOW)

    def let_go(self) -> None:
        """Forget the handler: nothing is received any more."""
        nobody: Any = None
        self._handler = nobody

    # -- what callers ask ---------------------------------------------------------------------
    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` may be called (client)."""
        return (
            not self.goaway_received
            and not self._goaway_sent
            and len(self._streams) < self.peer_max_concurrent_streams
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
        state = self._streams.get(stream_id)
        if state is None or state.local_closed:
            return 0
        if stream_id not in self._h2.streams:
            window = min(self._h2.remote_settings.initial_window_size, self._h2.outbound_flow_control_window)
        else:
            window = self._h2.local_flow_control_window(stream_id)
        return max(0, int(window))

    # -- sending ------------------------------------------------------------------------------
    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` may give something: only the package knows."""
        return True

    def take_output(self) -> bytes:
        """Everything to be sent now."""
        self._budget.output_taken()
        return bytes(self._h2.data_to_send())

    def send_chunks(
        self, stream_id: int, chunks: list[bytes | memoryview], size: int, end_stream: bool
    ) -> None:
        """Chunks of a body, ``size`` bytes.  Raises: LocalProtocolError."""
        self.send_data(stream_id, b"".join(chunks), end_stream)

    def send_run(self, stream_id: int, run: H2Run, count: int, end_stream: bool) -> None:
        """The first ``count`` frames of a run, which are taken from it.  Raises: LocalProtocolError."""
        self.send_data(stream_id, b"".join(run.first(count)), end_stream)
        run.drop(count)

    def send_metadata(self, stream_id: int, pairs: list[Field]) -> None:
        """Nothing: the library knows no METADATA, either way."""

    def take_pieces(self) -> list[bytes | memoryview]:
        """The same, in one piece."""
        data = self.take_output()
        return [data] if data else []

    def open_stream(self) -> int:
        """A new stream's id (client).  Raises: LocalProtocolError when ``can_open`` is False."""
        if not self._client or not self.can_open:
            raise LocalProtocolError("no stream can be opened on this connection")
        stream_id = self._last_opened = int(self._h2.get_next_available_stream_id())
        self._streams[stream_id] = _State()
        return stream_id

    def _sending(self, stream_id: int) -> _State:
        state = self._streams.get(stream_id)
        if state is None or state.local_closed:
            raise LocalProtocolError(f"stream {stream_id} cannot send any more")
        return state

    def send_whole(self, stream_id: int, fields: tuple[Field, ...], data: bytes) -> bool:
        """A head and all of its body, where it fits into the windows now; else False.

        Raises: LocalProtocolError.
        """
        self._sending(stream_id)
        if not data or len(data) > self.send_window(stream_id):
            return False
        self.send_headers(stream_id, fields, False)
        self.send_data(stream_id, data, True)
        return True

    def send_headers(self, stream_id: int, fields: Sequence[Field], end_stream: bool) -> None:
        """A request (client), a 1xx or final response (server).  Raises: LocalProtocolError."""
        state = self._sending(stream_id)
        if self._client:
            state.is_head = (b":method", b"HEAD") in fields[:5]
        try:
            self._h2.send_headers(stream_id, fields, end_stream=end_stream)
        except h2.exceptions.ProtocolError as error:
            raise LocalProtocolError(str(error)) from error
        if end_stream:
            self._close(stream_id, state, local=True)

    def send_trailers(self, stream_id: int, fields: list[Field]) -> None:
        """Trailers; ends our half.  Raises: LocalProtocolError."""
        self.send_headers(stream_id, fields, True)

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """DATA, no more of it than ``send_window`` allows.  Raises: LocalProtocolError."""
        state = self._sending(stream_id)
        if not data and not end_stream:
            return
        if len(data) > self.send_window(stream_id):
            raise LocalProtocolError(f"{len(data)} bytes of DATA do not fit into the window")
        limit = self._h2.max_outbound_frame_size
        for at in range(0, len(data) or 1, limit):
            self._budget.data_frames_sent += 1
            last = end_stream and at + limit >= len(data)
            self._h2.send_data(stream_id, bytes(data[at : at + limit]), end_stream=last)
        if end_stream:
            self._close(stream_id, state, local=True)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """End the stream with RST_STREAM; does nothing where it is closed."""
        state = self._streams.pop(stream_id, None)
        if state is not None and self._failed is None:
            self._recoup(stream_id, state)
            self._reset(stream_id, error_code)

    def _reset(self, stream_id: int, error_code: int) -> None:
        self.resets_sent += 1
        try:
            self._h2.reset_stream(stream_id, error_code)
        except h2.exceptions.StreamClosedError:
            # The package saw the stream end before we looked at what it carried.
            return

    def reset_ended(self, stream_id: int, error_code: int) -> None:
        """RST_STREAM for a stream that the peer has ended, too."""
        if self._failed is not None:
            return
        self.resets_sent += 1
        frame = h2.connection.RstStreamFrame(stream_id)
        frame.error_code = error_code
        self._h2._prepare_for_sending([frame])

    def goaway(self, error_code: int, *, notice: bool = False) -> None:
        """Tell the peer to open no more streams; after a ``notice`` new ones are still served."""
        if self._failed is not None:
            return
        last = MAX_WINDOW if notice else min(self._goaway_limit, self._h2.highest_inbound_stream_id)
        if not notice:
            self._goaway_sent = True
            self._goaway_limit = last
        # The package would refuse everything after its own close_connection(), but streams go on.
        frame = h2.connection.GoAwayFrame(0)
        frame.last_stream_id = last
        frame.error_code = error_code
        self._h2._prepare_for_sending([frame])

    def ping(self, opaque: bytes) -> None:
        """Send PING with eight bytes."""
        self._h2.ping(opaque)

    def consume(self, stream_id: int, flow_bytes: int) -> None:
        """Give back window for received bytes."""
        state = self._streams.get(stream_id)
        if state is None:
            flow_bytes = min(flow_bytes, self._owed.get(stream_id, 0))
            left = self._owed.pop(stream_id, 0) - flow_bytes
            if left:
                self._owed[stream_id] = left
        else:
            flow_bytes = min(flow_bytes, state.unconsumed)
            state.unconsumed -= flow_bytes
        if flow_bytes and self._failed is None:
            self._h2.acknowledge_received_data(flow_bytes, stream_id)

    # -- stream life --------------------------------------------------------------------------
    def _recoup(self, stream_id: int, state: _State) -> None:
        if state.unconsumed and self._failed is None:
            self._h2.acknowledge_received_data(state.unconsumed, stream_id)

    def _close(self, stream_id: int, state: _State, *, local: bool) -> None:
        if local:
            state.local_closed = True
        else:
            state.remote_closed = True
        if state.local_closed and state.remote_closed:
            del self._streams[stream_id]
            if state.unconsumed:
                self._owed[stream_id] = state.unconsumed

    def _stream_error(self, stream_id: int, code: ErrorCode, details: str) -> None:
        self.details = details
        state = self._streams.pop(stream_id, None)
        if state is not None:
            self._recoup(stream_id, state)
        self._budget.count_answer()
        self._reset(stream_id, int(code))
        self._handler.on_reset(stream_id, int(code), False)

    def _malformed(self, stream_id: int, error: MalformedMessage) -> None:
        if not self._settings.override_stream_error_on_invalid_http_message:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, str(error), stream_id, error.details) from error
        self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, error.details)

    # -- receiving ----------------------------------------------------------------------------
    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, in any split.

        Raises: H2ConnectionError: send what is queued and close.
        """
        if self._failed is not None:
            raise self._failed
        self._buffer += data
        is_first = self._preface_left > 0
        kept = len(self._h2._data_to_send)
        try:
            self._receive_frames()
        except H2ConnectionError as error:
            self._fail(error)
            self._unsay(kept, is_first, is_silent=error.is_silent)
            if not error.is_silent:
                self._h2.close_connection(error.h2_code)
            raise
        except h2.exceptions.ProtocolError as error:
            # The package has queued its GOAWAY, even where the other codec is silent.
            code = getattr(error, "error_code", ErrorCode.PROTOCOL_ERROR)
            failure = connection_error(ErrorCode(int(code)), str(error))
            self._fail(failure)
            goaway = bytes(self._h2._data_to_send[-_GOAWAY_SIZE:])
            self._unsay(kept, is_first, is_silent=False)
            self._h2._data_to_send += goaway
            raise failure from error

    def _unsay(self, kept: int, is_first: bool, *, is_silent: bool) -> None:
        """Drop what the read that failed queued behind ``kept`` bytes, as H2Connection does."""
        out = self._h2._data_to_send
        if is_first:
            kept = 0 if is_silent else min(kept, 9 + int.from_bytes(out[:3], "big"))
        del out[kept:]

    def _fail(self, error: H2ConnectionError) -> None:
        self._failed = error
        self._goaway_sent = True
        self._buffer = b""
        self.details = error.details

    def _receive_frames(self) -> None:
        while True:
            buffer = self._buffer
            if self._preface_left:
                preface = CONNECTION_PREFACE[-self._preface_left :]
                if not preface.startswith(buffer[: len(preface)]):
                    raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "no connection preface")
                if len(buffer) < len(preface):
                    return
                self._preface_left = 0
                self._buffer = buffer[len(preface) :]
                self._feed(preface)
                continue
            if len(buffer) < 9:
                return
            size = int.from_bytes(buffer[:3], "big")
            if size > _MAX_FRAME_SIZE:
                raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            if len(buffer) < 9 + size:
                return
            frame = buffer[: 9 + size]
            self._buffer = buffer[9 + size :]
            self._account(frame)
            if not self._in_headers and (
                frame[3] > _CONTINUATION or (frame[3] == _PRIORITY and len(frame) == 14)
            ):
                # The package knows some extensions, which nobody here asked for (RFC 9113 §5.5), and is
                # stricter about priorities, which mean nothing any more (§5.3.2).
                continue
            if frame[3] == _WINDOW_UPDATE and len(frame) == 13:
                # The reserved bit is to be ignored (RFC 9113 §6.9); the package takes it for a size.
                frame = frame[:9] + bytes((frame[9] & 0x7F,)) + frame[10:]
            if frame[3] == _GOAWAY and not self._in_headers:
                # The package would end the connection here, but open streams go on.
                self._on_goaway(int.from_bytes(frame[5:9], "big") & MAX_WINDOW, frame[9:])
            else:
                self._feed(frame)

    def _account(self, frame: bytes) -> None:
        """The rules that are ours, by the frame's head."""
        kind, flags = frame[3], frame[4]
        if not self._settings_seen:
            if kind != _SETTINGS or flags & 1:
                raise connection_error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settings_seen = True
        stream_id = int.from_bytes(frame[5:9], "big") & MAX_WINDOW
        payload = frame[9:]
        budget = self._budget
        if kind in (_DATA, _HEADERS, _CONTINUATION):
            padding = payload[0] + 1 if kind != _CONTINUATION and flags & 8 and payload else 0
            priority = 5 if kind == _HEADERS and flags & 0x20 else 0
            if len(payload) < padding + priority:
                # The package would read the priority out of the padding.
                raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "frame too short for what it announces")
            if len(payload) - padding - priority > 0 or (kind != _CONTINUATION and flags & 1):
                budget.empty_frames = 0
            else:
                budget.count_empty(stream_id)
        elif kind == _PRIORITY and len(payload) == 5:
            if not stream_id or int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream_id:
                raise connection_error(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0 or on itself")
            budget.count_priority(len(self._streams))
        elif kind == _WINDOW_UPDATE:
            budget.count_window_update(len(self._streams))
        elif kind in (_SETTINGS, _PING) and not flags & 1:
            budget.count_answer()
        if kind == _RST and len(payload) == 4 and self._is_idle(stream_id):
            # The package lets these pass.
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if kind == _PUSH:
            # The package looks only when the header block is complete.
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, and push is off")
        if kind in (_HEADERS, _CONTINUATION):
            self._in_headers = not flags & 4
            self.pending_head = stream_id if self._in_headers else 0
            if self._in_headers and kind == _HEADERS:
                self._handler.on_partial_head(stream_id)

    def _is_idle(self, stream_id: int) -> bool:
        if not stream_id & 1:
            return True
        if self._client:
            return stream_id > self._last_opened
        return stream_id > int(self._h2.highest_inbound_stream_id)

    def _feed(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._on_event(event)

    def _on_event(self, event: Any) -> None:
        events = h2.events
        if isinstance(event, events.RequestReceived):
            self._on_request(event.stream_id, list(event.headers), event.stream_ended is not None)
        elif isinstance(event, events.InformationalResponseReceived):
            # The package has refused one that ends the stream.
            self._on_response(event.stream_id, list(event.headers), False)
        elif isinstance(event, events.ResponseReceived):
            self._on_response(event.stream_id, list(event.headers), event.stream_ended is not None)
        elif isinstance(event, events.TrailersReceived):
            self._on_trailers(event.stream_id, list(event.headers))
        elif isinstance(event, events.DataReceived):
            self._on_data(event)
        elif isinstance(event, events.StreamReset):
            self._on_reset(event.stream_id, int(event.error_code), remote=bool(event.remote_reset))
        elif isinstance(event, events.WindowUpdated):
            if not event.stream_id or event.stream_id in self._streams:
                self._handler.on_window(event.stream_id or 0)
        elif isinstance(event, events.PingAckReceived):
            self._handler.on_pong()
        elif isinstance(event, events.RemoteSettingsChanged):
            self._on_settings(event)

    def _on_request(self, stream_id: int, fields: list[Field], end_stream: bool) -> None:
        settings = self._settings
        if stream_id > self._goaway_limit:
            self._reset(stream_id, int(ErrorCode.REFUSED_STREAM))
            return
        if len(self._streams) >= settings.max_concurrent_streams:
            self._stream_error(stream_id, ErrorCode.REFUSED_STREAM, "http2.unknown.nghttp2.error")
            return
        state = self._streams[stream_id] = _State()
        state.started = True
        excess = exceeds_limits(fields, settings.max_headers_bytes, settings.max_headers_count)
        if excess:
            self._stream_error(stream_id, ErrorCode.INTERNAL_ERROR, excess)
            return
        try:
            if settings.disallow_obs_text:
                refuse_obs_text(fields)
            length, cookies = check_request(fields, allow_connect_protocol=settings.allow_connect)
            if end_stream:
                check_no_body(length)
        except MalformedMessage as error:
            self._malformed(stream_id, error)
            return
        state.content_left = length
        if end_stream:
            self._close(stream_id, state, local=False)
        self._handler.on_headers(stream_id, join_cookies(fields) if cookies else fields, end_stream)

    def _on_response(self, stream_id: int, fields: list[Field], end_stream: bool) -> None:
        state = self._streams.get(stream_id)
        if state is None:
            return
        settings = self._settings
        excess = exceeds_limits(fields, settings.max_headers_bytes, settings.max_headers_count)
        if excess:
            self._stream_error(stream_id, ErrorCode.INTERNAL_ERROR, excess)
            return
        try:
            if settings.disallow_obs_text:
                refuse_obs_text(fields)
            status, length = check_response(fields)
            if end_stream and not state.is_head:
                check_no_body(length, status)
        except MalformedMessage as error:
            self._malformed(stream_id, error)
            return
        if status < 200:
            self._handler.on_informational(stream_id, fields)
            return
        state.started = True
        if not state.is_head and status != 204 and status != 304:
            state.content_left = length
        if end_stream:
            self._close(stream_id, state, local=False)
        self._handler.on_headers(stream_id, fields, end_stream)

    def _on_trailers(self, stream_id: int, fields: list[Field]) -> None:
        state = self._streams.get(stream_id)
        if state is None:
            return
        settings = self._settings
        excess = exceeds_limits(fields, settings.max_headers_bytes, settings.max_headers_count)
        if excess:
            self._stream_error(stream_id, ErrorCode.INTERNAL_ERROR, excess)
            return
        try:
            if settings.disallow_obs_text:
                refuse_obs_text(fields)
            check_trailers(fields)
        except MalformedMessage as error:
            self._malformed(stream_id, error)
            return
        if state.content_left > 0:
            self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, "http2.remote_reset")
            return
        self._close(stream_id, state, local=False)
        self._handler.on_trailers(stream_id, fields)

    def _on_data(self, event: Any) -> None:
        stream_id = event.stream_id
        flow_bytes = event.flow_controlled_length
        state = self._streams.get(stream_id)
        if state is None:
            self._h2.acknowledge_received_data(flow_bytes, stream_id)
            return
        state.unconsumed += flow_bytes
        state.content_left -= len(event.data)
        end_stream = event.stream_ended is not None
        if end_stream:
            self._close(stream_id, state, local=False)
        elif not event.data:
            self.consume(stream_id, flow_bytes)
            return
        self._handler.on_data(stream_id, bytes(event.data), end_stream, flow_bytes)

    def _on_reset(self, stream_id: int, error_code: int, *, remote: bool) -> None:
        if stream_id not in self._streams:
            return
        if not remote and error_code != ErrorCode.FLOW_CONTROL_ERROR:
            raise invalid_frame(ErrorCode(error_code), "a frame behind END_STREAM", stream_id)
        self._recoup(stream_id, self._streams.pop(stream_id))
        if not remote:
            # The stream's window grew too large; the package has reset it.
            self.resets_sent += 1
            self.details = "http2.unknown.nghttp2.error"
            self._handler.on_reset(stream_id, error_code, False)
            return
        self.resets_received += 1
        self.details = "http2.remote_reset"
        self._handler.on_reset(stream_id, error_code, True)

    def _on_settings(self, event: Any) -> None:
        codes = h2.settings.SettingCodes
        changed = event.changed_settings
        if self._client and codes.ENABLE_PUSH in changed and changed[codes.ENABLE_PUSH].new_value:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "invalid SETTINGS_ENABLE_PUSH")
        if codes.MAX_CONCURRENT_STREAMS in changed:
            self.peer_max_concurrent_streams = changed[codes.MAX_CONCURRENT_STREAMS].new_value
        if codes.ENABLE_CONNECT_PROTOCOL in changed:
            self.peer_allows_connect = bool(changed[codes.ENABLE_CONNECT_PROTOCOL].new_value)
        window = changed.get(codes.INITIAL_WINDOW_SIZE)
        if window is not None and window.new_value > (window.original_value or 0):
            for stream_id in list(self._streams):
                self._handler.on_window(stream_id)
        self._handler.on_settings()

    def _close_in_package(self, stream_id: int) -> None:
        """Let the package know that a stream is over, and say nothing to the peer."""
        queued = self._h2.data_to_send()
        try:
            self._h2.reset_stream(stream_id)
        except h2.exceptions.ProtocolError:
            pass  # it was never begun, or is closed
        self._h2.clear_outbound_data_buffer()
        self._h2._data_to_send += queued

    def _on_goaway(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self.goaway_received = True
        last = int.from_bytes(payload[:4], "big") & MAX_WINDOW
        if self._client:
            self.details = GOAWAY_DETAILS
            for unseen in [number for number in self._streams if number > last]:
                del self._streams[unseen]
                self._close_in_package(unseen)
                self._handler.on_reset(unseen, int(ErrorCode.REFUSED_STREAM), True)
        self._handler.on_goaway(last, int.from_bytes(payload[4:8], "big"))
