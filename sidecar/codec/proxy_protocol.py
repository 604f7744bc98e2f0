"""Reading the head of the PROXY protocol, versions 1 and 2.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt; what is taken follows Envoy's listener filter.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

__all__ = [
    "HEAD_V2",
    "SIGNATURE_V1",
    "SIGNATURE_V2",
    "BrokenProxyHeader",
    "ProxyHeader",
    "head_v2",
    "read_tlvs",
    "read_v1",
    "read_v2",
]

SIGNATURE_V1 = b"PROXY "
SIGNATURE_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
#: Bytes of version 2 in front of the addresses.
HEAD_V2 = 16
_LOCAL, _PROXY = 0, 1
_STREAM, _DATAGRAM = 1, 2
#: Family → (size of an address, of the whole block).
_FAMILIES = {1: (4, 12), 2: (16, 36)}
_PORT = re.compile(r"\+?\d+")
_MAX_PORT = 65535


class BrokenProxyHeader(Exception):
    """No head that says who is connected to whom."""


class ProxyHeader(NamedTuple):
    """Both ends of the connection that is carried, in Envoy's text; empty where the real ones count."""

    source: str
    destination: str


def read_v1(line: bytes) -> ProxyHeader:
    """A line of version 1, with its end or without.  Raises: BrokenProxyHeader."""
    parts = line.decode("latin-1").rstrip().split(" ")
    if len(parts) < 2 or parts[0] != "PROXY":
        raise BrokenProxyHeader("no line of version 1")
    if parts[1] == "UNKNOWN":
        return ProxyHeader("", "")
    family = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}.get(parts[1])
    if family is None or len(parts) != 6:
        raise BrokenProxyHeader("not two addresses and two ports")
    try:
        source, destination = (socket.inet_pton(family, text) for text in parts[2:4])
    except (OSError, ValueError) as error:
        raise BrokenProxyHeader("an address is none") from error
    return ProxyHeader(_text(source, _port(parts[4])), _text(destination, _port(parts[5])))


def _port(text: str) -> int:
    port = int(text) if _PORT.fullmatch(text) and text.isascii() else -1
    if not 0 <= port <= _MAX_PORT:
        raise BrokenProxyHeader("a port is none")
    return port


def _text(packed: bytes, port: int) -> str:
    address = ipaddress.ip_address(packed)
    if address.is_unspecified or address.is_multicast or packed == b"\xff" * 4:
        raise BrokenProxyHeader("no address of one machine")
    if len(packed) == 4:
        return f"{address}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{port}"


def head_v2(data: bytes) -> tuple[int, int]:
    """``(bytes of the addresses, of addresses and TLVs)`` of the first 16 bytes of version 2.

    Raises: BrokenProxyHeader.
    """
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:HEAD_V2], "big")
    if command >> 4 != 2:
        raise BrokenProxyHeader("another version")
    if command & 15 == _LOCAL:
        return 0, length
    sizes = _FAMILIES.get(family >> 4)
    if sizes is None or length < sizes[1]:
        raise BrokenProxyHeader("no addresses of this family")
    return sizes[1], length


def read_v2(data: bytes) -> ProxyHeader:
    """The addresses behind a head whose :func:`head_v2` was asked, all there.  Raises: BrokenProxyHeader."""
    command, family = data[12] & 15, data[13]
    if command == _LOCAL:
        return ProxyHeader("", "")
    if command != _PROXY or family & 15 not in (_STREAM, _DATAGRAM):
        raise BrokenProxyHeader("another command or transport")
    size, block = _FAMILIES[family >> 4]
    body = data[HEAD_V2 : HEAD_V2 + block]
    ports = int.from_bytes(body[-4:-2], "big"), int.from_bytes(body[-2:], "big")
    return ProxyHeader(_text(body[:size], ports[0]), _text(body[size : 2 * size], ports[1]))


def read_tlvs(block: bytes) -> list[tuple[int, bytes]]:
    """Type and value of each TLV.  Raises: BrokenProxyHeader."""
    found = []
    at = 0
    while at < len(block):
        end = at + 3 + int.from_bytes(block[at + 1 : at + 3], "big")
        if at + 3 > len(block) or end > len(block):
            raise BrokenProxyHeader("a TLV is longer than the head")
        found.append((block[at], block[at + 3 : end]))
        at = end
    return found
