"""A transport that never has more at once than its owner said (``per_connection_buffer_limit_bytes``).

Bodies are pulled: what a connection holds of a body is what its last read brought, which without a limit
grows to 1 MiB where the peer is fast.  A limit below that bounds every read, what a splice takes into its
pipe at once, and what HTTP/2 queues for sending.  Who sets none has a plain
:class:`~sidecar.net.reactor.Transport`, which knows nothing of this.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from sidecar.net.reactor import Transport

if TYPE_CHECKING:
    from sidecar.net.reactor import Reactor

__all__ = ["LimitedTransport", "read_limit"]

#: Envoy reads so much at a time whatever the limit is.
_LEAST = 16384


def read_limit(limit_bytes: int) -> int | None:
    """How much a read brings at most; None where a plain transport has no more anyway (0: no limit)."""
    return max(limit_bytes, _LEAST) if 0 < limit_bytes < Transport.limit else None


class LimitedTransport(Transport):
    """See the module."""

    __slots__ = ("limit",)

    def __init__(self, sock: socket.socket, reactor: Reactor, limit: int) -> None:
        self.limit = limit
        super().__init__(sock, reactor)
        self.recv = self._recv_some

    @property
    def is_plain(self) -> bool:
        return self.recv == self._recv_some and self.send == self.sock.send and not self.queued

    def _recv_some(self, size: int) -> bytes:
        """Up to ``size`` bytes, or the limit: such a read leaves the transport ready, for no edge follows."""
        limit = self.limit
        if size <= limit:
            return self.sock.recv(size)
        data = self.sock.recv(limit)
        if len(data) == limit:
            self.ready = True
        return data
