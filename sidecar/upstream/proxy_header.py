"""The head of the PROXY protocol, versions 1 and 2: whose connection is carried.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from struct import pack

__all__ = ["LOCAL_HEADER", "Tlv", "proxy_header", "write_tlvs"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
#: Version 2 for a connection that is nobody's but the proxy's.
LOCAL_HEADER = _SIGNATURE + pack(">BBH", _LOCAL, 0, 0)

#: Type and value.
Tlv = tuple[int, bytes]
#: What the two bytes of the length allow beside addresses of IPv6.
_MOST_TLVS = 65535 - 36
_Endpoint = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


def proxy_header(source: str, destination: str, version: int, tlvs: bytes = b"") -> bytes:
    """The head for a connection between two addresses, text with a port; others than IP are not told.

    ``tlvs`` are those of :func:`write_tlvs`, which version 1 has no place for.
    """
    ends = _endpoint(source), _endpoint(destination)
    client, server = ends
    if client is None or server is None or client[0].version != server[0].version:
        return b"PROXY UNKNOWN\r\n" if version == 1 else LOCAL_HEADER
    is_ipv4 = client[0].version == 4
    if version == 1:
        family = "TCP4" if is_ipv4 else "TCP6"
        return f"PROXY {family} {client[0]} {server[0]} {client[1]} {server[1]}\r\n".encode()
    block = client[0].packed + server[0].packed + pack(">HH", client[1], server[1]) + tlvs
    return _SIGNATURE + pack(">BBH", _PROXY, _TCP4 if is_ipv4 else _TCP6, len(block)) + block


def write_tlvs(tlvs: Iterable[Tlv]) -> tuple[bytes, bool]:
    """The bytes of ``tlvs``, and whether all had room; one that had none is left out."""
    written = b""
    is_whole = True
    for kind, value in tlvs:
        if len(written) + 3 + len(value) > _MOST_TLVS:
            is_whole = False
        else:
            written += pack(">BH", kind, len(value)) + value
    return written, is_whole


def _endpoint(text: str) -> _Endpoint | None:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        return None
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        return None
