"""Messages of gRPC on a byte stream: a flag, four bytes of length, the message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message".  No message is
compressed: this proxy says of no encoding that it takes it.
"""

from __future__ import annotations

__all__ = ["GrpcFrameError", "GrpcFrameReader", "frame"]

_HEAD = 5


class GrpcFrameError(Exception):
    """The bytes are no messages, or one is too long.  ``is_too_long`` says which."""

    def __init__(self, reason: str, *, is_too_long: bool = False) -> None:
        super().__init__(reason)
        self.is_too_long = is_too_long


def frame(message: bytes) -> bytes:
    """A message as it is sent."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class GrpcFrameReader:
    """Cuts what comes into messages; keeps no more than one unfinished one, up to ``limit_bytes``."""

    __slots__ = ("_data", "_limit")

    def __init__(self, limit_bytes: int) -> None:
        self._data = bytearray()
        self._limit = limit_bytes

    @property
    def is_between(self) -> bool:
        """Whether the last message is complete."""
        return not self._data

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete with ``data``.  Raises: GrpcFrameError, at the first wrong head.

        An empty message may carry any known flag, as Envoy takes it.
        """
        buffer = self._data
        buffer += data
        found: list[bytes] = []
        at = 0
        size = len(buffer)
        while size - at >= _HEAD:
            flags = buffer[at]
            length = int.from_bytes(buffer[at + 1 : at + _HEAD], "big")
            if flags > 1:
                raise GrpcFrameError(f"flags {flags} of a message are none of gRPC's")
            if flags and length:
                raise GrpcFrameError("a message is compressed, which was not offered")
            if length > self._limit:
                reason = f"a message of {length} bytes is longer than {self._limit}"
                raise GrpcFrameError(reason, is_too_long=True)
            end = at + _HEAD + length
            if end > size:
                break
            found.append(bytes(buffer[at + _HEAD : end]))
            at = end
        if at:
            del buffer[:at]
        return found
