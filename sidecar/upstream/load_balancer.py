"""Which host gets the next request: priorities and health first, then a picker over the hosts left.

Plain, synchronous arithmetic (Envoy's ``LoadBalancerBase`` and ``EdfLoadBalancerBase``).  Hosts are parted by
priority and health when the membership or somebody's health changes, so that a choice is one call.
How one list of hosts is gone through is :mod:`sidecar.upstream.load_balancer_pickers`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.observability.stats import Counter
from sidecar.upstream.host import Health, Host
from sidecar.upstream.load_balancer_pickers import Picker

__all__ = ["HostSet", "LoadBalancer", "PriorityLoads", "part_hosts", "priority_loads"]

#: ``(priority, "healthy" | "degraded" | "all")``: a list of hosts that a picker goes through.
Source = tuple[int, str]
MakePicker = Callable[[Sequence[Host], Picker | None], Picker]


@dataclass(frozen=True, slots=True)
class HostSet:
    """The hosts of one priority."""

    hosts: tuple[Host, ...]
    healthy: tuple[Host, ...]
    degraded: tuple[Host, ...]
    excluded: int = 0

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


@dataclass(frozen=True, slots=True)
class PriorityLoads:
    """How many requests of a hundred each priority gets, and which priorities are in panic."""

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]


def part_hosts(hosts: Sequence[Host]) -> list[HostSet]:
    """Hosts by priority, P0 first; there is always a P0, and a gap is an empty set."""
    sets: list[HostSet] = []
    for priority in range(max((host.priority for host in hosts), default=0) + 1):
        mine = tuple(host for host in hosts if host.priority == priority)
        sets.append(
            HostSet(
                hosts=mine,
                healthy=tuple(host for host in mine if host.health is Health.HEALTHY and not host.excluded),
                degraded=tuple(host for host in mine if host.health is Health.DEGRADED and not host.excluded),
                excluded=sum(1 for host in mine if host.excluded),
            )
        )
    return sets


def priority_loads(
    sets: Sequence[HostSet], panic_threshold: float, factor: int = 140, weighted: bool = False
) -> PriorityLoads:
    """Spread 100 % over the priorities as Envoy does (intro/arch_overview/upstream/load_balancing/priority).

    A priority keeps its load until fewer than 100 / ``factor`` of its hosts are well.
    """
    healthy = [each.percent(each.healthy, factor, weighted) for each in sets]
    degraded = [each.percent(each.degraded, factor, weighted) for each in sets]
    available = min(100, sum(healthy) + sum(degraded))
    healthy_load = [0] * len(sets)
    degraded_load = [0] * len(sets)
    if available:
        remaining = 100
        for loads, health in ((healthy_load, healthy), (degraded_load, degraded)):
            for priority, percent in enumerate(health):
                loads[priority] = min(remaining, percent * 100 // available)
                remaining -= loads[priority]
        if remaining:
            # What rounding left over goes to the first priority that has anybody.
            loads = healthy_load if any(healthy) else degraded_load
            health = healthy if any(healthy) else degraded
            loads[next(i for i, percent in enumerate(health) if percent)] += remaining
    elif panic_threshold == 0:
        healthy_load[0] = 100
        return PriorityLoads(tuple(healthy_load), tuple(degraded_load), (False,) * len(sets))
    panic = [available != 100 and each.is_in_panic(panic_threshold) for each in sets]
    if all(panic):
        total = sum(len(each.hosts) for each in sets)
        degraded_load = [0] * len(sets)
        healthy_load = [100 * len(each.hosts) // total if total else 0 for each in sets]
        first = next((i for i, each in enumerate(sets) if each.hosts), 0)
        healthy_load[first] += 100 - sum(healthy_load)
    return PriorityLoads(tuple(healthy_load), tuple(degraded_load), tuple(panic))


class LoadBalancer:
    """Chooses among the hosts given to :meth:`update`.

    ``make_picker`` is given hosts and the picker that went through the same source before (to go on
    where it stood), ``draw(n)`` a random number below n.
    """

    __slots__ = (
        "_draw",
        "_factor",
        "_loads",
        "_make_picker",
        "_panic_count",
        "_pickers",
        "_threshold",
        "_weighted",
        "only",
    )

    def __init__(
        self,
        make_picker: MakePicker,
        *,
        draw: Callable[[int], int],
        panic_count: Counter,
        panic_threshold: float = 50.0,
        overprovisioning_factor: int = 140,
        weighted_priority_health: bool = False,
    ) -> None:
        self._make_picker = make_picker
        self._draw = draw
        self._panic_count = panic_count
        self._threshold = panic_threshold
        self._factor = overprovisioning_factor
        self._weighted = weighted_priority_health
        self._pickers: dict[Source, Picker] = {}
        #: The picker of the one source that gets everything, where it is one.
        self.only: Picker | None = None
        self._loads = PriorityLoads((100,), (0,), (False,))
        self.update([])

    def update(self, hosts: Sequence[Host]) -> list[HostSet]:
        """Go on with these hosts (the membership or somebody's health changed)."""
        sets = part_hosts(hosts)
        before = self._pickers
        pickers: dict[Source, Picker] = {}
        for priority, each in enumerate(sets):
            for kind, part in (("healthy", each.healthy), ("degraded", each.degraded), ("all", each.hosts)):
                source = (priority, kind)
                pickers[source] = self._make_picker(part, before.get(source))
        loads = priority_loads(sets, self._threshold, self._factor, self._weighted)
        self._pickers = pickers
        self._loads = loads
        self.only = None
        if not any(loads.panic) and 100 in loads.healthy:
            self.only = pickers[loads.healthy.index(100), "healthy"]
        return sets

    def choose(self, stream: Any = None) -> Host | None:
        """The host for the next request, whatever ``stream`` is; None when there is none."""
        only = self.only
        if only is not None:
            return only.pick()
        loads = self._loads
        number = self._draw(100) + 1
        reached = 0
        for kind, shares in (("healthy", loads.healthy), ("degraded", loads.degraded)):
            for priority, share in enumerate(shares):
                reached += share
                if number <= reached:
                    if loads.panic[priority]:
                        self._panic_count.value += 1
                        return self._pickers[priority, "all"].pick()
                    return self._pickers[priority, kind].pick()
        return None
