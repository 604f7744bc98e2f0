"""What an HTTP/2 connection remembers of one open stream (RFC 9113 §5.1).

``remote_closed`` and ``local_closed`` are the two half-closed states; a stream with both is forgotten.
"""

from __future__ import annotations

from sidecar.codec.h2_types import ErrorCode

__all__ = ["H2Run", "H2Stream", "StreamError"]


class H2Run:
    """DATA frames of one stream and one size, one behind the other in what was read: a piece of a body.

    Nobody looks at each of them until they are sent or joined; ``len`` is their payload.
    """

    __slots__ = ("at", "buffer", "count", "each")

    def __init__(self, buffer: memoryview, at: int, each: int, count: int) -> None:
        self.buffer = buffer
        #: Where the payload of the first begins; nine bytes of a head are between two.
        self.at = at
        #: Bytes of each.
        self.each = each
        self.count = count

    def __len__(self) -> int:
        return self.each * self.count

    def first(self, count: int) -> list[bytes | memoryview]:
        """The payloads of the first ``count``."""
        buffer = self.buffer
        each = self.each
        at = self.at
        pieces: list[bytes | memoryview] = []
        for _ in range(count):
            pieces.append(buffer[at : at + each])
            at += each + 9
        return pieces

    def drop(self, count: int) -> None:
        """The first ``count`` belong to it no more."""
        self.at += (self.each + 9) * count
        self.count -= count


class StreamError(Exception):
    """This stream cannot go on; the connection can."""

    def __init__(self, reason: str, code: ErrorCode, details: str) -> None:
        super().__init__(reason)
        self.code = code
        self.details = details


class H2Stream:
    """State, windows and the declared length of one stream."""

    # Defaults on the class instead of slots: most streams change few of these.
    remote_closed = False
    local_closed = False
    #: Server: the request's head was given out.  Client: a final response was.
    started = False
    #: Body bytes still to come by content-length; -1 where nothing was declared.
    content_left = -1
    #: Client: the request was HEAD, so the response's content-length says nothing of DATA.
    is_head = False
    #: Received, not yet given to ``consume``.
    unconsumed = 0
    #: Consumed, not yet given back in a WINDOW_UPDATE.
    unreturned = 0

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window

    def count_content(self, size: int, end_stream: bool) -> None:
        """Compare DATA with content-length (RFC 9113 §8.1.1).

        Raises: StreamError.
        """
        left = self.content_left
        if left >= 0:
            left -= size
            if left < 0 or (end_stream and left):
                raise StreamError(
                    "content-length and DATA differ",
                    ErrorCode.PROTOCOL_ERROR,
                    "http2.remote_reset",  # Envoy hears only that the library reset the stream
                )
            self.content_left = left
