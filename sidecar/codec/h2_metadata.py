"""METADATA, Envoy's own frame of HTTP/2 (type 0x4d): pairs that go beside the messages of a stream.

A block of pairs is one frame, or several, the last of which says so (``END_METADATA``).  It is compressed as
header blocks are, by a table of the stream's own in each direction; what is sent here uses none.
"""

from __future__ import annotations

from sidecar.codec.h2_hpack import HeaderDecoder
from sidecar.core.headers import Field

__all__ = ["END_METADATA", "METADATA", "MetadataDecoder", "encode_metadata"]

METADATA = 0x4D
END_METADATA = 4
_MOST_TIMES = 4


class MetadataDecoder:
    """What a peer says on one stream, at most ``limit`` bytes of it as they are coded.

    A table makes more of them than that: four times as many are taken (Envoy has no limit there).
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._left_decoded = _MOST_TIMES * limit
        self._pieces: list[bytes] = []
        self._decoder = HeaderDecoder(_MOST_TIMES * limit + 4096, 4096)

    def feed(self, payload: bytes, *, is_end: bool) -> list[Field] | None:
        """A frame; the pairs where a block is whole.  Raises: CompressionError; ValueError for too much."""
        self._left -= len(payload)
        if self._left < 0:
            raise ValueError("more METADATA than max_metadata_size")
        self._pieces.append(payload)
        if not is_end:
            return None
        block = b"".join(self._pieces)
        self._pieces.clear()
        pairs = list(self._decoder.decode(block)) if block else []
        self._left_decoded -= sum(len(name) + len(value) for name, value in pairs)
        if self._left_decoded < 0:
            raise ValueError("METADATA becomes too much when it is read")
        return pairs


def encode_metadata(pairs: list[Field]) -> bytes:
    """A block of pairs, as literals that no table knows (RFC 7541 §6.2.2)."""
    return b"".join(b"\0%b%b" % (_text(name), _text(value)) for name, value in pairs)


def _text(data: bytes) -> bytes:
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    head = bytearray(b"\x7f")
    size -= 127
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + data
