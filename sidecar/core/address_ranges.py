"""Sets of CIDR ranges that are asked about each request: how many ranges there are does not matter.

Ranges of one length are a set of numbers, in which the address without its last bits is looked up; so a
question costs a look-up for each length that occurs.  Texts of addresses come again and again, as
connections do, so the numbers of the last ones are kept, for all sets together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from sidecar.core.address import parse_range, split_address

__all__ = ["Ip", "compile_addresses", "compile_ranges", "ip_of", "ip_of_socket"]

#: 4 or 6, and the address as a number.
Ip = tuple[int, int]
_KEPT = 4096


@lru_cache(_KEPT)
def ip_of(text: str) -> Ip | None:
    """The IP address that ``text`` is; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.version, int(address)


@lru_cache(_KEPT)
def ip_of_socket(text: str) -> Ip | None:
    """That of an ``Address.text``, which has a port; None for a Unix socket."""
    return ip_of(split_address(text)[0])


def compile_ranges(ranges: Sequence[tuple[str, int]]) -> Callable[[Ip], bool]:
    """Whether an address is in one of the CIDR ``ranges`` (address, length of the prefix).

    An IPv4 address is in no IPv6 range and the other way round; too long a prefix is the whole address.
    Raises: ValueError with Envoy's words for what is no range.
    """
    found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    for prefix, length in ranges:
        network = parse_range(prefix, length)
        shift = network.max_prefixlen - network.prefixlen
        found[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
    lookups = {
        version: tuple((shift, frozenset(numbers)) for shift, numbers in sorted(lengths.items()))
        for version, lengths in found.items()
    }

    def contains(ip: Ip) -> bool:
        number = ip[1]
        for shift, numbers in lookups[ip[0]]:  # noqa: SIM110 - a generator costs as much as ten lengths
            if number >> shift in numbers:
                return True
        return False

    return contains


def compile_addresses(
    ranges: Sequence[tuple[str, int]], *, unix_sockets: bool = False
) -> Callable[[str], bool]:
    """The same of an address's text without port; of a Unix socket's path, ``unix_sockets``.

    Raises: ValueError with Envoy's words for what is no range.
    """
    contains = compile_ranges(ranges)

    def contains_text(text: str) -> bool:
        if text.startswith(("/", "@")):
            return unix_sockets
        ip = ip_of(text)
        return ip is not None and contains(ip)

    return contains_text
