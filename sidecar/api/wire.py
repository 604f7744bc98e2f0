"""How many bytes a stream took on the wire, on either side of the proxy.

Only where something reads them: a stream has these when the connection manager was told so
(``ConnectionManager.counts_wire``), and the codecs count into them.  What counts how is Envoy's: see
:mod:`sidecar.codec.h1_sizes` and :mod:`sidecar.codec.h2_sizes`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["StreamWire", "WireBytes"]


class WireBytes:
    """One side's connection, as far as this stream used it."""

    __slots__ = (
        "decompressed_received",
        "decompressed_sent",
        "header_received",
        "header_sent",
        "pending",
        "reader",
        "received",
        "seen",
        "sent",
    )

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.header_received = 0
        self.header_sent = 0
        #: The same before compression.
        self.decompressed_received = 0
        self.decompressed_sent = 0
        #: Whoever counts later than it happens: its ``settle()`` is asked before somebody reads.
        self.pending: Any = None
        #: What reads the connection, where that counts for itself (HTTP/1), and what was there before.  A
        #: request that came behind in the same read counts here, too, and once more for itself, as in Envoy.
        self.reader: Any = None
        self.seen = 0

    def settle(self) -> None:
        """Take in what was not counted yet."""
        if self.reader is not None:
            self.received = self.seen + self.reader.rx_bytes
        elif self.pending is not None:
            self.pending.settle()


class StreamWire:
    """Both sides; all tries of a request count into one."""

    __slots__ = ("down", "up")

    def __init__(self) -> None:
        self.down = WireBytes()
        self.up = WireBytes()
