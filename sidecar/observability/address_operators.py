"""Log operators that read addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.address import split_address

__all__ = [
    "address",
    "attempted",
    "host_address",
    "host_address_without_port",
    "host_name",
    "host_name_without_port",
    "port",
    "without_port",
]

Value = Callable[[Stream], Any]


def _masked(host: str, bits_text: str) -> str:
    try:
        address = ipaddress.ip_address(host)
        bits = min(int(bits_text), address.max_prefixlen)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, bits), strict=False))


def address(read: Value) -> Value:
    """The whole address that ``read`` gives, unset when empty."""
    return lambda stream: read(stream) or None


def without_port(read: Value, argument: str) -> Value:
    """The address alone, or the network of ``argument`` bits that it lies in."""

    def host(stream: Stream) -> str | None:
        text = read(stream)
        return split_address(text)[0] if text else None

    def network(stream: Stream) -> str | None:
        text = read(stream)
        return _masked(split_address(text)[0], argument) if text else None

    return network if argument.isdigit() else host


def port(read: Value) -> Value:
    """The port alone, as a number."""

    def number(stream: Stream) -> int | None:
        text = read(stream)
        return split_address(text)[1] if text else None

    return number


def host_address(stream: Stream) -> str | None:
    host = stream.upstream_host
    return None if host is None else host.address


def host_name(stream: Stream) -> str | None:
    host = stream.upstream_host
    return None if host is None else host.hostname or host.address


def attempted(value: Value) -> Value:
    """``value`` of the last try's host, where it got as far as a connection.

    Envoy keeps what it tells of hosts that were tried with the try, so a request that was tried several times
    tells of the last alone, and of none that could not be reached; a TCP proxy tells of these, too.
    """

    def read(stream: Stream) -> Any:
        return value(stream) if stream.upstream_connection_id or stream.hcm is None else None

    return read


def host_address_without_port(stream: Stream) -> str | None:
    found = host_address(stream)
    return None if found is None else split_address(found)[0]


def host_name_without_port(stream: Stream) -> str | None:
    name = host_name(stream)
    return None if name is None else split_address(name)[0]
