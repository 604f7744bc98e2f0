"""RING_HASH and MAGLEV: the host by a hash of the request (Envoy's ``ThreadAwareLoadBalancerBase``).

A table per priority is made anew when the membership or somebody's health changes; a choice is then one
look-up.  A request without a hash goes to a random place.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.upstream.hash_tables import HashTable, MaglevTable, Ring, normalized
from sidecar.upstream.host_set import NO_HOSTS, HostSet

if TYPE_CHECKING:
    from sidecar.observability.stats import Scope
    from sidecar.upstream.host import Host
    from sidecar.upstream.load_balancer import LbContext
    from sidecar.upstream.load_balancer_pickers import Picker
    from sidecar.upstream.load_balancer_policies import LbPolicy

__all__ = ["HashLoadBalancer"]

#: Tables of more hosts than this are not made before a request needs them, so that changes that come together
#: make them once.
_MANY = 1000

MakeTable = Callable[[Sequence[tuple["Host", float]]], HashTable]


class HashLoadBalancer:
    """A table for every priority; the hash chooses the priority, too."""

    __slots__ = (
        "_context",
        "_hash_policy",
        "_is_weighted",
        "_make_table",
        "_sets",
        "_tables",
        "loads",
        "only",
    )

    def __init__(self, policy: LbPolicy, context: LbContext) -> None:
        self._context = context
        self._hash_policy = policy.hash_policy
        self._is_weighted = policy.locality_weighted
        self._make_table = _table_maker(policy, context.stats)
        self._sets: Sequence[HostSet] = (NO_HOSTS,)
        #: By priority; None until the first request after a change of very many hosts.
        self._tables: list[HashTable] | None = []
        #: Without a request there is no host: the router has to ask :meth:`choose`.
        self.only: Picker | None = None
        self.update([NO_HOSTS])

    def update(self, sets: Sequence[HostSet]) -> None:
        self._sets = sets
        self.loads = self._context.loads(sets)
        self._tables = None
        if sum(len(each.hosts) for each in sets) <= _MANY:
            self._make_tables()

    def _make_tables(self) -> list[HashTable]:
        found = self._tables = [
            self._make_table(_weighted(each, panic, self._is_weighted))
            for each, panic in zip(self._sets, self.loads.panic, strict=True)
        ]
        return found

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        value: int | None = None
        if stream is not None:
            policy = self._hash_policy or stream.route.hash_policy
            if policy is not None:
                value = policy(stream.request.headers, stream, True)
        if value is None:
            value = self._context.draw(2**64)
        loads = self.loads
        tables = self._tables
        if tables is None:
            tables = self._make_tables()
        number = value % 100 + 1
        reached = 0
        for shares in (loads.healthy, loads.degraded):
            for priority, share in enumerate(shares):
                reached += share
                if number <= reached:
                    if loads.panic[priority]:
                        self._context.stats.lb_healthy_panic.value += 1
                    return tables[priority].choose(value, attempt)
        return None


def _weighted(each: HostSet, panic: bool, by_locality: bool) -> list[tuple[Host, float]]:
    """The hosts of a priority with weights that sum up to 1.

    A locality's weight counts as it stands, however few of its hosts are well.
    """
    if not by_locality or not each.hosts:
        return normalized(each.hosts if panic else each.healthy)
    localities = each.localities
    total = sum(localities.weights)
    weighted: list[tuple[Host, float]] = []
    parts = localities.hosts if panic else localities.healthy
    for hosts, weight in zip(parts, localities.weights, strict=True):
        if weight:
            weighted.extend(normalized(hosts, weight / total))
    return weighted


def _table_maker(policy: LbPolicy, stats: Any) -> MakeTable:
    make = (
        _ring_maker(policy, stats.scope) if policy.name == "RING_HASH" else _maglev_maker(policy, stats.scope)
    )
    factor = policy.hash_balance_factor
    if not factor:
        return make
    return lambda hosts: _BoundedTable(make(hosts), hosts, factor, stats)


def _ring_maker(policy: LbPolicy, scope: Scope) -> MakeTable:
    gauges = [scope.gauge(f"ring_hash_lb.{name}") for name in ("size", *_RING_GAUGES)]

    def make(hosts: Sequence[tuple[Host, float]]) -> Ring:
        ring = Ring(
            hosts,
            policy.minimum_ring_size,
            policy.maximum_ring_size,
            murmur=policy.murmur,
            use_hostname=policy.use_hostname_for_hashing,
        )
        if hosts:
            for gauge, value in zip(
                gauges, (ring.size, ring.min_hashes_per_host, ring.max_hashes_per_host), strict=True
            ):
                gauge.set(value)
        return ring

    return make


_RING_GAUGES = ("min_hashes_per_host", "max_hashes_per_host")


def _maglev_maker(policy: LbPolicy, scope: Scope) -> MakeTable:
    least = scope.gauge("maglev_lb.min_entries_per_host")
    most = scope.gauge("maglev_lb.max_entries_per_host")

    def make(hosts: Sequence[tuple[Host, float]]) -> MaglevTable:
        table = MaglevTable(hosts, policy.table_size, use_hostname=policy.use_hostname_for_hashing)
        if hosts:
            least.set(table.min_entries_per_host)
            most.set(table.max_entries_per_host)
        return table

    return make


class _BoundedTable:
    """``hash_balance_factor``: a host that has more than its share goes to another, the same for a hash."""

    __slots__ = ("_factor", "_hosts", "_stats", "_table", "_weights")

    def __init__(
        self, table: HashTable, hosts: Sequence[tuple[Host, float]], factor: int, stats: Any
    ) -> None:
        self._table = table
        self._hosts = hosts
        self._weights = {id(host): weight for host, weight in hosts}
        self._factor = factor
        self._stats = stats

    def choose(self, value: int, attempt: int = 0) -> Host | None:
        host = self._table.choose(value, attempt)
        if host is None:
            return None
        least = self._load(host)
        if least <= 1.0:
            return host
        best = host
        places = list(range(len(self._hosts)))
        draw = _mersenne_twister(value & 0xFFFFFFFF)
        for place in range(len(places)):
            other = place + _below(draw, len(places) - place)
            places[place], places[other] = places[other], places[place]
            candidate = self._hosts[places[place]][0]
            if candidate is host:
                continue
            load = self._load(candidate)
            if load <= 1.0:
                return candidate
            if load < least:
                best, least = candidate, load
        return best

    def _load(self, host: Host) -> float:
        """Requests on a host over the places that it has, of all there are with one more."""
        places = ((self._stats.upstream_rq_active.value + 1) * self._factor + 99) // 100
        return float(host.rq_active / max(math.ceil(places * self._weights[id(host)]), 1))


def _below(draw: Callable[[], int], limit: int) -> int:
    part = 2**32 // limit
    while True:
        number = draw() // part
        if number < limit:
            return number


def _mersenne_twister(seed: int) -> Callable[[], int]:
    """Numbers of 32 bits as C++'s ``std::mt19937`` gives them for a seed."""
    state = [seed]
    for index in range(1, 624):
        before = state[-1]
        state.append((1812433253 * (before ^ before >> 30) + index) & 0xFFFFFFFF)
    generator = random.Random()  # noqa: S311 - load, not secrets
    generator.setstate((3, (*state, 624), None))
    return lambda: generator.getrandbits(32)
