"""The hosts of a cluster parted: by priority, in it by health, and, when somebody asks, by locality.

A cluster parts its hosts once for each change of membership or health (:func:`part_hosts`); its load balancer
and its stats read the result.  A list that did not change is the same object as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host import Health, Host, Locality

__all__ = ["NO_HOSTS", "HostSet", "Localities", "common_start", "compare_hosts", "part_hosts"]

Hosts = tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Localities:
    """The hosts of one priority by locality: the proxy's own first, where it has hosts, then in order."""

    keys: tuple[Locality, ...]
    hosts: tuple[Hosts, ...]
    healthy: tuple[Hosts, ...]
    degraded: tuple[Hosts, ...]
    #: How many of each do not count.
    excluded: tuple[int, ...]
    #: ``LocalityLbEndpoints.load_balancing_weight``; 0 where it is not given.
    weights: tuple[int, ...]
    #: Whether the first is where the proxy itself is.
    has_local: bool

    def effective_weight(self, number: int, part: Sequence[Hosts], factor: int) -> float:
        """The weight of a locality, less where fewer than 100 / ``factor`` of its hosts are in ``part``."""
        total = len(self.hosts[number]) - self.excluded[number]
        if total <= 0:
            return 0.0
        available = len(part[number]) / total
        return self.weights[number] * min(1.0, factor / 100 * available)


class HostSet:
    """The hosts of one priority."""

    __slots__ = ("_localities", "degraded", "excluded", "groups", "healthy", "hosts", "local_locality")

    def __init__(
        self,
        hosts: Hosts,
        healthy: Hosts,
        degraded: Hosts = (),
        excluded: int = 0,
        local_locality: Locality | None = None,
    ) -> None:
        self.hosts = hosts
        self.healthy = healthy
        self.degraded = degraded
        #: How many do not count when the health of the priority is computed.
        self.excluded = excluded
        #: Where the proxy is (``node.locality``); None where it does not say.
        self.local_locality = local_locality
        #: The hosts by locality, whatever their health, once somebody asked.
        self.groups: dict[Locality, Hosts] | None = None
        self._localities: Localities | None = None

    @property
    def localities(self) -> Localities:
        """The same hosts by locality."""
        if self._localities is None:
            self._localities = _part_localities(self)
        return self._localities

    def reweigh(self, weigh: Callable[[Locality, int, int], int]) -> None:
        """Give the localities other weights: ``weigh(locality, weight, count of its hosts)``."""
        each = self.localities
        weights = map(weigh, each.keys, each.weights, map(len, each.hosts))
        self._localities = replace(each, weights=tuple(weights))

    def restrict(self, keep: Callable[[Host], bool]) -> HostSet:
        """Those of the hosts that ``keep`` takes."""
        return _make_set([host for host in self.hosts if keep(host)], self.local_locality)

    def percent(self, part: Sequence[Host], factor: int, weighted: bool) -> int:
        """How many of the hosts ``part`` is, in percent times ``factor`` / 100, at most 100."""
        total = len(self.hosts) - self.excluded
        share = len(part)
        if total <= 0:
            return 0
        if weighted:
            total = sum(host.weight for host in self.hosts if not host.excluded)
            share = sum(host.weight for host in part)
        return min(100, factor * share // total)

    def is_in_panic(self, threshold: float) -> bool:
        """Whether so few hosts are well that all are used."""
        total = len(self.hosts) - self.excluded
        well = 0.0 if total <= 0 else 100.0 * (len(self.healthy) + len(self.degraded)) / total
        return well < threshold


NO_HOSTS = HostSet((), ())
_priority_of = attrgetter("priority")


def part_hosts(
    hosts: Sequence[Host], local_locality: Locality | None = None, before: Sequence[HostSet] = ()
) -> list[HostSet]:
    """Hosts by priority, P0 first; there is always a P0, and a gap is an empty set.

    ``before`` is what the same cluster's hosts were parted into last.
    """
    priorities = set(map(_priority_of, hosts)) or {0}
    last = max(priorities)
    sets: list[HostSet] = []
    for priority in range(last + 1):
        if len(priorities) == 1 and priority == last:
            mine: Sequence[Host] = hosts
        elif priority in priorities:
            mine = [host for host in hosts if host.priority == priority]
        else:
            mine = ()
        sets.append(_make_set(mine, local_locality, before[priority] if priority < len(before) else NO_HOSTS))
    return sets


def compare_hosts(before: Hosts, now: Hosts) -> tuple[list[Host], list[Host]]:
    """The hosts that came and those that left, fast where most of the list is as it was."""
    start = common_start(before, now)
    end = common_start(before[start:][::-1], now[start:][::-1])
    left = before[start : len(before) - end]
    came = now[start : len(now) - end]
    old, new = set(left), set(came)
    return [host for host in came if host not in old], [host for host in left if host not in new]


def common_start(one: Sequence[object], other: Sequence[object]) -> int:
    """How much both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _make_set(hosts: Sequence[Host], local_locality: Locality | None, before: HostSet = NO_HOSTS) -> HostSet:
    mine = _same(tuple(hosts), before.hosts)
    well, worse = Health.HEALTHY, Health.DEGRADED
    healthy = tuple([host for host in mine if host.availability is well])
    degraded: Hosts = ()
    excluded = 0
    if len(healthy) == len(mine):
        healthy = mine
    else:
        healthy = _same(healthy, before.healthy)
        others = [host for host in mine if host.availability is not well]
        degraded = tuple([host for host in others if host.availability is worse])
        excluded = sum([host.excluded for host in others])
    made = HostSet(mine, healthy, degraded, excluded, local_locality)
    if mine is before.hosts and local_locality == before.local_locality:
        made.groups = before.groups
    return made


def _same(hosts: Hosts, before: Hosts) -> Hosts:
    return before if hosts == before else hosts


def _part_localities(part: HostSet) -> Localities:
    if part.groups is None:
        part.groups = _group(part.hosts, part.local_locality)
    groups = part.groups
    well, worse = Health.HEALTHY, Health.DEGRADED
    hosts = tuple(groups.values())
    healthy = hosts
    if len(part.healthy) < len(part.hosts):
        healthy = tuple([tuple([host for host in group if host.availability is well]) for group in hosts])
    degraded: tuple[Hosts, ...] = ((),) * len(hosts)
    if part.degraded:
        degraded = tuple([tuple([host for host in group if host.availability is worse]) for group in hosts])
    excluded = (0,) * len(hosts)
    if part.excluded:
        excluded = tuple([sum([host.excluded for host in group]) for group in hosts])
    return Localities(
        keys=tuple(groups),
        hosts=hosts,
        healthy=healthy,
        degraded=degraded,
        excluded=excluded,
        weights=tuple([group[0].locality_weight for group in hosts]),
        has_local=part.local_locality in groups,
    )


def _group(hosts: Hosts, local: Locality | None) -> dict[Locality, Hosts]:
    """The hosts of each locality: the proxy's own first, the others in order."""
    # Hosts of a locality mostly share the object, and an object's address is quicker hashed than a locality.
    by_object: dict[int, list[Host]] = {}
    for host in hosts:
        group = by_object.get(id(host.locality))
        if group is None:
            group = by_object[id(host.locality)] = []
        group.append(host)
    groups: dict[Locality, list[Host]] = {}
    for group in by_object.values():
        groups.setdefault(group[0].locality, []).extend(group)
    if len(by_object) > len(groups):
        groups = {key: [] for key in groups}
        for host in hosts:
            groups[host.locality].append(host)
    keys = sorted(groups, key=lambda key: (key != local, key))
    return {key: tuple(groups[key]) for key in keys}
