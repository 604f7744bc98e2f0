"""Control frames of an HTTP/2 connection: everything received that is neither headers nor data.

:class:`H2Control` applies SETTINGS, answers PING, moves send windows, and takes resets and GOAWAY
(RFC 9113 §6); :class:`~sidecar.codec.h2_connection.H2Connection` adds messages.
"""

from __future__ import annotations

from struct import Struct

from sidecar.codec.h2_hpack import HeaderDecoder
from sidecar.codec.h2_sender import ACK, MAX_FRAME_SIZE, PING, RST_STREAM, SETTINGS, H2Sender
from sidecar.codec.h2_types import (
    DEFAULT_WINDOW,
    GOAWAY_DETAILS,
    MAX_WINDOW,
    ErrorCode,
    H2ConnectionError,
    H2Handler,
    H2Settings,
)

__all__ = ["H2Control", "connection_error", "invalid_frame"]

_pack_u32 = Struct(">I").pack
_unpack_u32 = Struct(">I").unpack_from
_iter_settings = Struct(">HI").iter_unpack


def connection_error(code: ErrorCode, reason: str, stream_id: int = 0) -> H2ConnectionError:
    """The bytes cannot be read: GOAWAY, and the end of the connection."""
    return H2ConnectionError(reason, code, stream_id=stream_id)


def invalid_frame(
    code: ErrorCode, reason: str, stream_id: int = 0, details: str = "http2.unknown.nghttp2.error"
) -> H2ConnectionError:
    """The frame could be read but breaks a rule: the end of the connection, without GOAWAY."""
    return H2ConnectionError(reason, code, details=details, stream_id=stream_id, is_silent=True)


class H2Control(H2Sender):
    """The sending half, and the frames that steer it."""

    __slots__ = ("_decoder", "_handler", "_settings_acknowledged", "_settings_seen")

    def __init__(
        self, handler: H2Handler, decoder: HeaderDecoder, *, client: bool, settings: H2Settings
    ) -> None:
        super().__init__(client=client, settings=settings)
        self._handler = handler
        self._decoder = decoder
        self._settings_seen = False
        self._settings_acknowledged = False

    def _is_idle(self, stream_id: int) -> bool:
        """Whether the stream was never opened; nobody opens the even ones, since push is off."""
        return not stream_id & 1 or stream_id > (self._next_id - 2 if self._client else self._last_peer_id)

    def _stream_error(self, stream_id: int, code: ErrorCode, details: str) -> None:
        """Reset a stream because of what the peer sent."""
        self.details = details
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._forget_reset(stream)
        else:
            self._remember_reset(stream_id)
        self._budget.count_answer()
        self._frame(RST_STREAM, 0, stream_id, _pack_u32(code))
        self.resets_sent += 1
        self._handler.on_reset(stream_id, int(code), False)

    def _refuse_closed(self, stream_id: int) -> None:
        """A frame on a stream that the peer had ended or reset itself (RFC 9113 §5.1)."""
        self._budget.count_answer()
        self._frame(RST_STREAM, 0, stream_id, _pack_u32(ErrorCode.STREAM_CLOSED))

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 5:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
        if not stream_id or _unpack_u32(payload)[0] & MAX_WINDOW == stream_id:
            # Priorities mean nothing any more, but these never had a meaning (RFC 9113 §6.3).
            raise connection_error(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0 or on itself")
        self._budget.count_priority(len(self._streams))

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        if self._is_idle(stream_id):
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        self.resets_received += 1
        self._remember_peer_reset(stream_id)
        if stream.unconsumed:
            self._return_window(stream.unconsumed)
        self.details = "http2.remote_reset"
        self._handler.on_reset(stream_id, _unpack_u32(payload)[0], True)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            self._on_settings_acknowledged()
            return
        if len(payload) % 6:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not made of pairs")
        self._settings_seen = True
        for identifier, value in _iter_settings(payload):
            self._apply_setting(identifier, value)
        self._budget.count_answer()
        self._frame(SETTINGS, ACK, 0, b"")
        self._handler.on_settings()

    def _on_settings_acknowledged(self) -> None:
        if self._settings_acknowledged:
            return
        self._settings_acknowledged = True
        settings = self._settings
        self._decoder.on_settings_acknowledged(settings.hpack_table_size)
        shrunk = DEFAULT_WINDOW - settings.initial_stream_window_size
        if shrunk > 0:
            self._stream_receive_window -= shrunk
            for stream in self._streams.values():
                stream.receive_window -= shrunk

    def _apply_setting(self, identifier: int, value: int) -> None:
        if identifier == 1:
            self._encoder.on_table_size(value)
        elif identifier == 2:
            if value > 1 or (value and self._client):
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "invalid SETTINGS_ENABLE_PUSH")
        elif identifier == 3:
            self.peer_max_concurrent_streams = value
        elif identifier == 4:
            if value > MAX_WINDOW:
                raise invalid_frame(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE too large")
            delta = value - self._peer_initial_window
            self._peer_initial_window = value
            for stream in list(self._streams.values()):
                stream.send_window += delta
                if stream.send_window > MAX_WINDOW:
                    raise connection_error(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window grew too large")
                if delta > 0:
                    self._handler.on_window(stream.id)
        elif identifier == 5:
            if not MAX_FRAME_SIZE <= value <= 0xFFFFFF:
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "invalid SETTINGS_MAX_FRAME_SIZE")
            self._peer_max_frame = value
        elif identifier == 8:
            if value > 1:
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "invalid SETTINGS_ENABLE_CONNECT_PROTOCOL")
            self.peer_allows_connect = bool(value)

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, and push is off")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if stream_id:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if not flags & ACK:
            self._budget.count_answer()
            self._frame(PING, ACK, 0, payload)
        else:
            self._handler.on_pong()

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        last = _unpack_u32(payload)[0] & MAX_WINDOW
        self.goaway_received = True
        if self._client:
            self.details = GOAWAY_DETAILS
            # What the peer will not look at can be sent again elsewhere (RFC 9113 §6.8).
            for unseen in [number for number in self._streams if number > last]:
                stream = self._streams.pop(unseen)
                self._forget_reset(stream)
                self._handler.on_reset(unseen, int(ErrorCode.REFUSED_STREAM), True)
        self._handler.on_goaway(last, _unpack_u32(payload, 4)[0])

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise connection_error(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        increment = _unpack_u32(payload)[0] & MAX_WINDOW
        if not increment:
            raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing", stream_id)
        self._budget.count_window_update(len(self._streams))
        if not stream_id:
            self._send_window += increment
            if self._send_window > MAX_WINDOW:
                raise connection_error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window grew too large")
            self._handler.on_window(0)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise invalid_frame(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            return
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            self._stream_error(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "http2.unknown.nghttp2.error")
            return
        self._handler.on_window(stream_id)
