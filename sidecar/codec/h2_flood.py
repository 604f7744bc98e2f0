"""Counting frames that cost the peer nothing and us something (RFC 9113 §10.5).

One :class:`FrameBudget` belongs to one connection.  The limits are those of
``envoy.config.core.v3.Http2ProtocolOptions``, and so are the rules.  All counters are plain integers that
are compared with a limit at once, so nothing here grows.  Streams that are opened to be reset are counted
by :mod:`sidecar.http.h2_driver`, which knows the time: :class:`ResetLimit`.
"""

from __future__ import annotations

from sidecar.codec.h2_types import ErrorCode, H2ConnectionError, H2Settings

__all__ = ["FrameBudget", "ResetLimit"]


def _flood(reason: str, details: str, stream_id: int = 0) -> H2ConnectionError:
    return H2ConnectionError(
        reason,
        ErrorCode.ENHANCE_YOUR_CALM,
        details=details,
        stream_id=stream_id,
        is_silent=True,
        is_flood=True,
        others=f"codec_error:{reason.replace(' ', '_')}",
    )


class FrameBudget:
    """What a peer may still ask for.  Every method that counts raises H2ConnectionError at its limit."""

    __slots__ = (
        "_control_limit",
        "_empty_limit",
        "_frame_limit",
        "_priorities_per_stream",
        "_updates_per_data_frame",
        "control_frames",
        "data_frames_sent",
        "empty_frames",
        "priorities",
        "window_updates",
    )

    def __init__(self, settings: H2Settings) -> None:
        self._control_limit = settings.max_outbound_control_frames
        self._frame_limit = settings.max_outbound_frames
        self._empty_limit = settings.max_consecutive_inbound_frames_with_empty_payload
        self._priorities_per_stream = settings.max_inbound_priority_frames_per_stream
        self._updates_per_data_frame = settings.max_inbound_window_update_frames_per_data_frame_sent
        self.data_frames_sent = 0
        #: HEADERS, CONTINUATION or DATA without payload and without END_STREAM, in a row.
        self.empty_frames = 0
        self.priorities = 0
        self.window_updates = 0
        #: Answers (ACK) and RST_STREAM queued since the output was last taken.
        self.control_frames = 0

    def count_empty(self, stream_id: int) -> None:
        """A frame that carried nothing."""
        self.empty_frames += 1
        if self.empty_frames > self._empty_limit:
            raise _flood(
                "Too many consecutive frames with an empty payload",
                "http2.inbound_empty_frames_flood",
                stream_id,
            )

    def count_priority(self, open_streams: int) -> None:
        """A PRIORITY frame."""
        self.priorities += 1
        if self.priorities > self._priorities_per_stream * (1 + open_streams):
            raise _flood("Too many PRIORITY frames", "http2.inbound_priority_frames_flood")

    def count_window_update(self, open_streams: int) -> None:
        """A WINDOW_UPDATE frame."""
        self.window_updates += 1
        if self.window_updates > 5 + 2 * (
            open_streams + self._updates_per_data_frame * self.data_frames_sent
        ):
            raise _flood("Too many WINDOW_UPDATE frames", "http2.inbound_window_update_frames_flood")

    def count_answer(self) -> None:
        """A frame queued because of what the peer sent."""
        self.control_frames += 1
        if self.control_frames > self._control_limit:
            raise _flood(
                "Too many control frames in the outbound queue.", "http2.outbound_control_frames_flood"
            )

    def check_queue(self, frames: int) -> None:
        """Look at what waits for a peer that does not read; ``frames`` of all kinds are queued."""
        if frames > self._frame_limit:
            raise _flood("Too many frames in the outbound queue.", "http2.outbound_frames_flood")
        if self.control_frames > self._control_limit:
            self.count_answer()

    def output_taken(self) -> None:
        """The queue is empty."""
        self.control_frames = 0


class ResetLimit:
    """How fast a client may reset streams: ``stream_reset_burst`` at once, ``stream_reset_rate`` a second."""

    __slots__ = ("_burst", "_left", "_rate", "_when")

    def __init__(self, settings: H2Settings, now: float) -> None:
        self._burst = settings.stream_reset_burst
        self._rate = settings.stream_reset_rate
        self._left = self._burst
        self._when = int(now)

    def count(self, now: float) -> None:
        """A reset at ``now``, in seconds of any clock.  Raises: H2ConnectionError."""
        second = int(now)
        if second > self._when:
            self._left = min(self._burst, self._left + (second - self._when) * self._rate)
            self._when = second
        if self._left <= 0:
            raise H2ConnectionError("streams are reset too fast", ErrorCode.INTERNAL_ERROR)
        self._left -= 1
