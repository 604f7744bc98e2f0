"""Tables from a hash to a host: the ring of RING_HASH and the table of MAGLEV, entry by entry as Envoy's.

Pure arithmetic (``RingHashLoadBalancer::Ring``, ``MaglevTable``): the same hosts in the same order give the
same table in both proxies, so a key goes to the same host whichever of them it meets.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sidecar.core.hashing import murmur_hash_2, xx_hash

if TYPE_CHECKING:
    from sidecar.upstream.host import Host

__all__ = ["HashTable", "MaglevTable", "Ring", "hash_key", "is_prime", "normalized"]

Weighted = Sequence[tuple["Host", float]]


class HashTable(Protocol):
    """What finds a host for a hash."""

    def choose(self, value: int, attempt: int = 0) -> Host | None:
        """The host for a hash; further attempts give others."""
        ...


def hash_key(host: Host, use_hostname: bool) -> bytes:
    """What stands for a host: ``hash_key`` of its metadata, its name, or its address."""
    own = host.metadata.get("envoy.lb", {}).get("hash_key")
    if isinstance(own, str) and own:
        return own.encode()
    return (host.hostname if use_hostname else host.address).encode()


def normalized(hosts: Sequence[Host], whole: float = 1.0) -> list[tuple[Host, float]]:
    """Hosts with their weights, which sum up to ``whole``."""
    total = sum(host.weight for host in hosts)
    return [(host, host.weight * whole / total) for host in hosts]


class Ring:
    """Each host stands on the ring as often as its weight asks for; a hash goes to the next entry."""

    __slots__ = ("_hashes", "_hosts", "max_hashes_per_host", "min_hashes_per_host", "size")

    def __init__(
        self, hosts: Weighted, minimum: int, maximum: int, *, murmur: bool = False, use_hostname: bool = False
    ) -> None:
        self._hashes: list[int] = []
        self._hosts: list[Host] = []
        self.size = self.min_hashes_per_host = self.max_hashes_per_host = 0
        if not hosts:
            return
        least = min(1.0, *(weight for _, weight in hosts)) if len(hosts) > 1 else min(1.0, hosts[0][1])
        # The host of the least weight gets a whole number of entries; others may not.
        scale = min(math.ceil(least * minimum) / least, float(maximum))
        self.size = math.ceil(scale)
        function = murmur_hash_2 if murmur else xx_hash
        entries: list[tuple[int, int]] = []
        counts: list[int] = []
        current, target = 0.0, 0.0
        for number, (host, weight) in enumerate(hosts):
            prefix = hash_key(host, use_hostname) + b"_"
            target += scale * weight
            count = 0
            while current < target:
                entries.append((function(prefix + b"%d" % count), number))
                count += 1
                current += 1
            counts.append(count)
        entries.sort()
        self._hashes = [value for value, _ in entries]
        self._hosts = [hosts[number][0] for _, number in entries]
        self.min_hashes_per_host = min(self.size, *counts)
        self.max_hashes_per_host = max(counts)

    def choose(self, value: int, attempt: int = 0) -> Host | None:
        hosts = self._hosts
        if not hosts:
            return None
        place = bisect_left(self._hashes, value)
        if not value:
            place = 0
        return hosts[(place + attempt) % len(hosts)] if place < len(hosts) else hosts[attempt % len(hosts)]


class MaglevTable:
    """Hosts fill the table in turns, each along a permutation of its own (Maglev, NSDI 2016, §3.4)."""

    __slots__ = ("_table", "max_entries_per_host", "min_entries_per_host", "size")

    def __init__(self, hosts: Weighted, size: int, *, use_hostname: bool = False) -> None:
        self.size = size
        self.min_entries_per_host = self.max_entries_per_host = 0
        self._table: list[Host] = []
        if not hosts:
            return
        keys = sorted(
            ((hash_key(host, use_hostname), number) for number, (host, _) in enumerate(hosts)),
        )
        largest = max(weight for _, weight in hosts)
        weights = [hosts[number][1] for _, number in keys]
        places = [xx_hash(key) % size for key, _ in keys]
        skips = [xx_hash(key, 1) % max(size - 1, 1) + 1 for key, _ in keys]
        targets = [0.0] * len(keys)
        counts = [0] * len(keys)
        table: list[int] = [-1] * size
        filled = 0
        iteration = 0
        turns = range(len(keys))
        while filled < size:
            iteration += 1
            for turn in turns:
                # A host of a third of the largest weight has a turn in every third round.
                if iteration * weights[turn] < targets[turn]:
                    continue
                targets[turn] += largest
                place, skip = places[turn], skips[turn]
                while table[place] >= 0:
                    place = (place + skip) % size
                table[place] = turn
                places[turn] = (place + skip) % size
                counts[turn] += 1
                filled += 1
                if filled == size:
                    break
        found = [hosts[number][0] for _, number in keys]
        self._table = [found[turn] for turn in table]
        self.min_entries_per_host = min(size, *counts)
        self.max_entries_per_host = max(counts)

    def choose(self, value: int, attempt: int = 0) -> Host | None:
        if not self._table:
            return None
        if attempt:
            value ^= 2**64 - attempt
        return self._table[value % self.size]


def is_prime(number: int) -> bool:
    """Whether Envoy takes ``number`` for a prime: 1, too."""
    return number > 0 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
