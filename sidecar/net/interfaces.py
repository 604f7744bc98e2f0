"""The addresses of this machine's network interfaces (getifaddrs(3))."""

from __future__ import annotations

import ctypes
import os
import socket
from functools import cache

__all__ = ["local_address"]

_LOOPBACK = "127.0.0.1"


class _IfAddrs(ctypes.Structure):
    """``struct ifaddrs`` as far as ``ifa_addr``."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


@cache
def local_address() -> str:
    """The first IPv4 address of an interface that is not 127.0.0.1; that one where there is no other.

    What Envoy calls the local address (``Network::Utility::getLocalAddress``): it stands for a client on the
    same machine.  Read once: addresses that come later are not seen.

    Raises: OSError.
    """
    return next((address for address in _ipv4_addresses() if address != _LOOPBACK), _LOOPBACK)


def _ipv4_addresses() -> list[str]:
    library = ctypes.CDLL(None, use_errno=True)
    library.freeifaddrs.argtypes = [ctypes.c_void_p]
    first = ctypes.POINTER(_IfAddrs)()
    if library.getifaddrs(ctypes.byref(first)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    found = []
    try:
        entry = first
        while entry:
            at = entry.contents.address
            # struct sockaddr_in: family, port, address
            if at and ctypes.c_ushort.from_address(at).value == socket.AF_INET:
                found.append(socket.inet_ntoa(ctypes.string_at(at + 4, 4)))
            entry = entry.contents.next
    finally:
        library.freeifaddrs(first)
    return found
