"""Match trees over ranges of addresses and domains (``xds.type.matcher.v3``: IPMatcher, ServerNameMatcher).

Like the maps of :mod:`sidecar.core.matching`: what is found may be a tree that finds nothing, and then the
search goes on to what is less specific.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from sidecar.core.matching import Input, OnMatch

__all__ = ["DomainMap", "IpRangeMap", "Network", "Range", "parse_address"]

D = TypeVar("D")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: A network, what it leads to, and whether that counts only where no narrower one does (``exclusive``).
Range = tuple[Network, OnMatch[D], bool]
_BITS = {4: 32, 6: 128}


def parse_address(value: bytes) -> Address | None:
    """The address that a text is; None where it is none."""
    try:
        return ipaddress.ip_address(value.decode())
    except ValueError:
        return None


class IpRangeMap(Generic[D]):
    """The narrowest range that holds an address, then the wider ones; of one width the first of the file."""

    __slots__ = ("_by_width", "_input", "_on_no_match")

    def __init__(self, take: Input[D], ranges: Sequence[Range[D]], on_no_match: OnMatch[D] | None) -> None:
        self._input = take
        self._on_no_match = on_no_match
        #: By IP version: bits that are cut off, fewest first, with what stands at each prefix.
        self._by_width: dict[int, list[tuple[int, dict[int, list[tuple[OnMatch[D], bool]]]]]] = {4: [], 6: []}
        for network, on_match, exclusive in sorted(ranges, key=lambda each: -each[0].prefixlen):
            widths = self._by_width[network.version]
            cut = _BITS[network.version] - network.prefixlen
            if not widths or widths[-1][0] != cut:
                widths.append((cut, {}))
            entry = (on_match, exclusive)
            widths[-1][1].setdefault(int(network.network_address) >> cut, []).append(entry)

    def match(self, data: D) -> object:
        """The action for ``data``; None for no match."""
        value = self._input(data)
        address = None if value is None else parse_address(value)
        if address is not None:
            found = self._search(address, data)
            if found is not None:
                return found
        return None if self._on_no_match is None else self._on_no_match.resolve(data)

    def _search(self, address: Address, data: D) -> object:
        number = int(address)
        is_first = True
        for cut, prefixes in self._by_width[address.version]:
            for on_match, exclusive in prefixes.get(number >> cut, ()):
                if exclusive and not is_first:
                    continue
                found: object = on_match.resolve(data)
                if found is not None:
                    return found
                is_first = False
        return None


class DomainMap(Generic[D]):
    """A name itself, then wildcards from the longest to the shortest, then ``*``."""

    __slots__ = ("_any", "_exact", "_input", "_on_no_match", "_suffixes")

    def __init__(
        self,
        take: Input[D],
        domains: Iterable[tuple[str, OnMatch[D]]],
        on_no_match: OnMatch[D] | None,
    ) -> None:
        self._input = take
        self._on_no_match = on_no_match
        self._exact: dict[bytes, OnMatch[D]] = {}
        self._suffixes: dict[bytes, OnMatch[D]] = {}
        self._any: OnMatch[D] | None = None
        for domain, on_match in domains:
            if domain == "*":
                self._any = on_match
            elif domain.startswith("*."):
                self._suffixes[domain[2:].encode()] = on_match
            else:
                self._exact[domain.encode()] = on_match

    def match(self, data: D) -> object:
        """The action for ``data``; None for no match."""
        name = self._input(data)
        if name:
            for on_match in self._candidates(name):
                found: object = on_match.resolve(data)
                if found is not None:
                    return found
        return None if self._on_no_match is None else self._on_no_match.resolve(data)

    def _candidates(self, name: bytes) -> Iterable[OnMatch[D]]:
        if name in self._exact:
            yield self._exact[name]
        at = name.find(b".")
        while at >= 0:
            suffix = name[at + 1 :]
            if suffix in self._suffixes:
                yield self._suffixes[suffix]
            at = name.find(b".", at + 1)
        if self._any is not None:
            yield self._any
