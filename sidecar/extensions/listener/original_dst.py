"""The listener filter that restores where a connection was going before iptables redirected it."""

from __future__ import annotations

import socket
import struct
from typing import Any

from sidecar.api.listener_filter import DONE, Inspection
from sidecar.core.address import Address

__all__ = ["OriginalDst"]

#: ``SO_ORIGINAL_DST`` and ``IP6T_SO_ORIGINAL_DST`` (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h).
_ORIGINAL_DST = 80
_SOCKADDR_IN, _SOCKADDR_IN6 = 16, 28
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


class OriginalDst:
    """``envoy.filters.listener.original_dst``."""

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        address = original_destination(sock)
        if (address is not None and address != connection.local_address) or is_transparent(sock):
            # With TPROXY the socket has the address that was meant.
            connection.restore_local_address(address or connection.local_address)
        return DONE


def is_transparent(sock: socket.socket) -> bool:
    try:
        if sock.family == socket.AF_INET6:
            return bool(sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT))
        return bool(sock.getsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT))
    except OSError:
        return False


def original_destination(sock: socket.socket) -> str | None:
    """The address that connection tracking remembers, in Envoy's text; None where there is none."""
    try:
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DST, _SOCKADDR_IN)
            port, packed = struct.unpack("!2xH4s", raw[:8])
            return Address.ip(socket.inet_ntop(socket.AF_INET, packed), port).text
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL_DST, _SOCKADDR_IN6)
            port, packed = struct.unpack("!2xH4x16s", raw[:24])
            return Address.from_sockaddr(
                socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0)
            ).text
    except OSError:
        return None
    return None
