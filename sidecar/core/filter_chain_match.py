"""Which filter chain a connection gets (``envoy.config.listener.v3.FilterChainMatch``).

A nest of tables in the order that Envoy documents: destination port, destination address, server name,
transport protocol, application protocols, direct source address, source type, source address, source port.
At each level the most specific entry alone is followed: a connection that is lost further down is lost, and
is not tried with a less specific one.  A level at which no chain asks for anything is left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from sidecar.core.address import split_address
from sidecar.core.dataclass import dataclass

__all__ = ["ANY_SOURCE", "EXTERNAL", "LOCAL", "ChainMatch", "Facts", "Overlap", "build_finder", "is_local"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: What stands for a Unix socket: in no range but the whole of IPv4 (and of its neighbourhood).
_NO_IP = "255.255.255.255"
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
#: Numbers of ``FilterChainMatch.ConnectionSourceType``.
ANY_SOURCE, LOCAL, EXTERNAL = 0, 1, 2


class Facts(Protocol):
    """What is known of a connection before its filter chain is; addresses as in ConnectionInfo."""

    local_address: str
    remote_address: str
    direct_remote_address: str
    requested_server_name: str
    transport_protocol: str
    application_protocols: tuple[str, ...]


Finder = Callable[[Facts], Any]


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """One FilterChainMatch.  What is empty, or 0, asks for nothing.  Server names are in lower case."""

    destination_port: int = 0
    prefix_ranges: tuple[Network, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[Network, ...] = ()
    source_type: int = ANY_SOURCE
    source_prefix_ranges: tuple[Network, ...] = ()
    source_ports: tuple[int, ...] = ()


class Overlap(ValueError):
    """Two matches that some connection fits alike: ``first`` and ``second`` are their places."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second} overlap")
        self.first = first
        self.second = second


def is_local(facts: Facts) -> bool:
    """Whether the peer is on this machine as far as addresses tell (``Utility::isSameIpOrLoopback``)."""
    remote, port = split_address(facts.remote_address)
    if port is None or remote in _LOOPBACK:
        return True
    return remote == split_address(facts.local_address)[0]


def build_finder(entries: Sequence[tuple[ChainMatch, Any]], default: Any = None) -> Finder:
    """A function from a connection's facts to the chain of the entry that fits, else to ``default``.

    Raises: Overlap.
    """
    finder = _build([(match, index) for index, (match, _) in enumerate(entries)], 0)
    chains = [chain for _, chain in entries]

    def find(facts: Facts) -> Any:
        index = finder(facts)
        return default if index is None else chains[index]

    return find


_Entries = list[tuple[ChainMatch, int]]
_Table = dict[Any, Finder]
#: The key of a match that asks for nothing at a level.
_ANY = None


def _build(entries: _Entries, level: int) -> Finder:
    if level == len(_LEVELS):
        if len(entries) > 1:
            raise Overlap(entries[0][1], entries[1][1])
        found = entries[0][1]
        return lambda _: found
    keys, make = _LEVELS[level]
    groups: dict[Hashable, _Entries] = {}
    for entry in entries:
        for key in keys(entry[0]) or (_ANY,):
            groups.setdefault(key, []).append(entry)
    table = {key: _build(group, level + 1) for key, group in groups.items()}
    return table[_ANY] if set(table) == {_ANY} else make(table)


def _nothing(_: Facts) -> None:
    return None


def _by_destination_port(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)
    return lambda facts: table.get(split_address(facts.local_address)[1] or 0, rest)(facts)


def _by_source_port(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)
    return lambda facts: table.get(split_address(facts.remote_address)[1] or 0, rest)(facts)


def _by_address(field: str) -> Callable[[_Table], Finder]:
    def make(table: _Table) -> Finder:
        rest = table.get(_ANY, _nothing)
        # Longest prefixes first; of one length no two ranges hold the same address.
        ranges = sorted(
            ((network, finder) for network, finder in table.items() if network is not _ANY),
            key=lambda each: -each[0].prefixlen,
        )

        def find(facts: Facts) -> Any:
            host, port = split_address(getattr(facts, field))
            address = ipaddress.ip_address(_NO_IP if port is None else host.partition("%")[0])
            return next((finder for network, finder in ranges if address in network), rest)(facts)

        return find

    return make


def _by_server_name(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)

    def find(facts: Facts) -> Any:
        name = facts.requested_server_name
        found = table.get(name)
        at = name.find(".", 1)
        # A dot at the very end begins no domain.
        while found is None and 0 < at < len(name) - 1:
            found = table.get(name[at:])
            at = name.find(".", at + 1)
        return (found or rest)(facts)

    return find


def _by_transport_protocol(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)
    return lambda facts: table.get(facts.transport_protocol, rest)(facts)


def _by_application_protocols(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)
    return lambda facts: next((table[name] for name in facts.application_protocols if name in table), rest)(
        facts
    )


def _by_source_type(table: _Table) -> Finder:
    rest = table.get(_ANY, _nothing)
    local, external = table.get(LOCAL, rest), table.get(EXTERNAL, rest)
    return lambda facts: (local if is_local(facts) else external)(facts)


def _names(match: ChainMatch) -> tuple[str | None, ...]:
    """Server names as they are looked up: ``.example.com`` for ``*.example.com``; an empty one is any."""
    return tuple((name[1:] if name.startswith("*.") else name) or _ANY for name in match.server_names)


def _one(value: Any) -> tuple[Any, ...]:
    return (value,) if value else ()


_LEVELS: tuple[tuple[Callable[[ChainMatch], tuple[Any, ...]], Callable[[_Table], Finder]], ...] = (
    (lambda match: _one(match.destination_port), _by_destination_port),
    (lambda match: match.prefix_ranges, _by_address("local_address")),
    (_names, _by_server_name),
    (lambda match: _one(match.transport_protocol), _by_transport_protocol),
    (lambda match: tuple(name or _ANY for name in match.application_protocols), _by_application_protocols),
    (lambda match: match.direct_source_prefix_ranges, _by_address("direct_remote_address")),
    (lambda match: _one(match.source_type), _by_source_type),
    (lambda match: match.source_prefix_ranges, _by_address("remote_address")),
    (lambda match: match.source_ports, _by_source_port),
)
