"""What a listener filter is: it sees a connection before a filter chain is chosen.

It may look at the first bytes, which stay where they are (in the kernel), and take a head of them away.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol, runtime_checkable

__all__ = ["CLOSE", "DONE", "MORE", "Inspection", "ListenerFilter"]

#: What a filter says: it needs more bytes, it is done, the connection is to be closed.
MORE, DONE, CLOSE = range(3)


class Inspection(Protocol):
    """One connection under inspection."""

    #: The most bytes that it wants to see; it may grow.
    wants: int
    #: How many of the bytes are taken away when it is done.
    taken: int

    def feed(self, data: bytes) -> int:
        """Look at everything that has come so far: MORE, DONE or CLOSE."""
        ...


@runtime_checkable
class ListenerFilter(Protocol):
    """A listener filter; its factory's ``compile`` makes it."""

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        """A connection was accepted: DONE, CLOSE, or what looks at its bytes.

        ``connection`` is a :class:`sidecar.server.connection.Connection`; its facts are the filter's to set.
        """
        ...
