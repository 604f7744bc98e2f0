"""Counting frames that cost the peer nothing and us something (RFC 9113 §10.5).

One :class:`FrameBudget` belongs to one connection.  The limits are those of
``envoy.config.core.v3.Http2ProtocolOptions``, and so are the rules.  All counters are plain integers that
are compared with a limit at once, so nothing here grows.  Streams that are opened to be reset are counted
by :mod:`sidecar.http.h2_driver`, which knows how long they lived.
"""

from __future__ import annotations

from sidecar.codec.h2_types import ErrorCode, H2ConnectionError, H2Settings

__all__ = ["FrameBudget"]


def _flood(what: str, details: str) -> H2ConnectionError:
    return H2ConnectionError(
        f"too many {what}", ErrorCode.ENHANCE_YOUR_CALM, details=details, is_silent=True, is_flood=True
    )


class FrameBudget:
    """What a peer may still ask for.  Every method that counts raises RemoteProtocolError at its limit."""

    __slots__ = (
        "_control_limit",
        "_empty_limit",
        "_frame_limit",
        "_priorities_per_stream",
        "_updates_per_data_frame",
        "control_frames",
        "data_frames_sent",
        "empty_frames",
        "outbound_frames",
        "priorities",
        "streams",
        "window_updates",
    )

    def __init__(self, settings: H2Settings) -> None:
        self._control_limit = settings.max_outbound_control_frames
        self._frame_limit = settings.max_outbound_frames
        self._empty_limit = settings.max_consecutive_inbound_frames_with_empty_payload
        self._priorities_per_stream = settings.max_inbound_priority_frames_per_stream
        self._updates_per_data_frame = settings.max_inbound_window_update_frames_per_data_frame_sent
        #: Streams opened by either side.
        self.streams = 0
        self.data_frames_sent = 0
        #: HEADERS, CONTINUATION or DATA without payload and without END_STREAM, in a row.
        self.empty_frames = 0
        self.priorities = 0
        self.window_updates = 0
        #: Answers (ACK, RST_STREAM) queued since the output was last taken.
        self.control_frames = 0
        #: All frames queued since the output was last taken.
        self.outbound_frames = 0

    def count_empty(self) -> None:
        """A frame that carried nothing."""
        self.empty_frames += 1
        if self.empty_frames > self._empty_limit:
            raise _flood("empty frames", "http2.inbound_empty_frames_flood")

    def count_priority(self) -> None:
        """A PRIORITY frame."""
        self.priorities += 1
        if self.priorities > self._priorities_per_stream * (1 + self.streams):
            raise _flood("PRIORITY frames", "http2.inbound_priority_frames_flood")

    def count_window_update(self) -> None:
        """A WINDOW_UPDATE frame."""
        self.window_updates += 1
        if self.window_updates > 1 + 2 * (
            self.streams + self._updates_per_data_frame * self.data_frames_sent
        ):
            raise _flood("WINDOW_UPDATE frames", "http2.inbound_window_update_frames_flood")

    def count_answer(self) -> None:
        """A frame queued because of what the peer sent."""
        self.control_frames += 1
        self.outbound_frames += 1
        if self.control_frames > self._control_limit:
            raise _flood("control frames to answer", "http2.outbound_control_frames_flood")
        if self.outbound_frames > self._frame_limit:
            raise _flood("frames to send", "http2.outbound_frames_flood")

    def output_taken(self) -> None:
        """The queue is empty."""
        self.control_frames = self.outbound_frames = 0
