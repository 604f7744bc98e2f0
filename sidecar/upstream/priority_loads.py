"""How many requests each priority of a cluster gets (Envoy's ``LoadBalancerBase``).

Documented in Envoy's intro/arch_overview/upstream/load_balancing/priority and panic_threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host_set import HostSet

__all__ = ["PriorityLoads", "priority_loads"]


@dataclass(frozen=True, slots=True)
class PriorityLoads:
    """How many requests of a hundred each priority gets, and which priorities are in panic."""

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]


def priority_loads(
    sets: Sequence[HostSet], panic_threshold: float, factor: int = 140, weighted: bool = False
) -> PriorityLoads:
    """Spread 100 % over the priorities as Envoy does.

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
