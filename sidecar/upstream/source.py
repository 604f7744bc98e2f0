"""Connections to hosts that come from the client's own address (``original_src``).

A listener filter says so, before any request is known; a host has connections of their own for each address
(:mod:`sidecar.upstream.pools`).
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from sidecar.core.address import Address

__all__ = ["UpstreamSource"]

#: Of Linux; Python has no names for them.
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


class UpstreamSource(NamedTuple):
    """An address, with any port, and the mark of the packets (0 for none)."""

    address: Address
    mark: int = 0

    def prepare(self, sock: socket.socket) -> None:
        """Let ``sock`` have an address that is not the machine's.  Raises: OSError."""
        if self.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        if self.address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
