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
        "received",
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

    def settle(self) -> None:
        """Take in what was not counted yet."""
        if self.pending is not None:
            self.pending.settle()


class StreamWire:
    """Both sides; all tries of a request count into one."""

    __slots__ = ("down", "up")

    def __init__(self) -> None:
        self.down = WireBytes()
        self.up = WireBytes()
