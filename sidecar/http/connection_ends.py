"""What the log of a listener says of how its HTTP connections ended."""

from __future__ import annotations

import socket
from typing import Any

from sidecar.api.stream import Flag

__all__ = ["DELAYED_CLOSE", "DRAINED", "flag_connection", "was_reset"]

#: Why a connection was closed whose client did not close in ``delayed_close_timeout``.
DELAYED_CLOSE = "triggered_delayed_close_timeout"
#: Why one was closed behind the answer to its last request.
DRAINED = "deferred_close_on_drained_connection"
#: The state of a TCP socket that was reset, if nothing was shut down before (Linux' ``TCP_CLOSE``).
_CLOSED = 7


def flag_connection(connection: Any) -> None:
    """The client broke the protocol: the connection's own line says so, too."""
    stream = getattr(connection, "stream", None)  # connections of other kinds have no line
    if stream is not None:
        stream.flags |= Flag.DOWNSTREAM_PROTOCOL_ERROR


def was_reset(transport: Any) -> bool:
    """Whether the peer has reset a connection that is still open here, and whose sending side is."""
    try:
        state: bytes = transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except (OSError, AttributeError):
        return False
    return state[0] == _CLOSED
