"""Sizes of HTTP/1 heads as Envoy's log operators tell them.

Of a head that was received each field counts as its name, its value and three bytes, and a head without
fields as three; of one that was sent, its lines behind the first.
"""

from __future__ import annotations

from typing import Any

from sidecar.api.wire import WireBytes

__all__ = ["Unread", "note_received_head", "note_sent_head"]

_EACH = 3


def note_received_head(wire: WireBytes, head: bytes) -> None:
    """Count the fields of a head that came.

    With each head Envoy adds all that came so far to the decompressed ones, so an interim response counts
    twice, and a try as often as there are tries behind it.
    """
    size = count = 0
    for line in head.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            size += len(name) + len(value.strip(b" \t\r"))
            count += 1
    wire.header_received += size + _EACH * max(count, 1)
    wire.decompressed_received += wire.header_received


def note_sent_head(wire: WireBytes, head: bytes) -> None:
    """Count the fields of a head that is sent."""
    size = len(head) - head.find(b"\n") - 3
    wire.header_sent += size
    wire.decompressed_sent += size


class Unread:
    """Counts what a connection's reader has received.

    A request that came behind in the same read counts here, too, and once more for itself, as in Envoy.
    """

    __slots__ = ("_reader", "_seen", "_wire")

    def __init__(self, wire: WireBytes, reader: Any, received: int) -> None:
        """``received``: the bytes that are here."""
        self._wire = wire
        self._reader = reader
        self._seen = received
        wire.pending = self

    def settle(self) -> None:
        self._wire.received = self._seen + self._reader.rx_bytes
