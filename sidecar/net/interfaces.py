"""The addresses of this machine's network interfaces (getifaddrs(3))."""

from __future__ import annotations

import ctypes
import os
import socket
from functools import cache

__all__ = ["has_route", "local_address"]

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


@cache
def has_route(is_v6: bool) -> bool:
    """Whether an interface has an address of this family that is no loopback address.  Raises: OSError."""
    if not is_v6:
        return any(not address.startswith("127.") for address in _ipv4_addresses())
    return any(ip != bytes(15) + b"\x01" for ip in _raw_addresses(socket.AF_INET6, 8, 16))


def _ipv4_addresses() -> list[str]:
    # struct sockaddr_in: family, port, address
    return [socket.inet_ntoa(ip) for ip in _raw_addresses(socket.AF_INET, 4, 4)]


def _raw_addresses(family: int, offset: int, size: int) -> list[bytes]:
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
            if at and ctypes.c_ushort.from_address(at).value == family:
                found.append(ctypes.string_at(at + offset, size))
            entry = entry.contents.next
    finally:
        library.freeifaddrs(first)
    return found
