"""Sizes of HTTP/1 heads as Envoy's log operators tell them.

Of a head that was received each field counts as its name, its value and three bytes, and a head without
fields as three; of one that was sent, its lines behind the first.
"""

from __future__ import annotations

from sidecar.api.wire import WireBytes

__all__ = ["note_received_head", "note_sent_head"]

_EACH = 3
#: Sizes by the lines behind the first: mostly a peer's heads have the same.
_known: dict[bytes, int] = {}
_KEPT = 256
_SHORT = 1024


def note_received_head(wire: WireBytes, head: bytes) -> None:
    """Count the fields of a head that came.

    With each head Envoy adds all that came so far to the decompressed ones, so an interim response counts
    twice, and a try as often as there are tries behind it.
    """
    lines = head.partition(b"\n")[2]
    size = _known.get(lines)
    wire.header_received += _measure(lines) if size is None else size
    wire.decompressed_received += wire.header_received


def _measure(lines: bytes) -> int:
    size = count = 0
    for line in lines.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            size += len(name) + len(value.strip(b" \t\r"))
            count += 1
    size += _EACH * max(count, 1)
    if len(lines) <= _SHORT:
        if len(_known) >= _KEPT:
            _known.clear()
        _known[lines] = size
    return size


def note_sent_head(wire: WireBytes, head: bytes) -> None:
    """Count the fields of a head that is sent."""
    size = len(head) - head.find(b"\n") - 3
    wire.header_sent += size
    wire.decompressed_sent += size
